"""Chunks of whole clips on a disk or in an object store, fetched by litdata (``tsd.prepare.shards`` writes them).

``<stream>/<split>/`` holds ``card.json`` (what the chunks were made from), ``clips.safetensors`` (length and person of
every clip), litdata's ``index.json`` and the chunks. A chunk is litdata's: uint32 number of items, uint32 offsets,
items. An item is one clip as safetensors behind its uint32 length, which litdata calls "bytes". Its other kinds of
items are refused: one of them is a pickle, and a pickle is a program.
"""

import fcntl
import hashlib
import json
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from tsd.data.arrays import LARGEST
from tsd.data.latents import shard_bounds
from tsd.media.atomic import write_file

CARD, TABLE, INDEX = "card.json", "clips.safetensors", "index.json"
REMEDY = "write it again with `python -m tsd.commands.prepare stream=<folder> root=<corpus> vae=<weights>`"
INSTALL = "data.stream needs litdata: pip install -c constraints.txt -e '.[stream]'"
LAYOUT = {
    "compression": None,
    "chunk_size": None,
    "chunk_bytes": None,
    "data_format": ["bytes"],
    "data_spec": '[1, {"type": null, "context": null, "children_spec": []}]',
    "encryption": None,
}
"""The only layout that is written or read: one item, one piece of bytes. What an index says here, litdata would import
and unpickle by name."""
URL = re.compile(r"(s3|gs|r2|azure)://|local:")
ATTEMPTS = 6
"""Of a request to an object store, over about a minute: litdata's own default is a thousand."""
ITEM, OFFSET = 2**31, np.dtype("<u4")


@dataclass(frozen=True)
class Card:
    """What the chunks of one split were made from, and what they hold."""

    split: str
    clips: int
    manifest: str
    """First 16 hex digits of the SHA-256 of the manifest's bytes."""
    table: str
    """The same of ``clips.safetensors``."""
    vae: str | None = None
    """Hash of the VAE whose latents are in the chunks."""
    resolution: int | None = None
    """Side in pixels of the frames that the latents were made of."""
    shape: tuple[int, ...] | None = None
    """[C, h, w] of one latent."""
    flipped: bool = False
    """Latents of the mirrored frames too."""
    mel: bool = False
    truth: bool = False
    boxes: bool = False
    """Whether any clip has mouth opening, and boxes of mouth."""
    chunk_frames: int = 8192
    format: int = 1

    def digest(self) -> str:
        """16 hex digits that name the chunks, so that chunks of two origins are never mixed."""
        return sha(json.dumps(asdict(self), sort_keys=True).encode())

    def chunk_name(self, number: int) -> str:
        return f"chunk-{self.digest()}-{number:05d}.bin"

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()


def sha(content: bytes) -> str:
    """First 16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def parse_card(content: bytes, where: str) -> Card:
    """ValueError for what is no card that this version reads."""
    kinds = {"split": str, "clips": int, "manifest": str, "table": str, "chunk_frames": int}
    kinds |= {"flipped": bool, "mel": bool, "truth": bool, "boxes": bool, "format": int}
    try:
        values = json.loads(content)
        card = Card(**{**values, "shape": tuple(values["shape"]) if values["shape"] is not None else None})
        numbers = [card.clips, card.chunk_frames, *(card.shape or ()), *([card.resolution] if card.vae else [])]
        fits = all(type(getattr(card, name)) is kind for name, kind in kinds.items()) and card.format == 1
        fits = fits and all(type(n) is int and n > 0 for n in numbers) and (card.vae is None or len(card.shape) == 3)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: not a card of shards; {REMEDY}") from error
    if not fits:
        raise ValueError(f"{where}: not a card of shards of format 1; {REMEDY}")
    return card


def is_remote(stream: str) -> bool:
    """Whether ``stream`` is an address that litdata downloads from (``s3://``, ``gs://``, ``local:``, ...)."""
    return URL.match(stream) is not None


def read_card(stream: str, split: str) -> Card:
    """The card of a split of a stream. FileNotFoundError without one."""
    return parse_card(fetch(stream, split, CARD), f"{stream}/{split}/{CARD}")


def fetch(stream: str, split: str, name: str) -> bytes:
    """The content of a file of a stream. FileNotFoundError where it is not there, or cannot be reached."""
    where, buffer = f"{stream.rstrip('/')}/{split}/{name}", BytesIO()
    get = downloader(stream, split, Path(tempfile.gettempdir())) if is_remote(stream) else None
    try:
        if get is None or where.startswith("local:"):
            return Path(where.removeprefix("local:")).read_bytes()
        # Not by download_file: its threads would not survive in processes forked later, and it knows https only.
        get.download_fileobj(where, buffer)
        return buffer.getvalue()
    except Exception as error:  # every store has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(f"{where}: no shards of the {split} split ({reason}); {REMEDY}") from error


def downloader(stream: str, split: str, folder: Path):
    """litdata's downloader of a split into ``folder``."""
    get_downloader = imported("litdata.streaming.downloader", "get_downloader")
    try:
        return get_downloader(f"{stream.rstrip('/')}/{split}", str(folder), [], store_options(stream))
    except ImportError as error:  # stores other than S3's need packages of their own
        raise ValueError(f"data.stream={stream}: {error}") from error


def store_options(stream: str) -> dict:
    """What litdata's client of a store is told; keys, region and endpoint come from the environment."""
    if not stream.startswith(("s3://", "r2://")):
        return {}
    return {"config": imported("botocore.config", "Config")(retries={"max_attempts": ATTEMPTS, "mode": "standard"})}


def imported(module: str, name: str):
    """A name of litdata, which is an extra. ValueError says how to install it."""
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ValueError(f"{INSTALL} ({error})") from error


def pack_chunk(clips: list[bytes]) -> bytes:
    """Clips as one chunk. ValueError above 2 GiB: offsets are uint32."""
    items = [np.array(len(clip), OFFSET).tobytes() + clip for clip in clips]
    offsets = 4 * (len(items) + 2) + np.cumsum([0, *map(len, items)], dtype=np.int64)
    if offsets[-1] > ITEM:
        raise ValueError(f"a chunk of {offsets[-1]} bytes is more than {ITEM}; lower stream_frames")
    return b"".join([np.array(len(items), OFFSET).tobytes(), offsets.astype(OFFSET).tobytes(), *items])


def index_of(card: Card, bounds: np.ndarray, sizes: list[int]) -> dict:
    """litdata's ``index.json`` for chunks of these sizes in bytes."""
    counts = np.diff(bounds).tolist()
    chunks = [
        {"chunk_bytes": size, "chunk_size": count, "dim": None, "filename": card.chunk_name(number)}
        for number, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    return {"chunks": chunks, "config": LAYOUT, "updated_at": card.digest()}


class Shards:
    """Clips of one split of a stream by number, each a dict of arrays.

    stream: a folder, or an address; chunks of an address are kept below ``cache``, up to ``cache_bytes``, the longest
    unused removed first. ``frames`` int32 [N] and ``person`` int32 [N] are of all clips.

    Raises FileNotFoundError without shards, ValueError for shards of another form or whose card and index do not
    fit each other, and without litdata.
    """

    def __init__(self, stream: str, split: str, cache: str | Path, cache_bytes: int = 50 * 2**30):
        imported("litdata", "StreamingDataset")
        self.stream, self.split, self.cache_bytes = str(stream).rstrip("/"), split, cache_bytes
        self.where = f"{self.stream}/{split}"
        self.card = read_card(self.stream, split)
        table = self._table(fetch(self.stream, split, TABLE))
        self.frames, self.person = table["frames"], table["person"]
        self.bounds = shard_bounds(self.frames, self.card.chunk_frames)
        index = self._checked(fetch(self.stream, split, INDEX))
        self.remote = is_remote(self.stream)
        self.folder = Path(self.where)
        if self.remote:  # litdata finds our own checked index there and fetches none
            self.folder = Path(cache) / self.card.digest() / split
            write_file(self.folder / INDEX, json.dumps(index).encode())
        self._dataset = self._ahead = None

    @property
    def dataset(self):
        """litdata's StreamingDataset of the split."""
        if self._dataset is None:
            StreamingDataset, Dir = (
                imported("litdata", "StreamingDataset"),
                imported("litdata.streaming.resolver", "Dir"),
            )
            folder = Dir(path=str(self.folder.absolute()), url=self.where if self.remote else None)
            self._dataset = StreamingDataset(folder, item_loader=clip_loader())
        return self._dataset

    def _table(self, content: bytes) -> dict[str, np.ndarray]:
        where = f"{self.where}/{TABLE}"
        if sha(content) != self.card.table:
            raise ValueError(f"{where}: is not the table that {CARD} was written with; {REMEDY}")
        try:
            table = load(content)
            fits = all(
                table[k].dtype == np.int32 and table[k].shape == (self.card.clips,) for k in ("frames", "person")
            )
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{where}: not a table of clips; {REMEDY}") from error
        if not fits or table["frames"].min() < 1 or not 0 <= table["person"].min() <= table["person"].max() < len(self):
            raise ValueError(f"{where}: not a table of {self.card.clips} clips; {REMEDY}")
        return table

    def _checked(self, content: bytes) -> dict:
        """The index, if it is the one that belongs to the card and says nothing else."""
        try:
            given = json.loads(content)
            sizes = [chunk["chunk_bytes"] for chunk in given["chunks"]]
            if len(sizes) == len(self.bounds) - 1 and all(type(size) is int and 0 < size <= ITEM for size in sizes):
                index = index_of(self.card, self.bounds, sizes)
                if given == index:
                    return index
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.where}/{INDEX}: not an index of chunks; {REMEDY}") from error
        raise ValueError(f"{self.where}/{INDEX}: is not the index of these shards; {REMEDY}")

    def __len__(self) -> int:
        return self.card.clips

    def chunk_of(self, clip: int) -> int:
        return int(np.searchsorted(self.bounds, clip, side="right")) - 1

    def read(self, clip: int) -> dict[str, np.ndarray]:
        """The arrays of clip number ``clip``. Of a chunk that is not on this disk, only this clip is fetched."""
        ChunkedIndex = imported("litdata.streaming.sampler", "ChunkedIndex")
        place = ChunkedIndex(index=int(clip), chunk_index=self.chunk_of(clip))
        try:
            try:
                content = self.dataset[place]
            except FileNotFoundError:  # removed meanwhile, or from a store that gives whole files only
                self.bring(place.chunk_index)
                content = self.dataset[place]
            return load(content)
        except (SafetensorError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.where}, clip {clip}: cannot be read ({reason}); copy or {REMEDY}") from error

    def bring(self, chunk: int) -> None:
        """Have a chunk on this disk; nothing for a stream that is a folder. FileNotFoundError where there is none."""
        if not self.remote:
            return
        path = self.folder / self.card.chunk_name(chunk)
        try:
            os.utime(path)
            return
        except FileNotFoundError:
            pass
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system, however a process ends
            if not path.is_file():
                content = fetch(self.stream, self.split, path.name)
                write_file(path, content)
                self._forget(path)

    def bring_later(self, chunk: int) -> None:
        """``bring`` beside what else is done. What goes wrong is seen when the chunk is wanted."""
        if self.remote:
            if self._ahead is None:
                self._ahead = ThreadPoolExecutor(1)
            self._ahead.submit(self.bring, chunk)

    def _forget(self, new: Path) -> None:
        """Remove the longest unused chunks until the rest fits; whoever reads one now keeps it open."""
        sizes = {}
        for path in self.folder.glob("chunk-*.bin"):
            try:
                sizes[path] = (path.stat().st_mtime_ns, path.stat().st_size)
            except FileNotFoundError:
                continue
        total = sum(size for _, size in sizes.values())
        for path in sorted(sizes, key=lambda path: sizes[path][0]):
            if total > self.cache_bytes and path != new:
                path.unlink(missing_ok=True)
                total -= sizes[path][1]

    def __getstate__(self) -> dict:
        """Workers have threads and connections of their own."""
        return {**self.__dict__, "_dataset": None, "_ahead": None}


def clip_loader():
    """litdata's loader of items, less what it could be talked into: an item is bytes, whatever a file says."""
    PyTreeLoader = imported("litdata.streaming.item_loader", "PyTreeLoader")
    return type("ClipLoader", (ItemBytes, PyTreeLoader), {})()


class ItemBytes:
    """How a chunk's items are found, for ``clip_loader``."""

    def load_item_from_chunk(self, index, chunk_index, chunk_filepath, begin, filesize_bytes, encryption=None) -> bytes:
        with open(chunk_filepath, "rb") as file:
            file.seek(4 * (1 + index - begin))
            first, end = np.frombuffer(file.read(8), OFFSET).tolist()
            if not 4 <= end - first <= LARGEST:
                raise ValueError(f"{end - first} bytes")
            file.seek(first)
            return self.load_item_from_bytes(file.read(end - first), chunk_index)

    def load_item_from_bytes(self, raw_bytes, chunk_index) -> bytes:
        size = int(np.frombuffer(raw_bytes[:4], OFFSET)[0])
        if size != len(raw_bytes) - 4:
            raise ValueError(f"{len(raw_bytes) - 4} bytes instead of {size}")
        return bytes(raw_bytes[4:])
