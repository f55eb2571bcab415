"""Affine maps between faces, from three landmarks each."""

import torch
from torch import Tensor

CANONICAL_FACE = ((0.36, 0.42), (0.64, 0.42), (0.50, 0.57))
"""Left eye, right eye and nose of the canonical crop, in units of its side."""


def landmarks_of(motion: Tensor, known: Tensor) -> Tensor:
    """motion [B, ..., M], known [B] -> [B, ..., 3, 2] eyes and nose; the canonical face where unknown."""
    points = motion[..., :6].unflatten(-1, (3, 2))
    canonical = points.new_tensor(CANONICAL_FACE).expand_as(points)
    return torch.where(known.reshape(-1, *(1,) * (points.ndim - 1)), points, canonical)


def affine_between(source: Tensor, target: Tensor) -> Tensor:
    """The affine maps that carry three source points onto three target points: [N, 3, 2] twice -> [N, 2, 3].

    Solved by Cramer's rule rather than a solver, so that it exports and batches cheaply. Points on one
    line have no such map; their determinant is kept away from zero, so the result stays finite.
    """
    a, b, c = source.float().unbind(1)
    ab, ac = b - a, c - a
    det = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    det = torch.where(det.abs() < 1e-4, torch.full_like(det, 1e-4), det)
    inverse = torch.stack([ac[:, 1], -ac[:, 0], -ab[:, 1], ab[:, 0]], -1).unflatten(-1, (2, 2)) / det[:, None, None]
    ta, tb, tc = target.float().unbind(1)
    linear = torch.stack([tb - ta, tc - ta], -1) @ inverse
    return torch.cat([linear, (ta - (linear @ a[..., None]).squeeze(-1))[..., None]], -1)


def pixel_grid(size: int, device=None) -> Tensor:
    """[size, size, 3] homogeneous centres of pixels in units of the side."""
    axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1)
