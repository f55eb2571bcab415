"""Where a head goes while it speaks: recorded motion, replayed on another face."""

import torch
from torch import Tensor, nn

from tsd.nets.affine import affine_between


class MotionBank(nn.Module):
    """Motion tracks of training clips. Holds no parameters, only the recordings: ``tracks`` [N, T, M].

    A track is replayed as what it does to its own first frame (an affine map of eyes and nose), so it
    fits any face in any place; forwards, then backwards, and so on, for speech of any length.
    """

    def __init__(self, num_tracks: int, num_frames: int):
        super().__init__()
        self.register_buffer("tracks", torch.zeros(num_tracks, num_frames, 7))

    def replay(self, start: Tensor, num_frames: int, seed: int = 0) -> Tensor:
        """Motion [num_frames, M] that begins at ``start`` [M], the reference's own."""
        track = self.tracks[int(torch.randint(len(self.tracks), (), generator=torch.Generator().manual_seed(seed)))]
        length = len(track)
        there_and_back = torch.cat([torch.arange(length), torch.arange(length - 2, 0, -1)])
        track = track[there_and_back[torch.arange(num_frames) % len(there_and_back)]]
        points = track[:, :6].unflatten(1, (3, 2))
        maps = affine_between(points[:1].expand_as(points), points)
        moved = start[:6].reshape(3, 2) @ maps[..., :2].transpose(1, 2) + maps[..., 2][:, None]
        return torch.cat([moved.flatten(1), track[:, 6:]], 1)
