"""Latents computed once (``tsd.data.latent_cache`` writes them), read from disk without loading them whole."""

import hashlib
import json
from pathlib import Path

import numpy as np

from tsd.data.manifest import Manifest, fingerprint

REMEDY = "cache the latents again with the VAE in use"
SHARD_FRAMES = 16_384
"""Frames per file: a shard is what an interruption may cost, and what a copy to another disk moves at once."""


def made_from(entries: Manifest, resolution: int, vae_hash: str) -> dict:
    """What latents depend on."""
    return {"vae": vae_hash, "manifest": fingerprint(entries), "resolution": resolution}


def check_origin(where: str | Path, found: dict, wanted: dict, remedy: str) -> None:
    """ValueError where latents were made from something else than ``wanted``."""
    if wrong := [key for key in wanted if wanted[key] != found[key]]:
        what = ", ".join(f"{key} {found[key]} instead of {wanted[key]}" for key in wrong)
        raise ValueError(f"{where}: latents were made from {what}; {remedy}")


def shard_folder(folder: Path, split: str, origin: dict) -> Path:
    """Where the shards of latents of this origin lie: half a cache of another VAE is never continued."""
    return folder / f"{split}-{hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]}"


def shard_path(folder: Path, number: int, flipped: bool) -> Path:
    return folder / f"{number:05d}{'.flipped' if flipped else ''}.npy"


def shard_bounds(frames: np.ndarray, size: int = SHARD_FRAMES) -> np.ndarray:
    """Clips' lengths [N] -> int [num_shards + 1]: the first clip of every shard, and N; clips are never split."""
    if not len(frames):
        return np.array([0])
    begins = np.concatenate([[0], np.cumsum(frames, dtype=np.int64)[:-1]])
    return np.concatenate([np.unique(begins // size, return_index=True)[1], [len(frames)]])


class LatentCache:
    """Read-only view of the shards of a split: float16 [n, C, h, w], all frames of whole clips in manifest order.

    ``<split>.json`` in ``folder`` names what they were made from; ``00000.flipped.npy`` holds the latents of
    the mirrored frames of ``00000.npy``. Files are mapped, not read. Raises FileNotFoundError without a cache,
    ValueError for one made from another manifest, resolution or (where ``vae_hash`` is given) VAE.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        entries: Manifest,
        resolution: int,
        flip: bool = False,
        vae_hash: str | None = None,
    ):
        path = Path(folder) / f"{split}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no latents of the {split} split; {REMEDY}")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            found = {key: index[key] for key in ("vae", "manifest", "resolution")}
            self.shape, size = tuple(int(n) for n in index["shape"]), int(index["shard_frames"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: not an index of latents; {REMEDY}") from error
        check_origin(path, found, made_from(entries, resolution, vae_hash or found["vae"]), REMEDY)
        if flip and not index.get("flipped"):
            raise ValueError(f"{path}: has no latents of mirrored frames; {REMEDY} and flip, or set data.flip=false")
        self.flipped = bool(index.get("flipped"))
        self.vae_hash, self.folder = found["vae"], shard_folder(Path(folder), split, found)
        self.bounds = shard_bounds(entries.frames, size)
        self.starts = np.concatenate([[0], np.cumsum(entries.frames, dtype=np.int64)])
        self._open: dict[tuple[int, bool], np.ndarray] = {}

    def read(self, clip: int, frames, flipped: bool = False) -> np.ndarray:
        """float32 [..., C, h, w]: normalised latents of the frame numbers ``frames`` of clip number ``clip``."""
        shard = int(np.searchsorted(self.bounds, clip, side="right")) - 1
        if (shard, flipped) not in self._open:
            self._open[shard, flipped] = self._map(shard, flipped)
        first = self.starts[clip] - self.starts[self.bounds[shard]]
        return self._open[shard, flipped][first + np.asarray(frames)].astype(np.float32)

    def _map(self, shard: int, flipped: bool) -> np.ndarray:
        path = shard_path(self.folder, shard, flipped)
        try:
            latents = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path}: cannot be read as an array; {REMEDY}") from error
        a, b = self.bounds[shard : shard + 2]
        shape = (int(self.starts[b] - self.starts[a]), *self.shape)
        if latents.shape != shape or latents.dtype != np.float16:
            raise ValueError(f"{path}: is {latents.dtype} {list(latents.shape)}, not float16 {list(shape)}; {REMEDY}")
        return latents

    def __getstate__(self) -> dict:
        """Workers open the files themselves: pickling a memory map would copy it."""
        return {**self.__dict__, "_open": {}}
