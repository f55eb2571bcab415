"""The lower face of a crop and the layers that read it, shared by the sync expert and the lip reader."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.blocks import norm

LOWER_FACE = (0.56, 0.92, 0.25, 0.75)
"""Top, bottom, left and right of the lower face, in units of the picture's side. In canonical framing the mouth stays
inside however the head turns."""

CUT_SIZE = (36, 48)
"""Height and width in pixels that the lower face is resized to, whatever the frames' size."""


def lower_face(frames: Tensor) -> Tensor:
    """Canonical face crops [N, T, 3, H, W] of any size -> their LOWER_FACE [N, T, 3, *CUT_SIZE]."""
    height, width = frames.shape[-2:]
    top, bottom, left, right = LOWER_FACE
    rows = slice(round(top * height), round(bottom * height))
    columns = slice(round(left * width), round(right * width))
    mouths = frames.flatten(0, 1)[..., rows, columns]
    return F.interpolate(mouths, size=CUT_SIZE, mode="bilinear", antialias=True).unflatten(0, frames.shape[:2])


def lower_face_layers(channels: int, features: int) -> nn.Sequential:
    """[N, 3, *CUT_SIZE] in [-1, 1] -> [N, features]."""
    widths = [channels, 2 * channels, 3 * channels, 4 * channels]
    layers = [nn.Conv2d(3, channels, 5, stride=2, padding=2)]
    for wide, wider in zip(widths, widths[1:], strict=False):
        layers += [norm(wide), nn.SiLU(), nn.Conv2d(wide, wider, 3, stride=2, padding=1)]
    return nn.Sequential(
        *layers, norm(widths[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(widths[-1] * 3 * 3, features), nn.SiLU()
    )
