"""How far the eyes of a followed head are open: seen in its pictures, for landmarks say nothing of lids."""

from collections.abc import Iterable

import cv2
import numpy as np

APART = 48
"""Pixels between the eyes of the turned and scaled pictures that are looked at."""

HALF = (16, 12)
"""Half the width and the height of what is cut out around an eye there: lids, and hardly a brow."""

IRIS = (5, 9)
"""Width and height that are averaged there: an iris is 9 pixels across; the line of shut lids is 2 high."""

DARKEST = (slice(6, 18), slice(6, 26))
"""Rows and columns in which the darkest such place is looked for, wherever the eyes look."""

STIR, BLINK = 0.04, 0.08
"""Rise of its lightness, as a part of the way to that of skin, below which nothing is seen (gaze and noise: 0.02 to
0.04), and that a clip must reach once for its eyes to have been shut (0.12 to 0.2 in recorded clips, 0.3 to 0.6 in
drawn ones). Read off six recorded clips; our choice."""


def eyes_open(frames: Iterable[np.ndarray], points: np.ndarray) -> np.ndarray:
    """How far the eyes are open in every frame, float32 [T] in 0 (shut) to 1 (as usual in these frames).

    frames: uint8 [H, W, 3], T of them, one after the other; points: [T, 5, 2] landmarks in their pixels. An open eye
    shows an iris, a dark disc, wherever it looks; a shut one a thin line, which is light once it is averaged over the
    height of an iris. What is darkest is compared with its own median over the clip and, where eyes were shut at
    all, with the frame where they were shut most: nobody needs to know how dark these eyes are. Our choice; on drawn
    faces it agrees with the true opening (r at least 0.94).
    """
    if not len(points):
        return np.ones(0, np.float32)
    level = lightness(frames, points).mean(1)
    usual = np.median(level)
    rise = (level - usual) / max(1.0 - usual, 0.1)
    if (most := rise.max()) < BLINK:
        return np.ones(len(rise), np.float32)
    return (1 - np.clip((rise - STIR) / (most - STIR), 0, 1)).astype(np.float32)


def lightness(frames: Iterable[np.ndarray], points: np.ndarray) -> np.ndarray:
    """How light the darkest place of each eye is, float32 [T, 2] (left and right in the picture), 1 where as light
    as the skin around it usually is: it rises as an eye shuts. frames, points: as ``eyes_open`` takes them, T of 1 or
    more."""
    pairs = zip(frames, points[:, :2], strict=True)
    seen = [[_darkest(frame, *eyes, side) for side in (0, 1)] for frame, eyes in pairs]
    dark, skin = np.moveaxis(np.array(seen, np.float32).reshape(-1, 2, 2), -1, 0)
    return dark / np.maximum(np.median(skin, 0), 1.0)


def _darkest(frame: np.ndarray, left: np.ndarray, right: np.ndarray, side: int) -> tuple[float, float]:
    """Lightness, 0..255, of the darkest iris-sized place in one eye, and of the skin around it (80th percentile)."""
    apart = right - left
    turn = complex(*apart).conjugate() * APART / max(float(apart @ apart), 1.0)
    matrix = np.array([[turn.real, -turn.imag, 0.0], [turn.imag, turn.real, 0.0]])
    matrix[:, 2] = np.array(HALF) - matrix[:, :2] @ (right if side else left)
    size = (2 * HALF[0], 2 * HALF[1])
    patch = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.blur(grey, IRIS)[DARKEST].min()), float(np.percentile(grey, 80))
