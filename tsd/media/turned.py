"""Pictures that lie on their side or on their head: a camera notes how it was held, and editors and chats drop the
note."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tsd.media.faces import Landmarks, check_picture, detect_faces, the_face

CERTAIN = 0.9995
"""Probability of an upright face from which the picture is not looked at in other positions (our choice: photographs of
upright faces in good light reach it, in the other positions they do not; drawn and covered faces may stay below)."""

LEANS_MOST = np.radians(45)
"""From the upright: a face that leans further is nearer to another position."""


def find_upright_face(image: np.ndarray, path: str | Path = "picture") -> tuple[np.ndarray, Landmarks, int]:
    """The picture uint8 [H, W, 3] turned so that its face is upright, the one face in it, and by how many quarter
    turns (anticlockwise) it was turned: 0, 1, 2 or 3.

    Of the four positions the one counts in which the detector is surest of an upright face. Raises ValueError as
    ``faces.find_face``.
    """
    check_picture(image, path)
    looks = [detect_faces(image)]
    if certainty(looks[0]) < CERTAIN:
        with ThreadPoolExecutor(3, "tsd-look") as side_by_side:
            looks += side_by_side.map(lambda quarters: detect_faces(turned(image, quarters)), (1, 2, 3))
    quarters = max(range(len(looks)), key=lambda number: certainty(looks[number]))
    return turned(image, quarters), the_face(looks[quarters], path), quarters


def certainty(faces: list[Landmarks]) -> float:
    """Probability of the largest of ``detect_faces``; 0 where there is none, or one that leans to the side."""
    if not faces:
        return 0.0
    left, right, _, *corners = faces[0].points.astype(np.float64)
    across, down = right - left, np.mean(corners, 0) - (left + right) / 2
    leans = max(abs(np.arctan2(across[1], across[0])), abs(np.arctan2(down[0], down[1])))
    return faces[0].probability if leans <= LEANS_MOST else 0.0


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
    """[H, W, 3] turned anticlockwise by so many quarter turns."""
    return np.ascontiguousarray(np.rot90(image, quarters))
