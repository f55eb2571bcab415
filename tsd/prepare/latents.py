"""Encode every frame of a split once, so that training on latents needs no VAE in the loop."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsd.data.dataset import ClipDataset, to_unit
from tsd.data.latents import LatentCache
from tsd.data.manifest import fingerprint
from tsd.prepare.manifests import write_atomic


def cache_latents(
    encode: Callable[[Tensor], Tensor],
    dataset: ClipDataset,
    folder: str | Path,
    split: str,
    vae_hash: str,
    flip: bool = False,
    batch_size: int = 64,
) -> LatentCache:
    """Write ``<folder>/<split>.npy`` (and ``.flipped.npy``) and open it; a cache that fits is left as it is.

    Args:
        encode: [n, 3, S, S] in [-1, 1] -> normalised latents [n, C, h, w], the same for every batch.
        dataset: the split; ``resolution`` and ``entries`` are taken from it.
        vae_hash: names the VAE's weights; a cache of another VAE is replaced.
        flip: also the latents of the mirrored frames.

    The index is written last: what an interruption leaves is never taken for a cache.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return LatentCache(folder, split, dataset.entries, dataset.resolution, flip, vae_hash)
    except (FileNotFoundError, ValueError):
        (folder / f"{split}.json").unlink(missing_ok=True)
    shape = _encode_all(encode, dataset, folder / f"{split}.npy", False, batch_size)
    if flip:
        _encode_all(encode, dataset, folder / f"{split}.flipped.npy", True, batch_size)
    else:
        (folder / f"{split}.flipped.npy").unlink(missing_ok=True)
    index = {
        "vae": vae_hash,
        "manifest": fingerprint(dataset.entries),
        "resolution": dataset.resolution,
        "frames": sum(entry.frames for entry in dataset.entries),
        "shape": shape,
        "flipped": flip,
    }
    write_atomic(folder / f"{split}.json", json.dumps(index).encode())
    return LatentCache(folder, split, dataset.entries, dataset.resolution, flip, vae_hash)


@torch.inference_mode()
def _encode_all(encode, dataset: ClipDataset, path: Path, flipped: bool, batch_size: int) -> list[int]:
    """Latents of all frames into ``path``, float16 [N, C, h, w]; returns [C, h, w]."""
    num_frames, latents, row = sum(entry.frames for entry in dataset.entries), None, 0
    temporary = path.with_name(f".{path.name}.part")
    words = f"latents of {path.stem}"
    try:
        with tqdm(total=num_frames, desc=words, unit="frame", delay=2, leave=False) as progress:
            for clip, entry in enumerate(dataset.entries):
                for first in range(0, entry.frames, batch_size):
                    numbers = np.arange(first, min(first + batch_size, entry.frames))
                    frames = dataset.frames(clip, numbers)
                    z = encode(to_unit(frames[:, :, ::-1] if flipped else frames)).float().cpu().numpy()
                    if latents is None:
                        shape = (num_frames, *z.shape[1:])
                        latents = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
                    latents[row : row + len(z)] = z
                    row += len(z)
                    progress.update(len(z))
        latents.flush()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return [int(n) for n in latents.shape[1:]]
