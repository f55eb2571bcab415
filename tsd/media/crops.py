"""A square around a head that follows it smoothly, in the framing that every model here is trained on."""

import cv2
import numpy as np

from tsd.media.faces import EYES_AT, EYES_TO_MOUTH, cut_out, to_pixels
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


def paste(picture: np.ndarray, square: np.ndarray, face: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The inverse of ``crop``: ``face`` uint8 [S, S, 3] laid over the square of ``picture`` uint8 [H, W, 3].

    ``share`` float32 [S, S] in 0..1 says how much of ``face`` is taken; where it is 0 the picture stays as it is, level
    for level.
    """
    (height, width), size = picture.shape[:2], len(face)
    x, y, side = square
    left, top = max(0, int(x)), max(0, int(y))
    right, bottom = min(width, int(np.ceil(x + side))), min(height, int(np.ceil(y + side)))
    if left >= right or top >= bottom:
        return picture
    place = to_pixels(to_units(square), size)
    place[:, 2] += place[:, :2] @ [left, top]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    layer = np.dstack([face.astype(np.float32), share * 255])
    layer = cv2.warpAffine(layer, place, (right - left, bottom - top), flags=how, borderMode=cv2.BORDER_REPLICATE)
    here, out = (slice(top, bottom), slice(left, right)), picture.copy()
    mixed = out[here] + layer[..., 3:] / 255 * (layer[..., :3] - out[here])
    out[here] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return out
