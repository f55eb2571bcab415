"""Who is in the picture: an embedder for the identity term (Eq. 8) and for ``id_cosine``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.blocks import norm


class IdentityNet(nn.Module):
    """Face [N, 3, H, W] in [-1, 1] -> unit vectors [N, dim]. Trained by the ``identity`` stage."""

    def __init__(self, dim: int = 64, channels: int = 24):
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        layers = [nn.Conv2d(3, channels, 5, stride=2, padding=2)]
        for wide, wider in zip(widths, widths[1:], strict=False):
            layers += [norm(wide), nn.SiLU(), nn.Conv2d(wide, wider, 3, stride=2, padding=1)]
        self.features = nn.Sequential(*layers, norm(widths[-1]), nn.SiLU())
        self.project = nn.Linear(2 * widths[-1], dim)

    def forward(self, frames: Tensor) -> Tensor:
        size = 64  # the widths are chosen for this size; larger pictures are shrunk first
        if frames.shape[-1] > size:
            frames = F.interpolate(frames, size=(size, size), mode="area")
        x = self.features(frames).flatten(2)
        return F.normalize(self.project(torch.cat([x.mean(-1), x.amax(-1)], -1)), dim=-1)
