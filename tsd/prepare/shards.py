"""A prepared corpus as shards that many machines can stream: files of whole clips with all that training needs."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tsd.data.dataset import ClipDataset
from tsd.data.latents import shard_bounds
from tsd.data.shards import CARD, INDEX, TABLE, Card, index_of, pack_chunk, sha
from tsd.media.atomic import write_file
from tsd.prepare.collect import parse_shard

CHUNK_FRAMES = 8192
"""Frames per chunk: 30 to 100 MB. What an interruption may cost, and what a machine downloads at once."""


def write_shards(
    dataset: ClipDataset,
    folder: str | Path,
    split: str,
    mel: bool = False,
    chunk_frames: int = CHUNK_FRAMES,
    shard: str = "0/1",
) -> bool:
    """Write the chunks of a split into ``folder/split``; what is there already is left as it is.

    Args:
        dataset: the split, with its latents where the shards shall have some.
        mel: also the log-mel of clips with sound (otherwise computed from the video, which goes along whole).
        shard: "i/n": write every n-th chunk from the i-th on, for many machines with one folder.

    Every chunk appears when it is complete; index and card, without which nothing is read, when all chunks are.
    Returns whether they are. Chunks of another origin (VAE, manifest, settings) are removed with the first call.
    """
    folder, entries = Path(folder) / split, dataset.entries
    table = save({"frames": entries.frames.astype(np.int32), "person": entries.person.astype(np.int32)})
    card = card_of(dataset, split, table, mel, chunk_frames)
    folder.mkdir(parents=True, exist_ok=True)
    clear_others(folder, card)
    bounds = shard_bounds(entries.frames, chunk_frames)
    paths = [folder / card.chunk_name(number) for number in range(len(bounds) - 1)]
    first, machines = parse_shard(shard)
    for number in range(first, len(paths), machines):
        if not paths[number].is_file():
            clips = range(bounds[number], bounds[number + 1])
            write_file(paths[number], pack_chunk([pack_clip(dataset, clip, mel) for clip in clips]))
    if not all(path.is_file() for path in paths):
        return False
    index = index_of(card, bounds, [path.stat().st_size for path in paths])
    write_file(folder / TABLE, table)
    write_file(folder / INDEX, json.dumps(index).encode())
    write_file(folder / CARD, card.to_bytes())
    return True


def card_of(dataset: ClipDataset, split: str, table: bytes, mel: bool, chunk_frames: int) -> Card:
    """What the chunks are made from."""
    latents = dataset.latents
    return Card(
        split=split,
        clips=len(dataset.entries),
        manifest=sha(dataset.entries.path.read_bytes()),
        table=sha(table),
        vae=latents.vae_hash if latents is not None else None,
        resolution=dataset.resolution if latents is not None else None,
        shape=tuple(latents.shape) if latents is not None else None,
        flipped=latents is not None and latents.flipped,
        mel=mel,
        truth=dataset.has_truth,
        boxes=dataset.has_boxes,
        chunk_frames=chunk_frames,
    )


def clear_others(folder: Path, card: Card) -> None:
    """Remove what belongs to another card, card and index first: chunks that vanish under an index would be missed."""
    try:
        same = (folder / CARD).read_bytes() == card.to_bytes()
    except FileNotFoundError:
        same = False
    if not same:
        for name in (CARD, INDEX, TABLE):
            (folder / name).unlink(missing_ok=True)
    for path in folder.glob("chunk-*.bin"):
        if not path.name.startswith(f"chunk-{card.digest()}-"):
            path.unlink(missing_ok=True)


def pack_clip(dataset: ClipDataset, clip: int, mel: bool) -> bytes:
    """One clip as safetensors: everything that a window of it may need, its video as the file is."""
    entry, tracks = dataset.entries[clip], dataset.tracks(clip)
    values = {"key": as_bytes(entry.key.encode()), "video": as_bytes(entry.video.read_bytes())}
    values |= {"labels": tracks.labels, "mouth_open": tracks.mouth_open, "mouth_box": tracks.mouth_box}
    if tracks.motion is not None:
        values["motion"] = tracks.motion
    if entry.flow is not None:
        dataset.flows(clip)  # raises where the file is damaged
        values["flow"] = as_bytes(entry.flow.read_bytes())
    if mel and (sound := dataset.log_mel(clip, required=False)) is not None:
        values["mel"] = sound
    if dataset.latents is not None:
        numbers = np.arange(entry.frames)
        values["latents"] = dataset.latents.read(clip, numbers).astype(np.float16)
        if dataset.latents.flipped:
            values["flipped"] = dataset.latents.read(clip, numbers, True).astype(np.float16)
    return save({name: np.ascontiguousarray(value) for name, value in values.items()})


def as_bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
