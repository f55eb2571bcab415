"""Latents computed once (``tsd.prepare.latents`` writes them), read from disk without loading them whole."""

import json
from pathlib import Path

import numpy as np

from tsd.data.manifest import Entry, fingerprint

REMEDY = "cache the latents again with the VAE in use"


class LatentCache:
    """Read-only view of ``<folder>/<split>.npy``: float16 [N, C, h, w], all frames of all clips in manifest order.

    ``<split>.json`` beside it names what it was made from; ``<split>.flipped.npy`` holds the latents of
    the mirrored frames. Raises FileNotFoundError without a cache, ValueError for one made from another
    manifest, resolution or (where ``vae_hash`` is given) VAE.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        entries: list[Entry],
        resolution: int,
        flip: bool = False,
        vae_hash: str | None = None,
    ):
        path = Path(folder) / f"{split}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no latents of the {split} split; {REMEDY}")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            self.shape = (index["frames"], *index["shape"])
            made_from = {key: index[key] for key in ("manifest", "resolution", "vae")}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not an index of latents; {REMEDY}") from error
        wanted = {"manifest": fingerprint(entries), "resolution": resolution, "vae": vae_hash or made_from["vae"]}
        if wrong := [key for key in wanted if wanted[key] != made_from[key]]:
            what = ", ".join(f"{key} {made_from[key]} instead of {wanted[key]}" for key in wrong)
            raise ValueError(f"{path}: latents were made from {what}; {REMEDY}")
        if flip and not index.get("flipped"):
            raise ValueError(f"{path}: has no latents of mirrored frames; {REMEDY} and flip, or set data.flip=false")
        self.vae_hash = made_from["vae"]
        self.offsets = np.cumsum([0] + [entry.frames for entry in entries])
        self.files = {False: path.with_suffix(".npy"), True: path.with_suffix(".flipped.npy")}
        self._open: dict[bool, np.ndarray] = {}

    def read(self, clip: int, frames, flipped: bool = False) -> np.ndarray:
        """float32 [..., C, h, w]: normalised latents of the frame numbers ``frames`` of clip number ``clip``."""
        if flipped not in self._open:
            self._open[flipped] = self._map(self.files[flipped])
        return self._open[flipped][self.offsets[clip] + np.asarray(frames)].astype(np.float32)

    def _map(self, path: Path) -> np.ndarray:
        try:
            latents = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path}: cannot be read as an array; {REMEDY}") from error
        if latents.shape != self.shape or latents.dtype != np.float16:
            raise ValueError(
                f"{path}: is {latents.dtype} {list(latents.shape)}, not float16 {list(self.shape)}; {REMEDY}"
            )
        return latents

    def __getstate__(self) -> dict:
        """Workers open the files themselves: pickling a memory map would copy it."""
        return {**self.__dict__, "_open": {}}
