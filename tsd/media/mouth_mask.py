"""The part of a face that speech changes, as a soft mask that follows the landmarks."""

import numpy as np

LOWER_FACE = (0.9, 0.62, 0.23)
"""Half width and half height of the mask, and how far its middle lies below the mouth, in distances from the eyes to
the mouth: from under the nose to below the chin of a wide open mouth, from cheek to cheek. Our choice."""

ROUNDNESS = 2.5
"""Exponent of the superellipse: 2 is an ellipse, large a box. A jaw is between the two."""

EDGE = 0.25
"""Share of the way from the mask's rim to its middle over which it rises from 0 to 1."""


def mouth_masks(points: np.ndarray, size: int) -> np.ndarray:
    """Landmarks [T, 5, 2] in units of the picture's side -> float32 [T, size, size] in 0..1: 1 over mouth and chin,
    0 elsewhere and at the picture's border."""
    points = points.astype(np.float64)
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    across = points[:, 1] - points[:, 0]
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    down = np.stack([-across[:, 1], across[:, 0]], 1)
    unit = np.maximum(np.linalg.norm(mouth - eyes, axis=1), 1e-6)
    wide, high, below = LOWER_FACE
    axis = (np.arange(size) + 0.5) / size
    offset = np.stack(np.meshgrid(axis, axis), -1)[None] - (mouth + below * unit[:, None] * down)[:, None, None]
    u = np.abs((offset * across[:, None, None]).sum(-1)) / (wide * unit[:, None, None])
    v = np.abs((offset * down[:, None, None]).sum(-1)) / (high * unit[:, None, None])
    inside = 1 - (u**ROUNDNESS + v**ROUNDNESS) ** (1 / ROUNDNESS)
    border = np.minimum(axis, 1 - axis)
    border = np.minimum(border[:, None], border[None]) - 0.5 / size  # 0 at the outermost pixels
    rise = np.clip(np.minimum(inside / EDGE, border / 0.05), 0, 1)
    return (rise * rise * (3 - 2 * rise)).astype(np.float32)
