"""Recorded head motion as weights, replayed on another face."""

import torch
from torch import Tensor, nn

from tsd.media.head_motion import RecordedMotion


class MotionBank(nn.Module):
    """Motion tracks of training clips. No parameters, only the recordings: ``tracks`` [N, T, M]."""

    def __init__(self, num_tracks: int, num_frames: int):
        super().__init__()
        self.register_buffer("tracks", torch.zeros(num_tracks, num_frames, 7))

    def replay(self, start: Tensor, num_frames: int, seed: int = 0) -> Tensor:
        """Motion [num_frames, M] that begins at ``start`` [M], the reference's own; see ``RecordedMotion``."""
        return torch.from_numpy(RecordedMotion(self.tracks.numpy()).replay(start, num_frames, seed))
