"""The levels of the denoiser's U-Net: everything that happens at one size of the latent."""

import torch
from torch import Tensor, nn

from tsd.nets.blocks import ResBlock
from tsd.nets.context import TemporalMix


class DownLevel(nn.Module):
    """Halve the size (not at the first level), then ``blocks`` residual blocks; the last one mixes over time.

    ``above``: channels of the level above, or None at the first level.
    """

    def __init__(self, above: int | None, channels: int, blocks: int, emb_channels: int, causal: bool):
        super().__init__()
        self.resize = nn.Identity() if above is None else nn.Conv2d(above, channels, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResBlock(channels, channels, emb_channels) for _ in range(blocks))
        self.mix = TemporalMix(channels, causal)

    def forward(self, x: Tensor, emb: Tensor, frames: int, memory: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """x [B*T, C, h, w], emb [B*T, E] -> the features after every block (the skip connections), and the memory
        that the next frames continue from."""
        x, features = self.resize(x), []
        for block in self.blocks:
            x = block(x, emb)
            features.append(x)
        features[-1], memory = self.mix(x, frames, memory)
        return features, memory


class UpLevel(nn.Module):
    """``blocks`` residual blocks, each on one skip connection; mixing over time; then double the size (not at the
    last level).

    ``above``: channels of the level above, or None at the last level.
    """

    def __init__(self, above: int | None, channels: int, blocks: int, emb_channels: int, causal: bool):
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(2 * channels, channels, emb_channels) for _ in range(blocks))
        self.mix = TemporalMix(channels, causal)
        double = None if above is None else nn.Sequential(nn.Conv2d(channels, 4 * above, 1), nn.PixelShuffle(2))
        self.resize = double or nn.Identity()

    def forward(
        self, x: Tensor, skips: list[Tensor], emb: Tensor, frames: int, memory: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x [B*T, C, h, w]; skips: features of the ``DownLevel`` of this size; -> the same for the level above."""
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(torch.cat([x, skip], 1), emb)
        x, memory = self.mix(x, frames, memory)
        return self.resize(x), memory
