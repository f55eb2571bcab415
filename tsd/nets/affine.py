"""Maps between faces, from the landmarks of eyes and nose."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd.nets.blocks import per_frame

CANONICAL_FACE = ((0.36, 0.42), (0.64, 0.42), (0.50, 0.57))
"""Left eye, right eye and nose of the canonical crop, in units of its side."""
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def landmarks_of(motion: Tensor, known: Tensor) -> Tensor:
    """motion [B, ..., M], known [B] -> [B, ..., 3, 2] eyes and nose; the canonical face where unknown."""
    points = motion[..., :6].unflatten(-1, (3, 2))
    canonical = points.new_tensor(CANONICAL_FACE).expand_as(points)
    return torch.where(known.reshape(-1, *(1,) * (points.ndim - 1)), points, canonical)


def similarity_between(source: Tensor, target: Tensor) -> Tensor:
    """Similarity transforms (rotation, scale, shift) that take the eyes of one face to another's: landmarks [N, 3, 2]
    twice -> [N, 2, 3].

    The nose is not used. It stands out of the face, so an affine map through all three points would shear cheeks and
    mouth as soon as the head turns (see docs/design/head-motion.md).
    """
    a, b = source[:, :2].float().unbind(1)
    ta, tb = target[:, :2].float().unbind(1)
    (x, y), (tx, ty) = (b - a).unbind(1), (tb - ta).unbind(1)
    size = (x.square() + y.square()).clamp(min=1e-4)
    cos, sin = (x * tx + y * ty) / size, (x * ty - y * tx) / size
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    middle = (linear * ((a + b) / 2)[:, None]).sum(-1)
    return torch.cat([linear, ((ta + tb) / 2 - middle)[..., None]], -1)


def carried(points: Tensor, maps: Tensor) -> Tensor:
    """points [..., 2], transformed by every map of ``maps`` [N, 2, 3] -> [N, ..., 2].

    Elementwise products instead of a matrix product: under autocast a matrix product would run in bfloat16 and be wrong
    by a pixel.
    """
    column = lambda i: maps[..., i].reshape(maps.shape[0], *(1,) * (points.ndim - 1), 2)  # noqa: E731
    return column(0) * points[..., :1] + column(1) * points[..., 1:] + column(2)


def after(maps: Tensor, first: Tensor) -> Tensor:
    """The composition of two maps, ``first`` and then ``maps``: [N, 2, 3] twice -> [N, 2, 3]."""
    linear = maps[..., :1] * first[:, :1] + maps[..., 1:2] * first[:, 1:]
    return torch.cat([linear[..., :2], linear[..., 2:] + maps[..., 2:]], -1)


def frame_to_reference(motion: Tensor, reference_motion: Tensor, known: Tensor) -> Tensor:
    """Maps from every frame's face to the reference's: motion [B, T, M], reference_motion [B, M], known [B] ->
    [B * T, 2, 3], positions in units of the side; the identity where motion is unknown."""
    source = landmarks_of(motion, known).flatten(0, 1)
    target = per_frame(landmarks_of(reference_motion, known), motion.shape[1])
    return similarity_between(source, target)


def to_canonical(landmarks: Tensor) -> Tensor:
    """Maps from each face to the canonical one: landmarks [N, 3, 2] -> [N, 2, 3]."""
    return similarity_between(landmarks, landmarks.new_tensor(CANONICAL_FACE).expand_as(landmarks))


def pixel_grid(size: int, device=None) -> Tensor:
    """[size, size, 2] centres of pixels in units of the side."""
    axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def offsets_along(maps: Tensor, side: int, share: Tensor | None = None, flow: Tensor | None = None) -> Tensor:
    """Displacements [N, side, 2 * side] in units of the side: from each pixel's position to where ``maps`` [N, 2, 3]
    point.

    ``share`` [N, H, 2 W] in 0..1: the fraction of the displacement that is applied at each position, the same for x and
    y; None: all of it. ``flow`` [N, H, 2 W] in units of the side is added. x and y of a position are neighbours in rows
    of 2 W numbers, the layout in which they are sampled: as two channels, OpenVINO would compute two numbers at a time.
    """
    axis = (torch.arange(side, device=maps.device, dtype=torch.float32) + 0.5) / side
    by_column, by_row, shift = (x.repeat(1, side)[:, None] for x in (maps - maps.new_tensor(IDENTITY)).unbind(2))
    way = by_column * axis.repeat_interleave(2) + shift + by_row * axis[:, None]
    way = way if share is None else way * share
    return way if flow is None else way + flow


def looked_up(pictures: Tensor, offsets: Tensor, part: tuple[int, int, int, int] | None = None) -> Tensor:
    """pictures [N, C, H, W] sampled at each pixel's position plus ``offsets`` [N, H, 2 W]; borders are repeated.
    ``part``: top, bottom, left and right of the pixels that are wanted; None: all."""
    side = pictures.shape[-1]
    top, bottom, left, right = part or (0, side, 0, side)
    positions = (pixel_grid(side, pictures.device).flatten(1) + offsets)[:, top:bottom, 2 * left : 2 * right]
    positions = (positions * 2 - 1).unflatten(2, (right - left, 2)).to(pictures.dtype)
    return F.grid_sample(pictures, positions, padding_mode="border", align_corners=False)


def placed(pictures: Tensor, maps: Tensor) -> Tensor:
    """pictures [N, C, H, W] sampled at the positions that ``maps`` [N, 2, 3] point to; borders are repeated."""
    return looked_up(pictures, offsets_along(maps, pictures.shape[-1]))


def placed_cells(x: Tensor, maps: Tensor) -> Tensor:
    """``placed`` for small feature maps with many channels, x [N, C, h, h] and maps [N, 2, 3].

    Gathers whole cells with all their channels at once: ONNX Runtime's grid sampler handles each channel separately and
    took a fifth of a step. (Exported, torch.lerp would be six operations.)
    """
    n, channels, side = x.shape[:3]
    at = (carried(pixel_grid(side, x.device).flatten(0, 1), maps) * side - 0.5).clamp(0, side - 1)
    first = at.floor().clamp(max=side - 2)
    share, first = at - first, first.long()
    cells = x.float().flatten(2).transpose(1, 2).flatten(0, 1)  # [N * h * h, C]
    corner = torch.arange(n, device=x.device)[:, None] * side**2 + first[..., 1] * side + first[..., 0]

    def row(offset: int) -> Tensor:
        """[N * h * h, C] between the cell ``offset`` after the corner and the one to its right."""
        left, right = (cells.index_select(0, (corner + offset + i).flatten()) for i in (0, 1))
        return left + share[..., 0].reshape(-1, 1) * (right - left)

    upper, lower = row(0), row(side)
    moved = upper + share[..., 1].reshape(-1, 1) * (lower - upper)
    return moved.unflatten(0, (n, side**2)).transpose(1, 2).reshape(n, channels, side, side)
