"""Where one shot of a video ends and the next begins."""

import cv2
import numpy as np

THUMB = (64, 36)
"""Pixels, width x height, at which pictures are compared."""

JUMP, ABOVE = 6.0, 5.0
"""A cut changes the picture by 6 of 256 levels on average, and 5 times as much as the half second around it does:
a shaking camera changes every frame, a cut one. Our choice: 13 real clips change by 1.2 at most, and another person in
front of the same wall by 13."""

AROUND = 6
"""Frames on either side of a change that it is compared with."""


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [36, 64, 3]."""
    return cv2.resize(picture, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, in levels of 0..255."""
    return float(np.abs(after - before).mean())


def find_cuts(changes: np.ndarray) -> list[int]:
    """``changes`` [T - 1], from frame t to t + 1 -> the frames at which a new shot begins, rising."""
    cuts = []
    for t in np.flatnonzero(changes >= JUMP):
        nearby = np.concatenate([changes[max(t - AROUND, 0) : t], changes[t + 1 : t + 1 + AROUND]])
        if changes[t] >= ABOVE * (np.median(nearby) if len(nearby) else 0):
            cuts.append(int(t) + 1)
    return cuts
