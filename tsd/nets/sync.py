"""Do lips and sound belong to the same moment: two encoders into one space (SyncNet, Chung & Zisserman 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsd.clip import MELS
from tsd.nets.blocks import norm

LOWER_FACE = (0.56, 0.92, 0.25, 0.75)
"""Top, bottom, left and right of what is looked at, in units of the picture's side: in canonical framing the mouth
stays inside however the head turns."""

CUT_SIZE = (36, 48)
"""Height and width in pixels that the lower face is resized to, whatever the frames' size."""


class SyncNet(nn.Module):
    """``see``s and ``hear``s: unit vectors that lie near each other where mouth and sound are of the same moment.

    Moment i is frames i .. i + ``field`` - 1. Nothing is padded, so T frames have T - field + 1 moments, and a
    moment's vector does not depend on what lies around it.
    """

    def __init__(self, dim: int = 64, channels: int = 24, field: int = 5):
        super().__init__()
        if field < 3:
            raise ValueError(f"model.sync.field must be 3 frames or more, got {field}")
        self.field = field
        widths = [channels, 2 * channels, 3 * channels, 4 * channels]
        layers = [nn.Conv2d(3, channels, 5, stride=2, padding=2)]
        for wide, wider in zip(widths, widths[1:], strict=False):
            layers += [norm(wide), nn.SiLU(), nn.Conv2d(wide, wider, 3, stride=2, padding=1)]
        wide = 6 * channels
        self.look = nn.Sequential(
            *layers, norm(widths[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(widths[-1] * 3 * 3, wide), nn.SiLU()
        )
        self.watch = nn.Sequential(
            nn.Conv1d(wide, wide, 3),
            nn.SiLU(),
            nn.Conv1d(wide, wide, field - 2),
            nn.SiLU(),
            nn.Conv1d(wide, dim, 1),
        )
        self.listen = nn.Sequential(  # four columns a frame: two strides of 2, and together 4 * field columns wide
            nn.Conv1d(MELS, wide, 4, stride=2),
            nn.SiLU(),
            nn.Conv1d(wide, wide, 3, stride=2),
            nn.SiLU(),
            nn.Conv1d(wide, wide, field - 1),
            nn.SiLU(),
            nn.Conv1d(wide, dim, 1),
        )

    @staticmethod
    def cut(frames: Tensor) -> Tensor:
        """Canonical face crops [N, T, 3, H, W] of any size -> their LOWER_FACE [N, T, 3, *CUT_SIZE]."""
        height, width = frames.shape[-2:]
        top, bottom, left, right = LOWER_FACE
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        mouths = frames.flatten(0, 1)[..., rows, columns]
        return F.interpolate(mouths, size=CUT_SIZE, mode="bilinear", antialias=True).unflatten(0, frames.shape[:2])

    def read(self, mouths: Tensor) -> Tensor:
        """What ``cut`` gives [N, T, 3, *CUT_SIZE], in [-1, 1] -> [N, T - field + 1, dim]."""
        looks = self.look(mouths.flatten(0, 1)).unflatten(0, mouths.shape[:2])
        return F.normalize(self.watch(looks.transpose(1, 2)).transpose(1, 2).float(), dim=-1)

    def see(self, frames: Tensor) -> Tensor:
        """Canonical face crops [N, T, 3, H, W] in [-1, 1] of any size -> [N, T - field + 1, dim]."""
        return self.read(self.cut(frames))

    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [N, T * MELS_PER_FRAME, MELS] -> [N, T - field + 1, dim]."""
        return F.normalize(self.listen(mel.transpose(1, 2)).transpose(1, 2).float(), dim=-1)
