"""Lip sync: offset, distance and confidence by a sync expert (Chung & Zisserman 2016)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsd.clip import MELS, MELS_PER_FRAME

MAX_SHIFT = 15
"""Frames to either side (0.6 s), as in SyncNet's evaluation."""


class SyncScores(NamedTuple):
    """One number each, or [B] of a batch."""

    offset: Tensor
    """Frames, float: positive where the picture is late (the sound early), as in SyncNet's public code."""
    distance: Tensor
    """In [0, 2]: mean distance at that offset, see ``shift_distances``. Low is in step."""
    confidence: Tensor
    """Median over shifts of the mean distance, minus its minimum; 0 where no shift is better than another."""


def shift_distances(seen: Tensor, heard: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Unit vectors of the moments [B, P, D] -> [B, 2 * max_shift + 1] mean distances in [0, 2].

    Entry k + max_shift compares the picture of moment i + k with the sound of moment i, over all i where both
    exist. Large shifts lose sounds at one end of the clip, often silence, which is near to any closed mouth. So each
    sound's distance is taken relative to its mean over shifts, and the mean over all sounds is added again. A frozen
    picture then has the same distance at all shifts, and entry max_shift is the plain mean. (SyncNet's code pads with
    zeros instead.) P must be more than max_shift.
    """
    cosine = torch.einsum("bpd,bsd->bps", seen.float(), heard.float())
    distance = (2 - 2 * cosine).clamp_min(0).sqrt()
    moment = torch.arange(seen.shape[1], device=seen.device)
    compared = (moment[:, None] - moment).abs() <= max_shift
    usual = (distance * compared).sum(1) / compared.sum(0)
    relative = distance - usual[:, None]
    shifts = range(-max_shift, max_shift + 1)
    return torch.stack([relative.diagonal(-k, 1, 2).mean(1) for k in shifts], 1) + usual.mean(1, keepdim=True)


@torch.no_grad()
def sync_distances(net: nn.Module, frames: Tensor, mel: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Whole clips, frames [B, T, 3, H, W] in [-1, 1] and mel [B, T * MELS_PER_FRAME, MELS] -> ``shift_distances``.

    ``net`` gives unit vectors of moments by ``see(frames)`` and ``hear(mel)`` and says in ``field`` how many
    frames a moment has (``tsd.nets.sync``). ValueError for clips of fewer than field + max_shift frames.
    """
    if frames.ndim != 5 or mel.shape != (len(frames), frames.shape[1] * MELS_PER_FRAME, MELS):
        raise ValueError(
            f"frames must be [B, T, 3, H, W] and mel [B, T * {MELS_PER_FRAME}, {MELS}] of the same time, "
            f"got {list(frames.shape)} and {list(mel.shape)}"
        )
    if (needed := net.field + max_shift) > frames.shape[1]:
        raise ValueError(
            f"sync over shifts up to {max_shift} needs clips of {needed} frames or more, got {frames.shape[1]}: "
            f"leave the clip out or lower max_shift"
        )
    return shift_distances(net.see(frames), net.hear(mel), max_shift)


def summarise_shifts(distances: Tensor) -> SyncScores:
    """Mean distances of shifts -S..S [..., 2 * S + 1] -> scores [...]."""
    distance, nearest = distances.min(-1)
    offset = (nearest - distances.shape[-1] // 2).float()
    return SyncScores(offset, distance, distances.median(-1).values - distance)


def sync_scores(net: nn.Module, frames: Tensor, mel: Tensor, max_shift: int = MAX_SHIFT) -> SyncScores:
    """Scores of one clip, frames [T, 3, H, W] in [-1, 1] and mel [T * MELS_PER_FRAME, MELS].

    ``offset`` is positive where the picture is late: frames delayed by 3 give +3. See ``sync_distances``.
    """
    return SyncScores(
        *(score[0] for score in summarise_shifts(sync_distances(net, frames[None], mel[None], max_shift)))
    )
