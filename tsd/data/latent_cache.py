"""Encode every frame of a split once, so that training on latents needs no VAE in the loop."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsd.clip import to_unit
from tsd.data.dataset import ClipDataset
from tsd.data.latents import SHARD_FRAMES, LatentCache, made_from, shard_bounds, shard_folder, shard_path
from tsd.media.atomic import write_array, write_file


def cache_latents(
    encode: Callable[[Tensor], Tensor],
    dataset: ClipDataset,
    folder: str | Path,
    split: str,
    vae_hash: str,
    flip: bool = False,
    batch_size: int = 16,
    shard_frames: int = SHARD_FRAMES,
    device: torch.device | str = "cpu",
) -> LatentCache:
    """Write the shards of a split and open them; what is there already and fits is left as it is.

    Args:
        encode: [n, 3, S, S] in [-1, 1] -> normalised latents [n, C, h, w], the same for every batch.
        dataset: the split; ``resolution`` and ``entries`` are taken from it.
        vae_hash: names the VAE's weights; a cache of another VAE is replaced.
        flip: also the latents of the mirrored frames.
        batch_size: frames at a time. Few: 64 take up to three times as long each as 16, for what layers leave behind
            then no longer fits the processor's cache.
        device: where ``encode`` wants its pictures.

    Every shard appears when it is complete and the index when all are: an interrupted call goes on with the
    shard it was at.
    """
    folder, entries = Path(folder), dataset.entries
    try:
        return LatentCache(folder, split, entries, dataset.resolution, flip, vae_hash)
    except (FileNotFoundError, ValueError):
        (folder / f"{split}.json").unlink(missing_ok=True)
    origin = made_from(entries, dataset.resolution, vae_hash)
    place, bounds = shard_folder(folder, split, origin), shard_bounds(entries.frames, shard_frames)
    for old in folder.glob(f"{split}-*"):
        if old != place:
            shutil.rmtree(old)
    jobs = [(n, flipped) for n in range(len(bounds) - 1) for flipped in ((False, True) if flip else (False,))]
    waiting = [job for job in jobs if not shard_path(place, *job).is_file()]
    num_frames = sum(int(entries.frames[bounds[n] : bounds[n + 1]].sum(dtype=np.int64)) for n, _ in waiting)
    with tqdm(total=num_frames, desc=f"latents of {split}", unit="frame", delay=2, leave=False) as progress:
        for number, flipped in waiting:
            clips = range(bounds[number], bounds[number + 1])
            write_array(
                shard_path(place, number, flipped),
                _encode(encode, dataset, clips, flipped, batch_size, device, progress),
            )
    shape = list(np.load(shard_path(place, 0, False), mmap_mode="r", allow_pickle=False).shape[1:])
    index = origin | {"shape": shape, "flipped": flip, "shard_frames": shard_frames}
    write_file(folder / f"{split}.json", json.dumps(index).encode())
    return LatentCache(folder, split, entries, dataset.resolution, flip, vae_hash)


@torch.inference_mode()
def _encode(encode, dataset: ClipDataset, clips: range, flipped: bool, batch_size: int, device, progress) -> np.ndarray:
    """float16 [n, C, h, w]: latents of all frames of some clips."""
    parts = []
    for clip in clips:
        num_frames = dataset.entries[clip].frames
        for first in range(0, num_frames, batch_size):
            numbers = np.arange(first, min(first + batch_size, num_frames))
            frames = dataset.frames(clip, numbers)
            pictures = torch.from_numpy(frames).to(device)  # as bytes, and turned there
            pictures = (pictures.flip(2) if flipped else pictures).movedim(-1, -3).contiguous()
            z = encode(to_unit(pictures))
            parts.append(z.float().cpu().numpy().astype(np.float16))
            progress.update(len(numbers))
    return np.concatenate(parts)
