"""Convolution blocks that several nets share."""

import torch.nn.functional as F
from torch import Tensor, nn


def zero(module: nn.Module) -> nn.Module:
    """The module with all parameters zero: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with groups of 16 channels (one group where 16 does not divide ``channels``). Its statistics never
    depend on the batch.

    Vector registers hold 16 numbers: with groups of 8 or 12 channels the layer is up to ten times slower on a CPU.
    """
    return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)


def per_frame(x: Tensor, frames: int) -> Tensor:
    """[B, ...] -> [B * frames, ...], each entry repeated ``frames`` times; for B = 1 without a copy.

    Not ``repeat_interleave``, which the ONNX exporter of torch 2.11 gets wrong for B > 1.
    """
    return x[:, None].expand(-1, frames, *x.shape[1:]).flatten(0, 1)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm x))))), modulated by an embedding when ``emb_channels`` is given.

    x [N, in, h, w], emb [N, emb_channels] -> [N, out, h, w].
    """

    def __init__(self, in_channels: int, out_channels: int, emb_channels: int = 0):
        super().__init__()
        self.norm1, self.conv1 = norm(in_channels), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2, self.conv2 = norm(out_channels), zero(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        self.modulation = zero(nn.Linear(emb_channels, 2 * out_channels)) if emb_channels else None

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulation is not None:
            scale, shift = self.modulation(emb)[:, :, None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))
