"""Speech to visemes: log-mel in, probabilities over mouth shapes at 25 fps out, with bounded look-ahead."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsd.clip import FPS, MELS, MELS_PER_FRAME, VISEMES


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
    """

    def __init__(self, channels: int = 128, blocks: int = 4, look_ahead: int = 3, dropout: float = 0.1):
        super().__init__()
        if not 0 <= look_ahead <= 4:
            raise ValueError(f"model.visemes.look_ahead must be 0..4 frames (160 ms), got {look_ahead}")
        self.look_ahead = look_ahead
        self.stem = nn.Sequential(
            CausalConv(MELS, channels, 5),
            nn.GELU(),
            CausalConv(channels, channels, 4, stride=2),
            nn.GELU(),
            CausalConv(channels, channels, 4, stride=MELS_PER_FRAME // 2),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GELU(),
                CausalConv(channels, channels, 3, dilation=1 + i % 2),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Conv1d(channels, channels, 1),
            )
            for i in range(blocks)
        )
        self.to_visemes = nn.Conv1d(channels, len(VISEMES), 1)

    @property
    def look_ahead_ms(self) -> float:
        return self.look_ahead * 1000 / FPS

    @property
    def past(self) -> int:
        """Frames before its own that an output depends on; a stream has to keep them."""
        columns, jump = 0, 1
        for conv in (layer.conv for layer in self.modules() if isinstance(layer, CausalConv)):
            columns += (conv.kernel_size[0] - 1) * conv.dilation[0] * jump
            jump *= conv.stride[0]
        return max(0, -(-(columns + 1 - jump) // jump) - self.look_ahead)

    def forward(self, mel: Tensor) -> Tensor:
        """mel [B, T * MELS_PER_FRAME, MELS] -> logits [B, T, V]. Beyond the end the last column is repeated."""
        x = F.pad(mel.transpose(1, 2), (0, self.look_ahead * MELS_PER_FRAME), mode="replicate")
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.to_visemes(x)[:, :, self.look_ahead :].transpose(1, 2)
