"""How a head moves from frame to frame, as maps between faces, and recorded motion replayed on another face."""

import numpy as np

from tsd.media.draws import integer


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float32 [N, 2, 3], the rotation, scale and shift that take the eyes ``source`` [N, 2, 2] to ``target``; equal to
    ``nets.affine.similarity_between`` within 1e-6."""
    way, wanted = source[:, 1] - source[:, 0], target[:, 1] - target[:, 0]
    size = np.maximum((way * way).sum(-1), np.float32(1e-4))
    cos = (way * wanted).sum(-1) / size
    sin = (way[:, 0] * wanted[:, 1] - way[:, 1] * wanted[:, 0]) / size
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    middle = (linear * source.mean(1)[:, None]).sum(-1)
    return np.concatenate([linear, (target.mean(1) - middle)[..., None]], -1).astype(np.float32)


def frames_to_reference(motion: np.ndarray, reference: np.ndarray, known: bool) -> np.ndarray:
    """Maps float32 [T, 2, 3] from the face of each frame to the reference's, in units of the side: motion [T, M] and
    [M] (``signals.MOTION``). The identity where motion is unknown. Equal to ``nets.affine.frame_to_reference``."""
    if not known:
        return np.tile(np.eye(2, 3, dtype=np.float32), (len(motion), 1, 1))
    eyes = motion[:, :4].reshape(-1, 2, 2)
    return similarity(eyes, np.broadcast_to(reference[:4].reshape(1, 2, 2), eyes.shape))


class RecordedMotion:
    """Motion ``tracks`` float32 [N, T, M] of training clips.

    A track is replayed relative to one of its own frames: how the eyes move, and how the nose moves with them. So it
    fits any face at any place. It starts at the frame whose head pose is nearest to the face's: from another pose, a
    turned head could turn further than any that the nets have seen. It runs forwards, then backwards, and so on, for
    speech of any length.
    """

    def __init__(self, tracks: np.ndarray):
        self.tracks = tracks

    def replay(self, start: np.ndarray, num_frames: int, seed: int = 0) -> np.ndarray:
        """Motion float32 [num_frames, M] that begins at ``start`` [M], the reference's own."""
        start, track = np.asarray(start, np.float32), self.tracks[integer(seed, len(self.tracks))]
        face, length = start[:6].reshape(3, 2), len(track)
        apart = pose_of(track[:, :6].reshape(-1, 3, 2)) - pose_of(face)
        begin = int((apart * apart).sum(-1).argmin())
        there_and_back = np.concatenate([np.arange(length), np.arange(length - 2, 0, -1)])
        track = track[there_and_back[(begin + np.arange(num_frames)) % len(there_and_back)]]
        points = track[:, :6].reshape(-1, 3, 2)
        maps = similarity(np.broadcast_to(points[:1, :2], (len(points), 2, 2)), points[:, :2])
        left, right = (maps[:, :, :2] @ eye + maps[:, :, 2] for eye in face[:2])
        offset = nose_of(face) + nose_of(points) - nose_of(points[:1])
        way = right - left
        nose = (left + right) / 2 + offset[:, :1] * way + offset[:, 1:] * across(way)
        return np.concatenate([left, right, nose, track[:, 6:]], 1).astype(np.float32)


def across(way: np.ndarray) -> np.ndarray:
    """[..., 2] rotated by 90 degrees: from the direction between the eyes to the direction down the face."""
    return np.stack([-way[..., 1], way[..., 0]], -1)


def nose_of(points: np.ndarray) -> np.ndarray:
    """points [..., 3, 2] -> [..., 2]: the nose's offset to the side of and below the midpoint of the eyes, in units of
    the distance between the eyes. The first says how far a head is turned, the second how far it is bowed."""
    left, right, nose = (points[..., i, :] for i in range(3))
    way, away = right - left, nose - (left + right) / 2
    both = np.stack([(away * way).sum(-1), (away * across(way)).sum(-1)], -1)
    return both / np.maximum((way * way).sum(-1, keepdims=True), np.float32(1e-6))


def pose_of(points: np.ndarray) -> np.ndarray:
    """[..., 2]: how far a head is turned (see ``nose_of``), and its tilt in radians. How far it is bowed cannot be
    compared between faces, because noses differ in length."""
    way = points[..., 1, :] - points[..., 0, :]
    return np.stack([nose_of(points)[..., 0], np.arctan2(way[..., 1], way[..., 0])], -1)
