"""How far a mouth is open and how wide it is, by MediaPipe's Face Mesh with the model from a local file (Apache 2.0).

For photographs. Drawn mouths are measured by the regressor of the ``mouth`` stage. Nothing is downloaded.
"""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from threading import local

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tsd.clip import to_uint8

SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
"""Hash of the one accepted file. So figures are comparable, and the reader never gets a file that could crash it."""

FORMAT = "tflite"

SIDE = 192
"""Side in pixels of its input."""

POINTS = 468
UPPER, LOWER = 13, 14
"""Indices of the points in the middle of the inner edges of upper and lower lip."""
CORNERS = 61, 291
"""The corners of the mouth."""
EYES = (33, 133), (362, 263)
"""Both corners of each eye."""

AROUND = 1.5
"""Side of the square around a face, in units of the face's larger side, as MediaPipe crops when it tracks a face."""


REMEDY = (
    "`.venv/bin/pip install --no-deps mediapipe==0.10.21` installs it (Python 3.9 to 3.12), or take "
    "face_landmark.tflite out of the wheel that `pip download --no-deps --only-binary :all: --python-version 3.11 "
    "mediapipe==0.10.21` fetches"
)


def installed() -> Path | None:
    """The model inside an installed mediapipe, of which nothing is imported; None where there is none."""
    spec = find_spec("mediapipe")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "modules" / "face_landmark" / "face_landmark.tflite"
    return path if path.is_file() else None


def installed_or_raise() -> Path:
    """As ``installed``. FileNotFoundError with the remedy where there is none."""
    if (path := installed()) is None:
        raise FileNotFoundError(f"no mediapipe is installed, whose Face Mesh is asked for: {REMEDY}")
    return path


class FaceMesh(nn.Module):
    """Face [N, 3, H, W] in [-1, 1] -> [N] mouth opening, in units of the picture's side (Kartynnik et al. 2019).

    The distance between the inner edges of the lips. The net runs twice: on the whole picture, then on the square
    around the face that it found. It gives points for any picture, so one without a face has an opening, too. Frozen;
    any number of threads may call it.

    ``path``: ``face_landmark.tflite`` as the wheel of mediapipe 0.10.21 holds it. FileNotFoundError without such a
    file, ValueError for any other.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        path, self.own = Path(path), local()
        if not path.is_file():
            raise FileNotFoundError(f"no Face Mesh at {path}: {REMEDY}")
        self.model = path.read_bytes()
        if hashlib.sha256(self.model).hexdigest() != SHA256:
            raise ValueError(f"{path} is another file than the Face Mesh of mediapipe 0.10.21: {REMEDY}")

    def points(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [SIDE, SIDE, 3] -> [POINTS, 2] x and y in units of the side."""
        if not hasattr(self.own, "net"):  # one net serves one call at a time
            self.own.net = cv2.dnn.readNet(FORMAT, np.frombuffer(self.model, np.uint8))
        self.own.net.setInput(cv2.dnn.blobFromImage(picture, 1 / 255))
        return self.own.net.forward().reshape(POINTS, 3)[:, :2] / SIDE

    def face(self, picture: np.ndarray, left: float, top: float, side: float) -> np.ndarray:
        """The points [POINTS, 2] in pixels of ``picture``, looked for in one square of it."""
        scale = SIDE / side
        cut = np.float32([[scale, 0, -scale * left], [0, scale, -scale * top]])
        seen = cv2.warpAffine(picture, cut, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return self.points(seen) * side + np.array([left, top])

    def look(self, picture: np.ndarray) -> np.ndarray:
        """The points [POINTS, 2] of the one face in uint8 [H, W, 3], in pixels."""
        height, width = picture.shape[:2]
        side = max(height, width)
        points = self.face(picture, (width - side) / 2, (height - side) / 2, side)
        low, high = points.min(0), points.max(0)
        side = AROUND * float((high - low).max())
        left, top = (low + high - side) / 2
        return self.face(picture, left, top, side)

    def opening(self, picture: np.ndarray) -> float:
        """The gap between the lips of uint8 [H, W, 3], in units of H."""
        points = self.look(picture)
        return float(np.linalg.norm(points[UPPER] - points[LOWER])) / len(picture)

    def lips(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] -> float64 [N, 2]: the gap between the inner edges of the lips and the distance of the
        corners of the mouth, both in units of the distance of the eyes' middles."""
        return np.array([gap_and_width(self.look(picture)) for picture in pictures])

    def forward(self, frames: Tensor) -> Tensor:
        return torch.tensor([self.opening(picture) for picture in to_uint8(frames)], device=frames.device)


def gap_and_width(points: np.ndarray) -> tuple[float, float]:
    """Points [POINTS, 2] -> lip gap and mouth width in units of the distance of the eyes."""
    left, right = (points[list(corners)].mean(0) for corners in EYES)
    eyes = max(float(np.linalg.norm(right - left)), 1e-6)
    gap = np.linalg.norm(points[UPPER] - points[LOWER])
    width = np.linalg.norm(points[CORNERS[0]] - points[CORNERS[1]])
    return float(gap / eyes), float(width / eyes)
