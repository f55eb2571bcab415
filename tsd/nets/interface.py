"""What the nets of a talker are given and give back: tensors where PyTorch computes them, arrays where graphs do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # talking by graphs needs no PyTorch
    from torch import Tensor


@dataclass
class Appearance:
    """What the decoder gets of the reference: picture [B, 3, H, W] in [-1, 1], its latent z [B, C, h, w], and, where
    motion is known, maps [B * T, 2, 3] from positions in the frames to positions in the picture (units of the side)."""

    picture: Tensor
    latent: Tensor
    maps: Tensor | None = None

    def along(self, maps: Tensor) -> Appearance:
        """The same reference with the maps of some frames."""
        return Appearance(self.picture, self.latent, maps)


@dataclass
class Condition:
    """The conditioning of Eq. 1, and the motion of the head (our addition, see docs/design/head-motion.md).

    visemes [B, T, W, HEARS[hears]] (``signals.HEARS``); motion [B, T, M]; motion_known [B] bool; reference_latent [B,
    C, h, w]; reference_motion [B, M].
    """

    visemes: Tensor
    motion: Tensor
    motion_known: Tensor
    reference_latent: Tensor
    reference_motion: Tensor


@dataclass
class Reference:
    """Features of the reference image, used by every frame.

    latent [B, C, h, w] and features [B, R, h, w], both to be warped to each frame; ``plain`` [B, F, h, w], the features
    projected but not warped; ``emb`` [B, E], an embedding of the person; landmarks [B, 3, 2]; keys and values of the
    attention.
    """

    latent: Tensor
    features: Tensor
    plain: Tensor
    emb: Tensor
    landmarks: Tensor
    keys: Tensor
    values: Tensor


USED_BY_FRAMES, USED_BY_STEP = ("latent", "features", "plain", "emb", "landmarks"), ("latent", "keys", "values")
"""The fields of ``Reference`` that ``read_frames`` and ``step`` use."""


@dataclass
class FrameFeatures:
    """Features of the frames' conditioning that do not depend on the noise level, used by every step.

    features [B, T, F, h, w]: the reference's features (in place and warped), positions on the face, and the patterns
    of visemes and lids; latent [B, T, C, h, w]: the reference's latent, warped; emb [B, T, E]: visemes, motion and
    person; deep [B, T, D, h', w']: positions at the deepest level.
    """

    features: Tensor
    latent: Tensor
    emb: Tensor
    deep: Tensor
