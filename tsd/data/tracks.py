"""What is known about each frame of a clip beside its picture: visemes, head motion, mouth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tsd.clip import MOTION, PHONEMES, VISEMES, viseme_windows
from tsd.data.arrays import fields_of, read_array
from tsd.data.manifest import Entry

SLACK = 2
"""Frames by which a track may differ from its video: aligners and trackers round differently."""


@dataclass
class Tracks:
    """Per-frame values of one clip of T frames; float32."""

    labels: np.ndarray
    """[T, V] visemes of the manifest: the recogniser's target; zeros when unknown."""
    windows: np.ndarray
    """[T, W, V] of ``labels``: what the denoiser sees."""
    motion: np.ndarray | None
    """[T, M], None when unknown."""
    mouth_open: np.ndarray
    """[T], nan when unknown."""
    mouth_box: np.ndarray
    """[T, 4], nan when unknown."""

    @property
    def nbytes(self) -> int:
        arrays = (self.labels, self.windows, self.motion, self.mouth_open, self.mouth_box)
        return sum(a.nbytes for a in arrays if a is not None)


def load_tracks(entry: Entry) -> Tracks:
    """Read the files that an entry names. Raises ValueError naming the file that does not fit."""
    labels = np.zeros((entry.frames, len(VISEMES)), np.float32)
    if entry.visemes is not None:
        labels = read_visemes(entry.visemes, entry.frames)
    motion = None
    if entry.motion is not None:
        motion = _track(entry.motion, "motion", entry.frames, (len(MOTION),))
    mouth_open = np.full(entry.frames, np.nan, np.float32)
    mouth_box = np.full((entry.frames, 4), np.nan, np.float32)
    if (boxes := entry.truth or entry.boxes) is not None:
        if entry.truth or "mouth_open" in fields_of(boxes):  # of recorded mouths only where landmarks were read
            mouth_open = _track(boxes, "mouth_open", entry.frames, ())
        mouth_box = _track(boxes, "mouth_box", entry.frames, (4,))
    return Tracks(labels, viseme_windows(torch.from_numpy(labels)).numpy(), motion, mouth_open, mouth_box)


def load_phonemes(entry: Entry) -> np.ndarray:
    """float32 [T, P] of an entry whose labels hold them; else zeros: unknown. ValueError for what does not fit."""
    path = entry.visemes
    if path is None or path.suffix != ".npz" or "phonemes" not in fields_of(path):
        return np.zeros((entry.frames, len(PHONEMES)), np.float32)
    return _track(path, "phonemes", entry.frames, (len(PHONEMES),))


def _fit(array: np.ndarray, num_frames: int, path: Path) -> np.ndarray:
    if abs(len(array) - num_frames) > SLACK or not len(array):
        raise ValueError(f"{path}: has {len(array)} frames but its video has {num_frames}; prepare the clip again")
    short = num_frames - len(array)
    if short > 0:
        array = np.concatenate([array, np.repeat(array[-1:], short, 0)])
    return np.ascontiguousarray(array[:num_frames], np.float32)


def _track(path: Path, field: str, num_frames: int, shape: tuple) -> np.ndarray:
    array = read_array(path, field)
    if array.shape[1:] != shape or array.dtype.kind != "f":
        expected = ", ".join(["T", *map(str, shape)])
        raise ValueError(f"{path}: {field} must be floats [{expected}], got {array.dtype} {list(array.shape)}")
    if np.isinf(array).any():
        raise ValueError(f"{path}: {field} holds infinite values; prepare the clip again")
    return _fit(array, num_frames, path)


def read_visemes(path: Path, num_frames: int) -> np.ndarray:
    """A file of [T] class numbers or [T, V] probabilities -> [T, V] float32 in [0, 1].

    ``.npy``, or the ``visemes`` of a ``.npz``; up to SLACK frames more or fewer are forgiven. ValueError names the
    file and what does not fit.
    """
    array, num_visemes = read_array(path, "visemes"), len(VISEMES)
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and ((array >= -0.01) & (array <= 1.01)).all()):
        raise ValueError(f"{path}: visemes must be probabilities in [0, 1]; write the file again")
    if array.ndim == 1 and array.dtype.kind in "iu":
        if len(array) and not (0 <= array.min() and array.max() < num_visemes):
            raise ValueError(f"{path}: viseme numbers must lie in 0..{num_visemes - 1}, got up to {array.max()}")
        array = np.eye(num_visemes, dtype=np.float32)[array]
    if array.ndim != 2 or array.shape[1] != num_visemes or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: visemes must be whole numbers [T] or floats [T, {num_visemes}], "
            f"got {array.dtype} {list(array.shape)}"
        )
    return _fit(array, num_frames, path)
