"""Visemes read from the picture of a mouth. It measures viseme accuracy in evaluation and is never part of a loss."""

from torch import Tensor, nn

from tsd.clip import VISEMES
from tsd.nets.lower_face import lower_face, lower_face_layers

FIELD = 9
"""Frames that decide one viseme: four before and four after, so that the net sees a shape begin and end."""


class LipReader(nn.Module):
    """Canonical face crops [N, T, 3, H, W] in [-1, 1] of any size -> logits [N, T, V]. Uses no sound."""

    def __init__(self, channels: int = 24):
        super().__init__()
        wide = 6 * channels
        self.look = lower_face_layers(channels, wide)
        self.watch = nn.Sequential(
            nn.Conv1d(wide, wide, FIELD, padding=FIELD // 2, padding_mode="replicate"),
            nn.SiLU(),
            nn.Dropout(0.2),
            nn.Conv1d(wide, len(VISEMES), 1),
        )

    def read(self, mouths: Tensor) -> Tensor:
        """``lower_face`` of frames [N, T, 3, *CUT_SIZE], in [-1, 1] -> logits [N, T, V]."""
        looks = self.look(mouths.flatten(0, 1)).unflatten(0, mouths.shape[:2])
        return self.watch(looks.transpose(1, 2)).transpose(1, 2)

    def forward(self, frames: Tensor) -> Tensor:
        return self.read(lower_face(frames))
