"""Layers by which a frame uses neighbouring frames and the reference image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.blocks import norm, zero


class TemporalMix(nn.Module):
    """A residual convolution over time: each position sees itself in three neighbouring frames. Starts at zero, so the
    net begins as an image net.

    causal: frames t-2, t-1, t (streaming keeps a memory of two frames); else t-1, t, t+1.
    """

    def __init__(self, channels: int, causal: bool):
        super().__init__()
        self.causal = causal
        self.norm = norm(channels)
        self.mix = zero(nn.Conv2d(3 * channels, channels, 1))

    def forward(self, x: Tensor, frames: int, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B*T, C, h, w] -> the same shape, and the memory [B, 2, C, h, w] the next call continues from."""
        h = self.norm(x).unflatten(0, (-1, frames))
        if self.causal:
            past = torch.zeros_like(h[:, :1]).expand(-1, 2, -1, -1, -1) if memory is None else memory
            h = torch.cat([past, h], 1)
        else:
            edge = torch.zeros_like(h[:, :1])
            h = torch.cat([edge, h, edge], 1)
        three = torch.cat([h[:, i : i + frames] for i in range(3)], 2).flatten(0, 1)
        return x + self.mix(three), h[:, -2:]


class TemporalMean(nn.Module):
    """Means over neighbouring frames: averaging reduces noise that is independent in every frame.

    reaches: number of frames that a mean covers beside the frame itself: before it if ``causal``, else on each side.
    Frames beyond the ends of the clip are left out; an extra channel of every mean says which fraction of its frames
    existed.
    """

    def __init__(self, reaches: list[int], causal: bool):
        super().__init__()
        self.reaches, self.causal = reaches, causal

    def forward(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B, T, C, h, w] -> means [B*T, (C + 1) * reaches, h, w], and the memory [B, longest reach, C + 1, h, w]
        that the next call continues from."""
        b, t, c, h, w = x.shape
        longest = max(self.reaches)
        there = torch.cat([x, torch.ones_like(x[:, :, :1])], 2)
        edge = torch.zeros_like(there[:, :1]).expand(-1, longest, -1, -1, -1)
        kept = torch.cat([edge if memory is None else memory, there], 1)
        padded = kept if self.causal else torch.cat([kept, edge], 1)
        sums = torch.cat([torch.zeros_like(there[:, :1]), padded.cumsum(1)], 1)  # of all frames before each
        means = []
        for reach in self.reaches:
            spare, size = longest - reach, reach + 1 if self.causal else 2 * reach + 1
            total = sums[:, spare + size : spare + size + t] - sums[:, spare : spare + t]
            means += [total[:, :, :c] / total[:, :, c:], total[:, :, c:] / size]
        return torch.cat(means, 2).flatten(0, 1), kept[:, -longest:]


class ReferenceAttention(nn.Module):
    """Cross-attention from positions of the frame to positions of the reference, for what warping cannot move."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, frames: int) -> Tensor:
        """x [B*T, C, h, w]; keys, values [B, heads, positions, C / heads]."""
        n, c, h, w = x.shape
        q = self.query(self.norm(x)).reshape(n // frames, frames, self.heads, c // self.heads, h * w)
        q = q.permute(0, 2, 1, 4, 3).flatten(2, 3)  # [B, heads, T * positions, C / heads]
        y = F.scaled_dot_product_attention(q, keys.to(q.dtype), values.to(q.dtype))
        y = y.unflatten(2, (frames, h * w)).permute(0, 2, 1, 4, 3).reshape(n, c, h, w)
        return x + self.out(y)
