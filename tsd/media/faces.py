"""A face in a picture: found, checked, and cut out in the framing that every model here is trained on."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tsd.media import face_finder

EYES_AT = (0.5, 0.42)
"""Where the point between the eyes lies in a framed picture, in units of its side."""

EYES_TO_MOUTH = 0.30
"""Distance from there to the middle of the mouth, in units of the side; the embedded corpus is drawn so."""

MAX_ROLL = np.radians(12)
"""A head that leans further is turned back to this much: trained faces lean no further (our choice)."""

SMALLEST = 48
"""Pixels across the smallest face worth enlarging."""

SURE, RIVAL = 0.9, 0.5
"""Probability of a face; size of a second face, over the largest, from which a picture shows two people."""


BLACK, DARK = 8, 80
"""Levels that 99 of 100 values of a picture stay below: of one that shows nothing, and of one that is looked at once
more, brightened, where the detector sees nothing (our choice)."""


@dataclass(frozen=True)
class Landmarks:
    """One face in a picture of H x W pixels."""

    points: np.ndarray
    """float32 [5, 2] x, y in pixels: eye on the left of the picture, eye on the right, nose, mouth corners."""
    box: np.ndarray
    """float32 [4] x0 y0 x1 y1 in pixels."""
    probability: float
    redness: float = np.inf
    """Of the mouth (``suitability.redness``), -inf where no lips are seen; looked at in videos that are dubbed."""


def detect_faces(image: np.ndarray) -> list[Landmarks]:
    """All faces in a uint8 [H, W, 3] picture (MTCNN, Zhang et al. 2016), largest first.

    Looks at the picture with its short side brought to 320 pixels at least; where nothing is seen, once more
    at 100: a large face with few details, such as a drawn one, is only recognised when small. A dark picture in which
    nothing is seen is looked at brightened.
    """
    short, long = min(image.shape[:2]), max(image.shape[:2])
    first = min(4, 320 / short) if short < 320 else min(1, 1024 / long)
    found = _detect(image, first) or _detect(image, min(1, 100 / short))
    top = 0 if found else float(np.quantile(image, 0.99))
    return _detect(brightened(image, top), first) if BLACK < top < DARK else found


def brightened(image: np.ndarray, top: float) -> np.ndarray:
    """uint8 with the level ``top`` brought to 240."""
    return np.clip(image * np.float32(240 / top), 0, 255).astype(np.uint8)


def _detect(image: np.ndarray, scale: float) -> list[Landmarks]:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = face_finder.find(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how))
    found = [
        Landmarks((points / scale).astype(np.float32), (box / scale).astype(np.float32), float(sure))
        for box, sure, points in zip(seen.boxes, seen.probabilities, seen.points, strict=True)
        if sure >= SURE
    ]
    return sorted(found, key=_size, reverse=True)


def _size(face: Landmarks) -> float:
    x0, y0, x1, y1 = face.box
    return float(max(x1 - x0, y1 - y0))


def find_face(image: np.ndarray, path: str | Path = "picture") -> Landmarks:
    """The one face of a uint8 [H, W, 3] picture; ``path`` names it in errors.

    Small faces in the background do not count. Raises ValueError for no face, for two of comparable
    size, and for one smaller than 48 pixels.
    """
    check_picture(image, path)
    return the_face(detect_faces(image), path)


def check_picture(image: np.ndarray, path: str | Path) -> None:
    """ValueError for anything but uint8 [H, W, 3]."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{path}: must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")


def the_face(faces: list[Landmarks], path: str | Path = "picture") -> Landmarks:
    """The one face of ``detect_faces``; raises as ``find_face``."""
    if not faces:
        raise ValueError(f"{path}: no face found; give a picture of one person looking at the camera")
    if len(rivals := [f for f in faces if _size(f) > RIVAL * _size(faces[0])]) > 1:
        raise ValueError(f"{path}: shows {len(rivals)} faces; cut out the one that shall speak")
    if _size(faces[0]) < SMALLEST:
        raise ValueError(
            f"{path}: the face is only {_size(faces[0]):.0f} pixels across; give one where it has {SMALLEST}"
        )
    return faces[0]


def lean(points: np.ndarray) -> float:
    """[5, 2] -> radians in 0..pi by which a face leans to either side: the larger one of its eyes' and its mouth's."""
    left, right, _, *corners = points.astype(np.float64)
    across, down = right - left, np.mean(corners, 0) - (left + right) / 2
    return float(max(abs(np.arctan2(across[1], across[0])), abs(np.arctan2(down[0], down[1]))))


def crop_face(
    image: np.ndarray, face: Landmarks, size: int, eyes_at: tuple = EYES_AT, eyes_to_mouth: float = EYES_TO_MOUTH
) -> tuple[np.ndarray, np.ndarray]:
    """The face as a square uint8 [size, size, 3] in canonical framing, and its motion float32 [7] (signals.MOTION).

    The eyes' midpoint comes to ``eyes_at``, the mouth's ``eyes_to_mouth`` sides away; a head that leans more
    than MAX_ROLL is turned back. Beyond the picture's edges its border is repeated.
    """
    to_unit = framing(face.points, eyes_at, eyes_to_mouth)
    points = face.points @ to_unit[:, :2].T + to_unit[:, 2]
    return cut_out(image, to_unit, size), landmarks_to_motion(points)


def framing(points: np.ndarray, eyes_at: tuple = EYES_AT, eyes_to_mouth: float = EYES_TO_MOUTH) -> np.ndarray:
    """[5, 2] pixels -> float64 [2, 3], the affine map from pixels to units of the side of the framed picture."""
    left, right, _, mouth_left, mouth_right = points.astype(np.float64)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    scale = eyes_to_mouth / max(np.linalg.norm(mouth - eyes), 1e-6)
    lean = np.arctan2(right[1] - left[1], right[0] - left[0])
    turn = np.clip(lean, -MAX_ROLL, MAX_ROLL) - lean
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    to_unit = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    to_unit[:, 2] = np.array(eyes_at) - to_unit[:, :2] @ eyes
    return to_unit


def cut_out(image: np.ndarray, to_unit: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [size, size, 3]: what ``to_unit`` [2, 3] maps to the unit square; borders are repeated."""
    scale = np.sqrt(abs(np.linalg.det(to_unit[:, :2])))
    fine = size * max(1, int(np.ceil(1 / (scale * size) - 1e-9)))  # at full detail first: warping alone would alias
    picture = cv2.warpAffine(
        image, to_pixels(to_unit, fine), (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return picture if fine == size else cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def to_pixels(to_unit: np.ndarray, size: int) -> np.ndarray:
    """Affine map of picture coordinates to units of the side -> the same to pixels of a picture of that ``size``,
    between pixel centres, as OpenCV wants it."""
    matrix = to_unit * size
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return matrix


def landmarks_to_motion(points: np.ndarray, eyes_open: np.ndarray | float = 1.0) -> np.ndarray:
    """[..., 5, 2] in units of the picture's side -> motion float32 [..., 7] (signals.MOTION).

    MTCNN does not see the lids: ``eyes_open`` ([...] or a number, see ``media.lids``) is taken to be 1 unless given.
    """
    flat = np.asarray(points)[..., :3, :].reshape(*np.shape(points)[:-2], 6)
    lids = np.broadcast_to(eyes_open, flat.shape[:-1])[..., None]
    return np.concatenate([flat, lids], -1).astype(np.float32)
