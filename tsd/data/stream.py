"""Windows of clips out of shards: what ``ClipDataset`` gives of the same clips, in an order that goes by chunks."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch.utils.data import Sampler

from tsd.clip import MELS, MELS_PER_FRAME, MOTION, VISEMES, viseme_windows
from tsd.data.dataset import ClipDataset, sound_of
from tsd.data.flows import Flows, read_flows
from tsd.data.latents import check_origin
from tsd.data.manifest import Entry
from tsd.data.memory import Memory
from tsd.data.shards import REMEDY, Shards
from tsd.data.tracks import Tracks
from tsd.media.video import read_frames

RECENT = 64 * 2**20
"""Bytes of clips as they came out of the shards that are kept: a window looks at its clip half a dozen times."""


class StreamOrder(Sampler):
    """(epoch, number, ahead) without end, as ``EndlessSampler`` gives (epoch, number), but chunk after chunk.

    A pass visits every clip once: pass p gives window ``p % windows_per_clip`` of every clip in epoch
    ``p // windows_per_clip``. Chunks come in an order of the pass and are dealt to nodes one by one, so that a node
    downloads its share only; ``mixed`` chunks of a node at a time are shuffled together. ``ahead`` is a chunk of the
    next such group, or -1.

    bounds: first clip of every chunk, and the number of clips. start: items taken before on this node. rank, world:
    this device takes every ``world``-th item of its node, so that a node's devices together take what one would.
    """

    def __init__(
        self,
        bounds: np.ndarray,
        windows_per_clip: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        node: int = 0,
        nodes: int = 1,
        mixed: int = 8,
    ):
        self.bounds, self.windows_per_clip, self.seed, self.start = bounds, windows_per_clip, seed, start
        self.rank, self.world, self.node, self.nodes, self.mixed = rank, world, node, nodes, mixed

    def groups(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(pass, place inside it, chunks) of this node, without end."""
        num_chunks = len(self.bounds) - 1
        for number in count():
            order = np.random.default_rng([self.seed, number]).permutation(num_chunks)
            mine = order[(self.node - number * num_chunks) % self.nodes :: self.nodes]
            for place in range(0, len(mine), self.mixed):
                yield number, place, mine[place : place + self.mixed]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        clips, groups = int(self.bounds[-1]), self.groups()
        wanted, begin = self.start + self.rank, 0
        following = next(groups)
        while True:
            (number, place, chunks), following = following, next(groups)
            end = begin + int((self.bounds[chunks + 1] - self.bounds[chunks]).sum())
            if wanted < end:
                items = np.concatenate([np.arange(self.bounds[chunk], self.bounds[chunk + 1]) for chunk in chunks])
                items = np.random.default_rng([self.seed, number, place, 1]).permutation(items).tolist()
                epoch, nth = divmod(number, self.windows_per_clip)
                ahead = [*following[2].tolist(), *[-1] * len(items)]
                for position in range(wanted - begin, len(items), self.world):
                    yield epoch, nth * clips + items[position], ahead[position]
                    wanted += self.world
            begin = end


@dataclass
class Record:
    """One clip out of the shards."""

    values: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values())


class StreamedClips(ClipDataset):
    """``ClipDataset`` of a split of a stream: the window of an (epoch, number) is the same, bit for bit.

    vae_hash: use the stream's latents; ValueError where they are of another VAE or resolution, or where those of
    mirrored frames are wanted and missing. None: give frames only. Other arguments as in ``ClipDataset``.
    """

    def __init__(
        self,
        shards: Shards,
        resolution: int,
        window: int,
        *,
        vae_hash: str | None = None,
        flip: bool = False,
        **options,
    ):
        self.shards, self.recent, card = shards, Memory(RECENT), shards.card
        if vae_hash is not None:
            check_latents(shards, resolution, vae_hash, flip)
        latents = Latents(self) if vae_hash is not None else None
        super().__init__(StreamEntries(self), resolution, window, latents=latents, flip=flip, **options)
        self.has_truth, self.has_boxes = card.truth, card.boxes

    def __getitem__(self, item: int | tuple[int, int, int]) -> dict:
        *item, ahead = item if isinstance(item, tuple) else (item, -1)
        if ahead >= 0:
            self.shards.bring_later(ahead)
        number = item[-1]
        if 0 <= number < len(self):
            self.shards.bring(self.shards.chunk_of(number % len(self.entries)))
        return super().__getitem__(tuple(item) if len(item) == 2 else number)

    def record(self, clip: int) -> dict[str, np.ndarray]:
        """The arrays of clip number ``clip``, checked. ValueError for what no clip looks like."""
        return self.recent.get(clip, lambda: Record(self._checked(clip, self.shards.read(clip)))).values

    def _checked(self, clip: int, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        num, card = int(self.shards.frames[clip]), self.shards.card
        bytes_, floats = (None, np.uint8), np.float32
        wanted = {"key": bytes_, "video": bytes_, "labels": ((num, len(VISEMES)), floats)}
        wanted |= {"mouth_open": ((num,), floats), "mouth_box": ((num, 4), floats)}
        optional = {"flow": bytes_, "motion": ((num, len(MOTION)), floats)}
        optional["mel"] = ((num * MELS_PER_FRAME, MELS), floats)
        if card.vae is not None:
            wanted["latents"] = ((num, *card.shape), np.float16)
            if card.flipped:
                wanted["flipped"] = wanted["latents"]
        kinds = optional | wanted
        wrong = [name for name in wanted if name not in values]
        for name, value in values.items():
            shape, dtype = kinds.get(name, ("unknown", None))
            if value.dtype != dtype or (value.ndim != 1 if shape is None else value.shape != shape):
                wrong.append(name)
        if not wrong:
            try:
                key = PurePosixPath(values["key"].tobytes().decode())
            except UnicodeDecodeError:
                key = PurePosixPath("/")
            if key.is_absolute() or ".." in key.parts:
                wrong.append("key")
        if wrong:
            raise ValueError(f"{self.shards.where}, clip {clip}: {', '.join(wrong)}: not as the card says; {REMEDY}")
        return values

    @contextmanager
    def _video(self, clip: int) -> Iterator[Path]:
        """The clip's video as a file: decoders want one."""
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(self.entries[clip].key).suffix) as file:
            file.write(self.record(clip)["video"])
            file.flush()
            yield Path(file.name)

    def frames(self, clip: int, numbers) -> np.ndarray:
        if self.num_bytes > self.memory.max_bytes:
            with self._video(clip) as path:
                return read_frames(path, numbers, self.resolution, self.decoder)
        return self.memory.get(("stream", self.shards.where, self.resolution, clip), lambda: self._whole(clip))[numbers]

    def _whole(self, clip: int) -> np.ndarray:
        with self._video(clip) as path:
            return read_frames(path, size=self.resolution, decoder=self.decoder)[: self.entries[clip].frames]

    def tracks(self, clip: int) -> Tracks:
        values = self.record(clip)
        windows = viseme_windows(torch.from_numpy(values["labels"])).numpy()
        return Tracks(values["labels"], windows, values.get("motion"), values["mouth_open"], values["mouth_box"])

    def flows(self, clip: int) -> Flows:
        entry = self.entries[clip]
        return read_flows(entry.flow, entry.frames, self.record(clip)["flow"].tobytes())

    def _listen(self, clip: int) -> np.ndarray:
        if "mel" in self.record(clip):
            return self.record(clip)["mel"]
        with self._video(clip) as path:
            return sound_of(path, self.entries[clip].frames)


class StreamEntries(Sequence):
    """The clips of a stream as ``ClipDataset`` wants to see those of a manifest."""

    def __init__(self, dataset: StreamedClips):
        self.dataset, self.frames, self.person = dataset, dataset.shards.frames, dataset.shards.person
        self.people = [f"{number}" for number in range(int(self.person.max()) + 1)]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, clip: int) -> Entry:
        """Files are named that no disk has: the dataset reads all of them out of the record."""
        clip = range(len(self))[clip]
        values = self.dataset.record(clip)
        key = values["key"].tobytes().decode()
        where, person = f"{self.dataset.shards.where}, clip {clip}", self.people[self.person[clip]]
        flow = Path(f"{key}.flow.npz") if "flow" in values else None
        return Entry(key, Path(key), person, int(self.frames[clip]), flow=flow, where=where)

    def look(self) -> Iterator[Entry]:
        """Nothing: what the corpus has is on the card."""
        return iter(())


class Latents:
    """The stream's latents, read as those of a ``LatentCache``."""

    def __init__(self, dataset: StreamedClips):
        self.dataset = dataset

    def read(self, clip: int, frames, flipped: bool = False) -> np.ndarray:
        """float32 [..., C, h, w]: normalised latents of the frame numbers ``frames`` of clip number ``clip``."""
        values = self.dataset.record(clip)["flipped" if flipped else "latents"]
        return values[np.asarray(frames)].astype(np.float32)


def check_latents(shards: Shards, resolution: int, vae_hash: str, flip: bool) -> None:
    """Refuse a stream whose latents are not those that are wanted."""
    card, where = shards.card, f"{shards.where}/card.json"
    if card.vae is None:
        raise ValueError(f"{where}: the stream has no latents; {REMEDY}, or train with data.latents=null")
    check_origin(where, vars(card), {"vae": vae_hash, "resolution": resolution}, REMEDY)
    if flip and not card.flipped:
        raise ValueError(f"{where}: has no latents of mirrored frames; {REMEDY} flip=true, or set data.flip=false")
