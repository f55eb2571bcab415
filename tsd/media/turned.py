"""Pictures that lie on their side or on their head: a camera notes how it was held, and editors and chats drop the
note."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tsd.media.faces import Landmarks, check_picture, detect_faces, lean, the_face

CERTAIN = 0.9995
"""Probability of an upright face from which the picture is not looked at in other positions (our choice: photographs of
upright faces in good light reach it, in the other positions they do not; drawn and covered faces may stay below)."""

LEANS_MOST = np.radians(45)
"""From the upright: a face that leans further is nearer to another position."""

LEAST_HIGH = 0.25
"""Distance from eyes to mouth, over the height of the box. Our choice: upright faces of ten photographs have 0.32 to
0.39; what the detector takes for a face in other positions may have less."""


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
    """Probability of the largest of ``detect_faces``; 0 where there is none, or one that leans to the side or whose
    landmarks lie too near to each other to be those of its box."""
    if not faces:
        return 0.0
    points, box = faces[0].points, faces[0].box
    high = np.linalg.norm(points[3:].mean(0) - points[:2].mean(0)) / max(float(box[3] - box[1]), 1e-6)
    return faces[0].probability if lean(points) <= LEANS_MOST and high >= LEAST_HIGH else 0.0


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
    """[H, W, 3] turned anticlockwise by so many quarter turns."""
    return np.ascontiguousarray(np.rot90(image, quarters))
