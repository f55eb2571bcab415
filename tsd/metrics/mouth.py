"""Does the mouth say it: correlation of mouth opening, accuracy of visemes read from the picture."""

import torch
from torch import Tensor

from tsd.metrics.statistics import PerClip

CONSTANT = 1e-6
"""A track whose std is below this does not move: one millionth of the picture's side."""


def pearson(measured: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson correlation over time of two tracks [B, T]: r [B] in [-1, 1], and [B] 1.0 where one is constant.

    Frames where either is nan are skipped. A track that does not move has r = 0 (a frozen mouth earns
    nothing) and is marked. Both results are nan where fewer than 2 frames are known.
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


class MouthCorrelation(PerClip):
    """``pearson`` of the measured and the true mouth opening, per clip. ``update(measured [B, T], true [B, T])``.

    The mean of ``mouth_constant`` is the share of clips where either track does not move.
    """

    columns = ("mouth_r", "mouth_constant")
    higher_is_better = True

    def score(self, measured: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        return pearson(measured, true)


class VisemeAccuracy(PerClip):
    """``viseme_accuracy`` on generated mouths, on the real ones, and their ratio (ideal 1).

    ``update(read, read_real, true)``, all [B, T, V]: the reader's own mistakes cancel in the ratio.
    """

    columns = ("viseme_accuracy", "viseme_accuracy_real")
    ratios = {"viseme_ratio": columns}
    higher_is_better = True

    def score(self, read: Tensor, read_real: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        return viseme_accuracy(read, true), viseme_accuracy(read_real, true)
