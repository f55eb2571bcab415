"""Figures of a generated video that need no real one beside it, taken while its frames pass by."""

import time

import cv2
import numpy as np

from tsd.clip import FPS, to_frames
from tsd.metrics.pixels import sharpness
from tsd.metrics.temporal import temporal_l1

SIDE = 192
"""Pixels of the shorter side of the copies that are measured: the figures do not depend on the photograph's size."""


class Figures:
    """Of one video: how fast it was made, how much it moves, and whether it stays as sharp as it began."""

    def __init__(self):
        self.begun, self.num_frames = time.monotonic(), 0
        self.moved: list[float] = []
        self.sharp: list[float] = []
        self.last: np.ndarray | None = None

    def add(self, frames: np.ndarray) -> None:
        """The next frames uint8 [n, H, W, 3]."""
        self.num_frames += len(frames)
        small = np.stack([small_copy(frame) for frame in frames])
        self.sharp += sharpness(to_frames(small)[None])[0].tolist()
        pair = small if self.last is None else np.concatenate([self.last[None], small])
        for two in zip(pair[:-1], pair[1:], strict=True):
            self.moved.append(float(temporal_l1(to_frames(np.stack(two))[None])[0]))
        self.last = small[-1]

    @property
    def seconds(self) -> float:
        """Since the first frame was asked for."""
        return time.monotonic() - self.begun

    def row(self) -> list[str]:
        """Values of COLUMNS."""
        tenth = max(1, len(self.sharp) // 10)
        first, last = np.mean(self.sharp[:tenth]), np.mean(self.sharp[-tenth:])
        return [
            f"{self.seconds:.1f}",
            f"{self.num_frames / max(self.seconds, 1e-6):.1f}",
            f"{100 * float(np.mean(self.moved)):.2f}" if self.moved else "-",
            f"{last / max(first, 1e-12):.2f}",
        ]


COLUMNS = ("seconds", "frames a second", "change from frame to frame, %", "sharpness at the end, over the start")
REAL_TIME = f"At {FPS} frames a second a video is made as fast as it is spoken."


def small_copy(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] with a shorter side of SIDE pixels at most."""
    height, width = frame.shape[:2]
    shrink = SIDE / min(height, width)
    if shrink >= 1:
        return frame
    return cv2.resize(frame, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)
