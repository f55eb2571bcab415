"""A square around a head that follows it smoothly, in the framing that every model here is trained on."""

import numpy as np

from tsd.media.faces import EYES_AT, EYES_TO_MOUTH, cut_out
from tsd.media.heads import fill

STEADY = 10.0
"""Std in frames of the Gaussian over the square's place and side: it follows a walking head and not a nod, so that
nods stay in the clip (our choice)."""


def squares(points: np.ndarray) -> np.ndarray:
    """Landmarks [T, 5, 2] in pixels -> float64 [T, 3]: x and y of the upper left corner and side of every frame.

    Eyes and mouth come to the places of ``crop_face`` on average; the head is not turned back.
    """
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    side = np.linalg.norm(mouth - eyes, axis=1) / EYES_TO_MOUTH
    rough = np.column_stack([eyes, side])
    steady = fill(np.arange(len(rough)), rough, len(rough), STEADY).astype(np.float64)
    steady[:, 2] = np.maximum(steady[:, 2], 1.0)
    return np.column_stack([steady[:, :2] - steady[:, 2:] * np.array(EYES_AT), steady[:, 2]])


def to_units(square: np.ndarray) -> np.ndarray:
    """One square (x, y, side) -> the affine map [2, 3] from pixels to units of its side."""
    x, y, side = square
    return np.array([[1 / side, 0.0, -x / side], [0.0, 1 / side, -y / side]])


def crop(picture: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> the square as [size, size, 3]."""
    return cut_out(picture, to_units(square), size)


def in_squares(points: np.ndarray, boxes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [T, 5, 2] and boxes [T, 4] in pixels -> the same in units of the squares [T, 3]."""
    corner, side = places[:, None, :2], places[:, None, 2:]
    return (points - corner) / side, ((boxes.reshape(-1, 2, 2) - corner) / side).reshape(-1, 4)
