"""Lip sync expert: two encoders, of lips and of sound, into one space (SyncNet, Chung & Zisserman 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsd.clip import MEL_AUDIBLE, MELS
from tsd.nets.lower_face import lower_face, lower_face_layers


class SyncNet(nn.Module):
    """``see`` and ``hear`` give unit vectors that are near each other where mouth and sound belong to the same moment.

    Moment i is frames i .. i + ``field`` - 1. Nothing is padded, so T frames have T - field + 1 moments, and the
    vector of a moment depends on its own frames only.
    """

    def __init__(self, dim: int = 64, channels: int = 24, field: int = 5):
        super().__init__()
        if field < 3:
            raise ValueError(f"model.sync.field must be 3 frames or more, got {field}")
        self.field = field
        wide = 6 * channels
        self.look = lower_face_layers(channels, wide)
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

    def read(self, mouths: Tensor) -> Tensor:
        """``lower_face`` of frames [N, T, 3, *CUT_SIZE], in [-1, 1] -> [N, T - field + 1, dim]."""
        looks = self.look(mouths.flatten(0, 1)).unflatten(0, mouths.shape[:2])
        return F.normalize(self.watch(looks.transpose(1, 2)).transpose(1, 2).float(), dim=-1)

    def see(self, frames: Tensor) -> Tensor:
        """Canonical face crops [N, T, 3, H, W] in [-1, 1] of any size -> [N, T - field + 1, dim]."""
        return self.read(lower_face(frames))

    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [N, T * MELS_PER_FRAME, MELS] -> [N, T - field + 1, dim]."""
        heard = self.listen(mel.clamp(min=MEL_AUDIBLE).transpose(1, 2))
        return F.normalize(heard.transpose(1, 2).float(), dim=-1)
