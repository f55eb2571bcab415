"""Augmentation of training inputs: generator-like artefacts on mouths, other voices, displaced faces."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import MELS

CARRY = (0.1, 0.08, 0.05)
"""Std of a rotation in radians, of the logarithm of a scale, and of a shift in units of the side: about as far as a
head moves from its reference. Our choice."""


def similarities(count: int, share: float, device: torch.device | str) -> Tensor:
    """[count, 2, 3] maps of positions in units of the side: random rotation, scale and shift about the picture's centre
    with probability ``share``, else the identity."""
    draws = devices.randn(count, 4, device=device) * (devices.rand(count, 1, device=device) < share)
    (turn, size), shift = (draws[:, :2] * draws.new_tensor(CARRY[:2])).unbind(1), draws[:, 2:] * CARRY[2]
    cos, sin = size.exp() * turn.cos(), size.exp() * turn.sin()
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return torch.cat([linear, (0.5 - 0.5 * linear.sum(-1) + shift)[..., None]], -1)


def worn(mouths: Tensor) -> Tensor:
    """Mouths [B, T, 3, h, w] with artefacts of a generator: changed colours and contrast, blur, noise."""
    draw = lambda *shape: devices.randn(len(mouths), *shape, device=mouths.device)  # noqa: E731
    blurred = F.avg_pool2d(mouths.flatten(0, 1), 5, stride=1, padding=2, count_include_pad=False).view_as(mouths)
    mouths = torch.lerp(mouths, blurred, draw(1, 1, 1, 1).abs().clamp(max=1))
    mouths = mouths * (1 + 0.2 * draw(1, 1, 1, 1)) + 0.1 * draw(1, 3, 1, 1)
    return mouths + 0.1 * draw(1, 1, 1, 1) * draw(*mouths.shape[1:])


def other_voices(mel: Tensor) -> Tensor:
    """Log-mel [B, L, MELS] with random gain, spectral tilt, shifted formants, noise, and a masked band."""
    b = len(mel)
    axis = torch.linspace(-1, 1, MELS, device=mel.device)
    draw = lambda scale: scale * devices.randn(b, 1, 1, device=mel.device)  # noqa: E731
    mel = mel + draw(0.3) + draw(0.2) * axis
    stretch = 1 + 0.08 * devices.randn(b, device=mel.device).clamp(-2, 2)
    places = ((axis + 1)[None] * stretch[:, None] - 1)[:, None].expand(-1, mel.shape[1], -1)
    rows = torch.linspace(-1, 1, mel.shape[1], device=mel.device)[None, :, None].expand_as(places)
    mel = F.grid_sample(
        mel[:, None], torch.stack([places, rows], -1), padding_mode="border", align_corners=True
    ).squeeze(1)
    mel = mel + draw(0.15).abs() * devices.randn(*mel.shape, device=mel.device)
    start = (devices.rand(b, 1, 1, device=mel.device) * (MELS - 8)).long()
    bands = torch.arange(MELS, device=mel.device)
    masked = (bands >= start) & (bands < start + 8)
    return torch.where(masked, mel.mean((1, 2), keepdim=True), mel)  # a level of the recording's own
