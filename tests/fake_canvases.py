"""Made-up photographs with a face somewhere, and parts of frames to compose on them."""

import numpy as np
from fakes import SIDE

from tsd.nets.affine import CANONICAL_FACE

POINTS = np.float32([*CANONICAL_FACE, (0.42, 0.72), (0.58, 0.72)])


def photograph(height: int = 230, width: int = 201, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), np.uint8)


def in_pixels(side: float = 120, at: tuple = (40, 50), roll: float = 0.0) -> np.ndarray:
    """Landmarks of a face whose square has this side and upper left corner, turned around its middle."""
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (((POINTS - 0.5) @ turn.T + 0.5) * side + at).astype(np.float32)


def parts(frames: int = 2, side: int = SIDE, size: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    change = rng.uniform(-size, size, (frames, side, side, 3)).astype(np.float32)
    return change, rng.uniform(-0.05, 0.05, (frames, side, side, 2)).astype(np.float32)
