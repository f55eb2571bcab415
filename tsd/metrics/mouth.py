"""Lips: correlation of mouth opening, and accuracy of visemes read from the picture."""

import torch
from torch import Tensor

CONSTANT = 1e-6
"""A track with a smaller std counts as constant: one millionth of the picture's side."""


def pearson(measured: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson correlation over time of two tracks [B, T]: r [B] in [-1, 1], and [B] 1.0 where one is constant.

    Frames where either is nan are skipped. A constant track has r = 0 and is marked. Both results are nan where fewer
    than 2 frames are known.
    """
    if measured.ndim != 2 or measured.shape != true.shape:
        raise ValueError(f"tracks must both be [B, T], got {list(measured.shape)} and {list(true.shape)}")
    known = measured.isfinite() & true.isfinite()
    count = known.sum(1)
    x, y = (track.float().masked_fill(~known, 0) for track in (measured, true))
    x, y = ((track - (track.sum(1) / count)[:, None]) * known for track in (x, y))
    xx, yy, xy = (x * x).sum(1) / count, (y * y).sum(1) / count, (x * y).sum(1) / count
    constant = (xx.sqrt() < CONSTANT) | (yy.sqrt() < CONSTANT)
    r = torch.where(constant, 0, xy / (xx * yy).sqrt()).clamp(-1, 1)
    unknown = count < 2
    return r.masked_fill(unknown, torch.nan), constant.float().masked_fill(unknown, torch.nan)


def viseme_accuracy(read: Tensor, true: Tensor) -> Tensor:
    """[B] in [0, 1]: share of frames whose most probable viseme, read from the mouth, is the true one.

    ``read`` [B, T, V] logits or probabilities, ``true`` [B, T, V] as in ``Clip.viseme_labels``; frames
    whose truth is all-zero (unknown) do not count, and a clip without any other is nan.
    """
    if read.ndim != 3 or read.shape != true.shape:
        raise ValueError(f"visemes must both be [B, T, V], got {list(read.shape)} and {list(true.shape)}")
    known = true.sum(-1) > 0
    right = (read.argmax(-1) == true.argmax(-1)) & known
    return right.sum(1) / known.sum(1)
