"""Speech to visemes: log-mel in, probabilities over mouth shapes at 25 fps out, with bounded look-ahead."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.clip import FPS, MEL_AUDIBLE, MELS, MELS_PER_FRAME, VISEMES
from tsd.nets.blocks import zero

LAGS = (2, 8, 24)
"""Columns (20, 80 and 240 ms) over which a level-free net hears loudness change. Our choice."""

PAUSE, QUIET, SPOKEN = 15, 0.1, 0.5
"""Lips are shut where nobody spoke for PAUSE frames: in all of them the probability of speech is at most QUIET. Where
it is at least SPOKEN in one of them, lips are open as said; between the two in proportion. In shorter pauses lips stay
apart. Our choice: of 6 to 25 frames the map to lips lost least by 15 (r 0.718 instead of 0.733 on other people of
GRID)."""

ADDED = ("lips",)
"""Arguments of optional parts that can be added to a trained net before it trains further."""


def level_free(mel: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Log-mel [N, MELS, L] -> [N, MELS + len(LAGS), L] that is the same for every level of the sound.

    A gain adds one constant to all of a log-mel. What stays is the shape of each column's spectrum (its bands less
    their mean) and how the mean has changed since a few columns ago. ``before`` [N, 1, 1 + max(LAGS)]: zero at the
    start of a sound, then what the call before returned as the second result.
    """
    loudness = mel.mean(1, keepdim=True)
    begun, last = before.split([1, max(LAGS)], 2)
    last = torch.where(begun > 0.5, last, loudness[:, :, :1])  # before the start it was as loud as at the start
    known = torch.cat([last, loudness], 2)
    earlier = [known[:, :, max(LAGS) - lag : known.shape[2] - lag] for lag in LAGS]
    kept = torch.cat([torch.ones_like(begun), known[:, :, -max(LAGS) :]], 2)
    return torch.cat([mel - loudness, *(loudness - then for then in earlier)], 1), kept


def shut_in_pauses(lips: Tensor, speech: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """How far lips are open [N, 1, T], and shut where nobody speaks; see PAUSE. ``speech`` [N, 1, T]: how probable it
    is that somebody speaks. ``before`` [N, 1, PAUSE - 1] and the second result: as in ``level_free``."""
    known = torch.cat([before, speech], 2)
    recent = F.max_pool1d(known, PAUSE, stride=1)
    return lips * ((recent - QUIET) / (SPOKEN - QUIET)).clamp(0, 1), known[:, :, 1 - PAUSE :]


class CausalConv(nn.Module):
    """Causal 1-D convolution over [N, C, L]; with a stride it keeps the last column of each group."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.left = (kernel - 1) * dilation - (stride - 1)
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, dilation=dilation)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, C, L] behind the columns ``before`` [N, C, left] -> columns, and those that the next call needs."""
        x = torch.cat([before, x], 2)
        return self.conv(x), x[:, :, x.shape[2] - self.left :]


class VisemeNet(nn.Module):
    """A causal convolution stack whose output for frame t is read ``look_ahead`` frames later.

    So its lookahead is exactly ``look_ahead`` frames (at most 4: 160 ms).

    Args:
        channels: of the blocks, at 25 columns a second.
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
                nn.Conv1d(channels, channels, 1),
            )
            for i in range(blocks)
        )
        self.to_visemes = nn.Conv1d(channels, len(VISEMES), 1)
        self.to_lips = zero(nn.Conv1d(channels, 1, 1)) if lips else None

    @property
    def look_ahead_ms(self) -> float:
        return self.look_ahead * 1000 / FPS

    @property
    def memory_shapes(self) -> list[tuple[int, int]]:
        """Channels and columns of what a stream keeps, one after the other: loudness, each convolution's last columns,
        and whether somebody spoke."""
        shapes = [(1, 1 + max(LAGS))] * self.any_level
        shapes += [(c.conv.in_channels, c.left) for c in self.modules() if isinstance(c, CausalConv)]
        return shapes + [(1, PAUSE - 1)] * (self.to_lips is not None)

    @property
    def memory_size(self) -> int:
        return sum(channels * columns for channels, columns in self.memory_shapes)

    def forward(self, mel: Tensor) -> Tensor:
        """mel [B, T * MELS_PER_FRAME, MELS] -> logits [B, T, V], with ``lips`` [B, T, V + 1]. Beyond the end the last
        column is repeated."""
        return self.listen(self._to_the_end(mel), mel.new_zeros(len(mel), self.memory_size))[0][:, self.look_ahead :]

    def listen(self, mel: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The next frames of a stream: mel [B, n * MELS_PER_FRAME, MELS] -> as ``forward`` says of the n frames that
        lie ``look_ahead`` frames before them, and the memory [B, memory_size] of the next call; zeros at first."""
        before = self._parts(memory)
        hidden, parts = self._hidden(mel, before)
        heard = self.to_visemes(hidden)
        if self.to_lips is not None:
            speech = 1 - heard.softmax(1)[:, VISEMES.index("sil"), None]
            lips, kept = shut_in_pauses(self.to_lips(hidden), speech, before[-1])
            heard, parts = torch.cat([heard, lips], 1), [*parts, kept]
        return heard.transpose(1, 2), torch.cat([part.flatten(1) for part in parts], 1)

    def hidden(self, mel: Tensor) -> Tensor:
        """mel as in ``forward`` -> [B, channels, T]: what the visemes are read from."""
        memory = mel.new_zeros(len(mel), self.memory_size)
        return self._hidden(self._to_the_end(mel), self._parts(memory))[0][:, :, self.look_ahead :]

    def _to_the_end(self, mel: Tensor) -> Tensor:
        return torch.cat([mel, mel[:, -1:].expand(-1, self.look_ahead * MELS_PER_FRAME, -1)], 1)

    def _parts(self, memory: Tensor) -> list[Tensor]:
        shapes = self.memory_shapes
        flat = memory.split([channels * columns for channels, columns in shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(flat, shapes, strict=True)]

    def _hidden(self, mel: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Hidden values [B, channels, n], and the memory after them, without that of lips."""
        x, before, kept = mel.transpose(1, 2), iter(before), []

        def through(layer, x: Tensor) -> Tensor:
            if layer is level_free or isinstance(layer, CausalConv):
                x, after = layer(x, next(before))
                kept.append(after)
                return x
            return layer(x)

        x = through(level_free, x) if self.any_level else x.clamp(min=MEL_AUDIBLE)
        for layer in self.stem:
            x = through(layer, x)
        for block in self.blocks:
            branch = x
            for layer in block:
                branch = through(layer, branch)
            x = x + branch
        return x, kept
