"""Where one shot of a video ends and the next begins."""

import cv2
import numpy as np

THUMB = (64, 36)
"""Pixels, width x height, at which pictures are compared."""

JUMP, ABOVE = 6.0, 5.0
"""A cut changes the picture by 6 of 256 levels on average, and 5 times as much as the half second around it does:
a shaking camera changes every frame, a cut one. Our choice: 13 real clips change by 1.2 at most, and another person in
front of the same wall by 13."""

REPEATED = 0.2
"""Levels below which a frame is the one before it shown again: a source of 12 frames a second brought to 25, a call
that stood still. Two pictures of the quietest of 13 real clips differ by more (our choice)."""

AROUND, WITHIN = 6, 25
"""Changes on either side of a change that it is compared with, and frames in which they must lie."""

FEWEST = 3
"""Changes around a change from which they tell how the picture moves; with fewer it stands still. A source of 2 frames
a second has as many (our choice)."""


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [36, 64, 3]."""
    return cv2.resize(picture, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, in levels of 0..255."""
    return float(np.abs(after - before).mean())


def find_cuts(changes: np.ndarray) -> list[int]:
    """``changes`` [T - 1], from frame t to t + 1 -> the frames at which a new shot begins, rising.

    A change is compared with the changes around it, not with repeats of a frame: these say nothing of how much the
    picture moves. Where next to nothing changes around it, any jump is a cut.
    """
    moves = np.flatnonzero(changes >= REPEATED)
    cuts = []
    for i in np.flatnonzero(changes[moves] >= JUMP):
        nearby = np.concatenate([moves[max(i - AROUND, 0) : i], moves[i + 1 : i + 1 + AROUND]])
        nearby = nearby[np.abs(nearby - moves[i]) <= WITHIN]
        if len(nearby) < FEWEST or changes[moves[i]] >= ABOVE * np.median(changes[nearby]):
            cuts.append(int(moves[i]) + 1)
    return cuts
