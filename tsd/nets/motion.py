"""Recorded head motion, replayed on another face."""

import torch
from torch import Tensor, nn

from tsd.nets.affine import carried, similarity_between


class MotionBank(nn.Module):
    """Motion tracks of training clips. No parameters, only the recordings: ``tracks`` [N, T, M].

    A track is replayed relative to one of its own frames: how the eyes move, and how the nose moves with them. So it
    fits any face at any place. It starts at the frame whose head pose is nearest to the face's: from another pose, a
    turned head could turn further than any that the nets have seen. It runs forwards, then backwards, and so on, for
    speech of any length.
    """

    def __init__(self, num_tracks: int, num_frames: int):
        super().__init__()
        self.register_buffer("tracks", torch.zeros(num_tracks, num_frames, 7))

    def replay(self, start: Tensor, num_frames: int, seed: int = 0) -> Tensor:
        """Motion [num_frames, M] that begins at ``start`` [M], the reference's own."""
        track = self.tracks[int(torch.randint(len(self.tracks), (), generator=torch.Generator().manual_seed(seed)))]
        face, length = start[:6].reshape(3, 2), len(track)
        begin = int((pose_of(track[:, :6].unflatten(1, (3, 2))) - pose_of(face)).square().sum(-1).argmin())
        there_and_back = torch.cat([torch.arange(length), torch.arange(length - 2, 0, -1)])
        track = track[there_and_back[(begin + torch.arange(num_frames)) % len(there_and_back)]]
        points = track[:, :6].unflatten(1, (3, 2))
        left, right = carried(face[:2], similarity_between(points[:1].expand_as(points), points)).unbind(1)
        along, down = nose_of(face).add(nose_of(points) - nose_of(points[:1])).split(1, -1)
        nose = (left + right) / 2 + along * (right - left) + down * across(right - left)
        return torch.cat([left, right, nose, track[:, 6:]], 1)


def across(way: Tensor) -> Tensor:
    """[..., 2] rotated by 90 degrees: from the direction between the eyes to the direction down the face."""
    return torch.stack([-way[..., 1], way[..., 0]], -1)


def nose_of(points: Tensor) -> Tensor:
    """points [..., 3, 2] -> [..., 2]: the nose's offset to the side of and below the midpoint of the eyes, in units of
    the distance between the eyes. The first says how far a head is turned, the second how far it is bowed."""
    left, right, nose = points.unbind(-2)
    way, away = right - left, nose - (left + right) / 2
    both = torch.stack([(away * way).sum(-1), (away * across(way)).sum(-1)], -1)
    return both / way.square().sum(-1, keepdim=True).clamp(min=1e-6)


def pose_of(points: Tensor) -> Tensor:
    """[..., 2]: how far a head is turned (see ``nose_of``), and its tilt in radians. How far it is bowed cannot be
    compared between faces, because noses differ in length."""
    way = points[..., 1, :] - points[..., 0, :]
    return torch.stack([nose_of(points)[..., 0], torch.atan2(way[..., 1], way[..., 0])], -1)
