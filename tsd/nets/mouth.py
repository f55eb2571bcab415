"""Mouth opening read from the picture. It measures lips in evaluation and is never part of a loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.blocks import norm


class MouthNet(nn.Module):
    """Face [N, 3, H, W] in [-1, 1] -> [N] mouth opening, in units of the picture's side.

    Looks at the lower two thirds of the picture at 64 x 64, fitted on real training frames.
    """

    def __init__(self, channels: int = 24):
        super().__init__()
        widths = [channels, 2 * channels, 3 * channels, 4 * channels]
        layers = [nn.Conv2d(3, channels, 5, stride=2, padding=2)]
        for wide, wider in zip(widths, widths[1:], strict=False):
            layers += [norm(wide), nn.SiLU(), nn.Conv2d(wide, wider, 3, stride=2, padding=1)]
        self.features = nn.Sequential(*layers, norm(widths[-1]), nn.SiLU(), nn.Flatten())
        self.regress = nn.Sequential(nn.Linear(widths[-1] * 3 * 4, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[-1] != 64:
            frames = F.interpolate(frames, size=(64, 64), mode="area")
        lower = frames[..., 16:, :]
        return 0.1 * self.regress(self.features(lower)).squeeze(-1)
