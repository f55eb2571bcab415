"""The still picture that a face moves in: a whole photograph, or the square around its face, at any size."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from tsd.media.faces import cut_out, framing, to_pixels

LARGEST_FACE, LARGEST_PICTURE = 1024, 2160
"""Pixels across the face's square, and on a picture's longer side: limits of ``size=native``. The second is the height
of a 4K video."""

FRAMES = ("picture", "face")
"""What is shown: the whole photograph, or the square around the face."""

REACH = 0.25
"""How far beyond its square a moving head takes neck and hair along, in units of the side. Our choice."""


@dataclass(frozen=True)
class Canvas:
    """A picture, where the face's square lies in it, and which part of it is shown."""

    picture: np.ndarray
    """uint8 [H, W, 3]"""
    to_unit: np.ndarray
    """float64 [2, 3], from its pixels to units of the face's square."""
    points: np.ndarray
    """float32 [5, 2], the face's landmarks in units of the square."""
    shown: tuple[int, int, int, int]
    """Left, top, right and bottom of the part that is shown, in pixels. The rest can move into it."""
    photograph: tuple[float, float, float, float]
    """Left, top, right and bottom edge of the photograph, in pixels of this picture: a square may reach beyond them."""

    @property
    def side(self) -> float:
        """Of the face's square, in pixels."""
        return side_of(self.to_unit)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is shown."""
        left, top, right, bottom = self.shown
        return bottom - top, right - left

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``of_arrays`` reads, for a file."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Canvas":
        """Raises KeyError or ValueError for arrays that are no canvas."""
        picture = arrays["picture"]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"picture must be uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")
        for name, shape in {"to_unit": (2, 3), "points": (5, 2), "shown": (4,), "photograph": (4,)}.items():
            value = arrays[name]
            if value.shape != shape or value.dtype.kind not in "fi" or not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite numbers {list(shape)}, got {value.dtype} {list(value.shape)}")
        left, top, right, bottom = (int(x) for x in arrays["shown"])
        if not (0 <= left < right <= picture.shape[1] and 0 <= top < bottom <= picture.shape[0]):
            raise ValueError(f"shown {[left, top, right, bottom]} is no part of a picture {list(picture.shape[:2])}")
        to_unit = arrays["to_unit"].astype(np.float64)
        if not 1 <= side_of(to_unit) <= 4 * LARGEST_FACE:
            raise ValueError(f"to_unit describes a square of {side_of(to_unit):.3g} pixels")
        points, photograph = arrays["points"].astype(np.float32), tuple(map(float, arrays["photograph"]))
        return cls(picture, to_unit, points, (left, top, right, bottom), photograph)


def side_of(to_unit: np.ndarray) -> float:
    """Pixels across the square that ``to_unit`` [2, 3] maps to the unit square."""
    return float(1 / np.sqrt(max(abs(np.linalg.det(to_unit[:, :2])), 1e-12)))


def canvas_of(photograph: np.ndarray, points: np.ndarray, size: int | str, frame: str, smallest: int) -> Canvas:
    """The canvas of a photograph uint8 [H, W, 3] with the face's landmarks [5, 2] in pixels.

    size: pixels across the face's square, or ``native``: as many as the photograph has, within the limits above.
    frame: one of FRAMES; with ``face``, ``native`` means ``smallest`` pixels at least. Both sides are even numbers.
    """
    to_unit = framing(points)
    in_square = (points @ to_unit[:, :2].T + to_unit[:, 2]).astype(np.float32)
    side = side_of(to_unit)
    if frame == "face":
        across = max(smallest, min(LARGEST_FACE, round(side))) if size == "native" else size
        return face_canvas(photograph, to_unit, in_square, across // 2 * 2)
    scale = min(LARGEST_FACE / side, 1) if size == "native" else size / side
    return picture_canvas(photograph, to_unit, in_square, min(scale, LARGEST_PICTURE / max(photograph.shape[:2])))


def picture_canvas(photograph: np.ndarray, to_unit: np.ndarray, points: np.ndarray, scale: float = 1) -> Canvas:
    """The whole photograph, ``scale`` times as large; an odd last row or column is left out."""
    height, width = photograph.shape[:2]
    if scale != 1:
        wide, high = max(2, round(width * scale)), max(2, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        photograph = cv2.resize(photograph, (wide, high), interpolation=how)
        to_unit = to_unit * [width / wide, height / high, 1]
        height, width = high, wide
    height, width = max(1, height // 2 * 2), max(1, width // 2 * 2)
    picture, whole = np.ascontiguousarray(photograph[:height, :width]), (0, 0, width, height)
    return Canvas(picture, to_unit, points, whole, whole)


def face_canvas(photograph: np.ndarray, to_unit: np.ndarray, points: np.ndarray, size: int) -> Canvas:
    """The face's square with ``size`` pixels across, and as much around it as can move into it."""
    margin = round(REACH * size)
    across = size + 2 * margin
    wider = to_unit * (size / across)
    wider[:, 2] += margin / across
    height, width = photograph.shape[:2]
    to_canvas = to_pixels(to_unit, size)
    to_canvas[:, 2] += margin
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    corners = corners @ to_canvas[:, :2].T + to_canvas[:, 2]
    edges = (*corners.min(0), *(corners.max(0) + 1))
    inside = np.array([[1 / size, 0, -margin / size], [0, 1 / size, -margin / size]])
    shown = (margin, margin, margin + size, margin + size)
    return Canvas(cut_out(photograph, wider, across), inside, points, shown, edges)
