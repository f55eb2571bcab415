"""Loss terms on decoded pictures: a function each, called with some decoded frames and the frozen nets."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsd import losses
from tsd.clip import Clip
from tsd.modules.base import eyes_region, mouth_region

MOUTH_WEIGHT, EYES_WEIGHT = 8.0, 4.0
"""In the term ``picture`` a pixel of the mouth, or of the eyes, counts so many times more than others: a mouth is a
thirtieth of a picture, and eyes are shut in one frame of twenty. Our choice."""


@dataclass
class Decoded:
    """Decoded estimates of the first n clips of a batch: a window of neighbouring frames with the pair that most terms
    compare among them."""

    clip: Clip
    """The whole batch."""
    pair: tuple[Tensor, Tensor]
    """Index into [B, T, ...] of the two frames of the pair: clips [n, 1] and frames [n, 2]."""
    first: Tensor
    """[n] number of the window's first frame."""
    window: Tensor
    """[n, L, 3, H, W] in [-1, 1]."""
    recon: Tensor | None = None
    """[n, 2, 3, H, W]: the pair decoded from the clean latents, for the term ``denoised``."""

    @property
    def frames(self) -> Tensor:
        """[n, 2, 3, H, W]: the pair."""
        rows, numbers = self.pair
        return self.window[rows, numbers - self.first[:, None]]

    @property
    def matched(self) -> Tensor:
        """[n, 1, 1, 1, 1]: 1 where the reference shows the clip's person, else 0."""
        return (~self.clip.mismatch[: len(self.window)]).float()[:, None, None, None, None]


Nets = dict[str, nn.Module]


def moment(clip: Clip, later: Tensor, expert: nn.Module) -> tuple[Tensor, int]:
    """The moment that the sync expert looks at: its first frame [n] and its number of frames. The frames ``later`` - 1
    and ``later`` [n] are among them."""
    field, frames = expert.field, clip.frames.shape[1]
    if clip.mel is None:
        raise ValueError("loss.sync is above 0 but the data has no sound: set data.mel=true")
    if frames < field:
        raise ValueError(f"loss.sync needs windows of {field} frames or more: data.window is {frames}")
    return (later - field // 2).clamp(0, frames - field), field


def sync(decoded: Decoded, nets: Nets) -> Tensor:
    """``losses.sync`` of one moment per clip among all sounds of the batch. Clips with a mismatched reference count
    like others: the term asks what is said, not who says it."""
    expert = nets["sync_loss"]
    with torch.no_grad():
        heard = expert.hear(decoded.clip.mel)
    own = torch.arange(len(decoded.window), device=decoded.first.device) * heard.shape[1] + decoded.first
    return losses.sync(expert.see(decoded.window)[:, 0], heard.flatten(0, 1), own)


def identity(decoded: Decoded, nets: Nets) -> Tensor:
    """Eq. 8: the later frame of the pair against the reference image."""
    embed, frames = nets["identity"], decoded.frames
    with torch.no_grad():
        target = embed(decoded.clip.reference[: len(frames)])
    return losses.identity(embed(frames[:, 1]), target)


def temporal(decoded: Decoded, nets: Nets) -> Tensor:
    """Eq. 9 between the frames of the pair."""
    clip, frames = decoded.clip, decoded.frames
    if clip.flow is None:
        raise ValueError("loss.temporal is above 0 but the data has no flow: set data.flow=true")
    n = len(frames)
    return losses.temporal(frames[:, 1], frames[:, 0], clip.flow[:n], clip.visible[:n])


def denoised(decoded: Decoded, nets: Nets) -> Tensor:
    """``losses.denoised`` against the reconstruction; clips with a mismatched reference do not count."""
    frames = decoded.frames
    return losses.denoised(frames, decoded.recon, decoded.matched.expand_as(frames[:, :, :1]))


def picture(decoded: Decoded, nets: Nets) -> Tensor:
    """``losses.picture`` against the clip's frames, mouth and eyes weighted; clips with a mismatched reference do not
    count."""
    clip, frames = decoded.clip, decoded.frames
    size = frames.shape[-1]
    counts = 1 + EYES_WEIGHT * eyes_region(clip, size)[decoded.pair]
    if clip.mouth_box is not None:
        counts = counts + MOUTH_WEIGHT * mouth_region(clip, size)[decoded.pair]
    return losses.picture(frames, clip.frames[decoded.pair], decoded.matched * counts)


PICTURE_TERMS = {"sync": sync, "identity": identity, "temporal": temporal, "denoised": denoised, "picture": picture}
