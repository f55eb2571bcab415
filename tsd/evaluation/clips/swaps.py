"""One thing exchanged at a time: whose speech it is, and whose face."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tsd.clip import to_frames
from tsd.diffusion import Schedule
from tsd.evaluation.clips.chain import Chain, Subject
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.generate import make_ready, speak
from tsd.evaluation.clips.instruments import BLOCK, Row, mouth_r, opening
from tsd.metrics import embed_frames
from tsd.nets.affine import CANONICAL_FACE, landmarks_of, similarity_between

MOUTH = (0.34, 0.60, 0.66, 0.86)
"""x0 y0 x1 y1 of the mouth on the canonical face, in units of the side."""

OTHER_EVERY = 5
"""Of another's face, every fifth frame is decoded: a correlation and a mean of cosines need no neighbours."""

ROUNDING = (2 / 255) ** 2 / 12
"""Energy that rounding to 8 bits adds, in [-1, 1]: less is not told from nothing."""


def mouth_boxes(track: Tensor, known: bool) -> Tensor:
    """[T, 4] x0 y0 x1 y1 in units of the side: MOUTH, carried along by the eyes of a motion track [T, M]."""
    landmarks = landmarks_of(track[None], torch.tensor([known]))[0]
    maps = similarity_between(landmarks.new_tensor(CANONICAL_FACE).expand_as(landmarks), landmarks)
    x0, y0, x1, y1 = MOUTH
    corners = torch.tensor([(x, y, 1.0) for x in (x0, x1) for y in (y0, y1)]) @ maps.transpose(1, 2)
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def change_ratio(one: Tensor, two: Tensor, boxes: Tensor) -> float:
    """Mean squared difference of two videos [T, 3, R, R] per pixel inside ``boxes`` [T, 4] over that outside.

    1 where the change is everywhere alike, above where it is in the mouth; nan where nothing changes. What is outside
    counts as ROUNDING at least.
    """
    energy = (one - two).square().mean(1)
    within = inside(boxes, energy.shape[-1])
    if not energy.any():
        return float("nan")
    return float(energy[within].mean() / energy[~within].mean().clamp_min(ROUNDING))


def inside(boxes: Tensor, size: int) -> Tensor:
    """bool [n, size, size]: whether a pixel's centre lies in the box [n, 4] x0 y0 x1 y1 in units of the side."""
    centres = (torch.arange(size) + 0.5) / size
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    return ((centres >= y0) & (centres <= y1))[:, :, None] & ((centres >= x0) & (centres <= x1))[:, None, :]


@torch.inference_mode()
def viseme_swap(chain: Chain, subject: Subject, own: np.ndarray, other: np.ndarray) -> Row:
    """The same picture, head and noise with two speeches, uint8 [T, R, R, 3]: does only the mouth change?"""
    speaker = make_ready(chain.talker, subject.portrait)
    track = chain.talker.motion(speaker, len(own), subject.own_seed)
    with clock("viseme swap"):
        return {"ratio": change_ratio(to_frames(own), to_frames(other), mouth_boxes(track, speaker.known))}


@torch.inference_mode()
def cross_identity(chain: Chain, subject: Subject, schedule: Schedule) -> Row:
    """The other identity's picture (A) saying this clip's speech (B): cosines of the embedder with both references,
    ``correct`` 1.0 where A is nearer, and the lips against B's truth. Needs ``subject.other`` and the embedder."""
    instruments, truth = chain.instruments, subject.truth
    video, _ = speak(chain.talker, subject.other.portrait, subject.visemes, schedule, subject.own_seed, OTHER_EVERY)
    frames = to_frames(video)
    with clock("cross identity"):
        shown = embed_frames(instruments.identity, frames[None], batch=BLOCK)[0]
        face = instruments.identity(subject.other.portrait.picture[None])
        to_face, to_speech = (float(cosine_similarity(shown, e).mean()) for e in (face, truth.embedding))
    row = {"correct": float(to_face > to_speech), "id_cosine": to_face, "id_cosine_speech": to_speech}
    if instruments.mouth is not None and truth.mouth_open is not None:
        row["mouth_r"] = mouth_r(opening(instruments, frames), truth.mouth_open[::OTHER_EVERY])
    return row
