"""Control rows: videos whose faults are known. What a metric says of them tells whether it can be believed."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from tsd.clip import to_frames, to_uint8
from tsd.evaluation.clips.chain import Chain, Subject
from tsd.evaluation.clips.instruments import Row, compare, look

SHIFT = 3
"""Frames that ``shifted`` comes too late. This and the other strengths of faults are our choice."""

BLUR = 1 / 32
"""Sigma of ``blurred`` in units of the side."""

NOISE, DIMMING = 0.1, 0.04
"""Std of ``noisy``, of every value and of whole frames, in [-1, 1]."""


def blur(video: Tensor) -> Tensor:
    """[T, 3, R, R] with a Gaussian of BLUR."""
    sigma = BLUR * video.shape[-1]
    return to_frames(np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in to_uint8(video)]))


def faults(subject: Subject, whole: bool = True) -> Iterator[tuple[str, Tensor]]:
    """The control videos [T, 3, R, R] by name, one at a time: real, reconstructed, SHIFT frames too late, the
    reference repeated, blurred, noisy and flickering, another identity's real video, and fading: real at first, in the
    end another, blurred person. Only the first two unless ``whole``."""
    real = subject.truth.frames
    yield "real", real
    yield "recon", subject.recon
    if not whole:
        return
    yield "shifted", real[(torch.arange(len(real)) - SHIFT).clamp_min(0)]
    yield "frozen", subject.appearance.picture.expand_as(real)
    blurred = blur(real)
    yield "blurred", blurred
    generator = torch.Generator().manual_seed(subject.own_seed)
    dimming = DIMMING * torch.randn(len(real), 1, 1, 1, generator=generator)
    yield "noisy", (real + NOISE * torch.randn(real.shape, generator=generator) + dimming).clamp(-1, 1)
    if subject.other is not None:
        yield "swapped", subject.other.frames
        share = torch.linspace(0, 1, len(real))[:, None, None, None]
        yield "fading", (1 - share) * real + share * blur(subject.other.frames)


@torch.inference_mode()
def controls(
    chain: Chain, subject: Subject, other_speech: np.ndarray | None = None, whole: bool = True
) -> dict[str, Row]:
    """A row for each of ``faults``, and for ``other_speech``: the chain's own frames uint8 [T, R, R, 3] saying what
    another identity says."""
    instruments, rows = chain.instruments, {}
    for name, video in faults(subject, whole):
        rows[name] = look(instruments, video, subject.truth)
        rows[name] |= compare(instruments, video, subject.recon, subject.truth)
    del rows["recon"]["psnr_db"]  # with itself: infinite
    if other_speech is not None:
        rows["other_speech"] = look(instruments, to_frames(other_speech), subject.truth)
    return rows
