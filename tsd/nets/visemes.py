"""Speech to visemes: log-mel in, probabilities over mouth shapes at 25 fps out, with bounded look-ahead."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.clip import FPS, MEL_AUDIBLE, MELS, MELS_PER_FRAME, VISEMES
from tsd.nets.blocks import zero

LAGS = (2, 8, 24)
"""Columns (20, 80 and 240 ms) over which a level-free net hears loudness change. Our choice."""


def level_free(mel: Tensor) -> Tensor:
    """Log-mel [N, MELS, L] -> [N, MELS + len(LAGS), L] that is the same for every level of the sound.

    A gain adds one constant to all of a log-mel. What stays is the shape of each column's spectrum (its bands less
    their mean) and how the mean has changed since a few columns ago.
    """
    loudness = mel.mean(1, keepdim=True)
    before = [F.pad(loudness, (lag, 0), mode="replicate")[:, :, : mel.shape[2]] for lag in LAGS]
    return torch.cat([mel - loudness, *(loudness - earlier for earlier in before)], 1)


ADDED = ("lips",)
"""Arguments of optional parts that can be added to a trained net before it trains further."""

GROWN = ("blocks",)
"""Arguments that may be larger than those of the trained net that training goes on from."""


class CausalConv(nn.Module):
    """Causal 1-D convolution over [N, C, L]; with a stride it keeps the last column of each group."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.left = (kernel - 1) * dilation - (stride - 1)
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.left, 0)))


class VisemeNet(nn.Module):
    """A causal convolution stack whose output for frame t is read ``look_ahead`` frames later.

    So its lookahead is exactly ``look_ahead`` frames (at most 4: 160 ms).

    Args:
        channels: of the blocks, at 25 columns a second.
        blocks: residual ones, which begin as nothing: a trained net that is given more of them (``GROWN``) says at first
            what it said before.
        stem: channels at 100 and at 50 columns a second; empty: as the blocks.
        dilations: of the blocks' convolutions in turn.
        any_level: hear ``level_free`` sound, so that loud and quiet recordings give the same; else the log-mel as it
            is, from ``MEL_AUDIBLE`` on.
        lips: also say how far the lips are open (``clip.openness``), behind the visemes.
    """

    def __init__(
        self,
        channels: int = 128,
        blocks: int = 4,
        look_ahead: int = 3,
        dropout: float = 0.1,
        stem: Sequence[int] = (),
        dilations: Sequence[int] = (1, 2),
        any_level: bool = False,
        lips: bool = False,
    ):
        super().__init__()
        if not 0 <= look_ahead <= 4:
            raise ValueError(f"model.visemes.look_ahead must be 0..4 frames (160 ms), got {look_ahead}")
        if len(stem) not in (0, 2):
            raise ValueError(f"model.visemes.stem must be two numbers of channels or [], got {list(stem)}")
        self.look_ahead, self.any_level = look_ahead, bool(any_level)
        quick, half = stem or (channels, channels)
        self.stem = nn.Sequential(
            CausalConv(MELS + len(LAGS) * self.any_level, quick, 5),
            nn.GELU(),
            CausalConv(quick, half, 4, stride=2),
            nn.GELU(),
            CausalConv(half, channels, 4, stride=MELS_PER_FRAME // 2),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GELU(),
                CausalConv(channels, channels, 3, dilation=dilations[i % len(dilations)]),
                nn.GELU(),
                nn.Dropout(dropout),
                zero(nn.Conv1d(channels, channels, 1)),
            )
            for i in range(blocks)
        )
        self.to_visemes = nn.Conv1d(channels, len(VISEMES), 1)
        self.to_lips = zero(nn.Conv1d(channels, 1, 1)) if lips else None

    @property
    def look_ahead_ms(self) -> float:
        return self.look_ahead * 1000 / FPS

    @property
    def past(self) -> int:
        """Frames before its own that an output depends on; a stream has to keep them."""
        columns, jump = max(LAGS) if self.any_level else 0, 1
        for conv in (layer.conv for layer in self.modules() if isinstance(layer, CausalConv)):
            columns += (conv.kernel_size[0] - 1) * conv.dilation[0] * jump
            jump *= conv.stride[0]
        return max(0, -(-(columns + 1 - jump) // jump) - self.look_ahead)

    def forward(self, mel: Tensor) -> Tensor:
        """mel [B, T * MELS_PER_FRAME, MELS] -> logits [B, T, V], with ``lips`` [B, T, V + 1]. Beyond the end the last
        column is repeated."""
        hidden = self.hidden(mel)
        heads = [self.to_visemes] + [self.to_lips] * (self.to_lips is not None)
        return torch.cat([head(hidden) for head in heads], 1).transpose(1, 2)

    def hidden(self, mel: Tensor) -> Tensor:
        """mel as in ``forward`` -> [B, channels, T]: what the visemes are read from."""
        x = mel.transpose(1, 2)
        x = level_free(x) if self.any_level else x.clamp(min=MEL_AUDIBLE)
        x = self.stem(F.pad(x, (0, self.look_ahead * MELS_PER_FRAME), mode="replicate"))
        for block in self.blocks:
            x = x + block(x)
        return x[:, :, self.look_ahead :]
