"""What is asked of a video: measuring nets, the truth a video is compared with, and a row of numbers.

A row is ``{column: value of this clip}``; ``tsd.evaluation.report`` says what columns mean over clips, and which of
them become ratios to the row ``recon`` or ``real`` there.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from tsd.evaluation.clips.clock import clock
from tsd.metrics import (
    embed_frames,
    flicker_mean_std,
    flicker_std,
    identity_cosines,
    lpips_distance,
    motion_magnitude,
    pearson,
    psnr,
    real_flow,
    sharpness,
    slope_per_minute,
    ssim,
    start_middle_end,
    temporal_l1,
    viseme_accuracy,
    warp_error,
)
from tsd.metrics.face_mesh import FaceMesh
from tsd.metrics.sync import MAX_SHIFT, sync_scores

BLOCK = 8
"""Frames through the VAE and the instruments at a time: fits the processor's cache."""

FACE = (0.20, 0.12, 0.80, 0.91)
"""x0 y0 x1 y1 of the part of every frame whose sharpness counts, in units of the side: where faces lie on
average in canonical framing. One fixed box for all rows, because no true box exists for a generated face."""

EVERY = 10
"""SSIM and LPIPS look at every tenth frame (0.4 s): neighbours say the same."""

MOTION_EVERY = 2
"""How far pixels move is measured between every second pair of neighbours: the mean over a clip hardly changes."""

FEATURES = "features"
"""Of a row: [2 D] mean and std over time of the clip's embeddings, which the Fréchet video distance compares."""

OPENED = "opened"
"""Of a row: [T] the opening of the mouth in every frame of the video, as the instrument reads it."""

Row = dict[str, float]


@dataclass
class Instruments:
    """The measuring nets; what is None leaves its columns out, and ``unavailable`` says why."""

    mouth: nn.Module | None = None
    """Faces [N, 3, H, W] -> mouth opening [N]."""
    identity: nn.Module | None = None
    """Faces [N, 3, H, W] -> embeddings [N, D]."""
    sync: nn.Module | None = None
    """The sync expert of ``tsd.nets.sync``."""
    lipreader: nn.Module | None = None
    """Faces [B, T, 3, H, W] -> viseme logits [B, T, V]."""
    lpips: nn.Module | None = None
    embedder: str = "none"
    """The name of ``identity`` in reports."""
    mouth_reader: str = "none"
    """The name of ``mouth`` there."""
    identity_every: int = 3
    """The embedder looks at every third frame: a person changes slowly."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """{metric: "unavailable: why, and how to get it"}."""
    landmarks: FaceMesh | None = None
    """Reads lip gap and mouth width of people; ``mouth`` then is this, too."""


@dataclass
class Truth:
    """The real clip that a video is compared with; T frames, both in step."""

    frames: Tensor
    """[T, 3, R, R] in [-1, 1]."""
    mouth_open: Tensor | None = None
    """[T] the true opening, or what is seen in the real frames; nan where unknown."""
    visemes: Tensor | None = None
    """[T, V] of the frames, as ``Clip.viseme_labels``; all-zero where unknown."""
    mel: Tensor | None = None
    """[T * 4, 80] log-mel of its sound."""
    embedding: Tensor | None = None
    """[1, D] of the reference: who it should be."""

    @cached_property
    def flow(self) -> tuple[Tensor, Tensor]:
        """``real_flow`` of the clip: the same for every video compared with it."""
        with clock("real flow"):
            return real_flow(self.frames[None])


def movement(video: Tensor) -> Row:
    """How the picture moves, [T, 3, R, R]."""
    row = {}
    for measure in (temporal_l1, flicker_std, flicker_mean_std):
        with clock(measure.__name__):
            row[measure.__name__] = float(measure(video[None]))
    return row


def opening(instruments: Instruments, video: Tensor) -> Tensor:
    """[T] the mouth opening that is read in ``video`` [T, 3, R, R]."""
    with clock("mouth"):
        return torch.cat([instruments.mouth(block) for block in video.split(BLOCK)])


def mouth_r(opened: Tensor, mouth_open: Tensor) -> float:
    """Correlation over time of the opening read in a video and the true one, both [T]."""
    return float(pearson(opened[None], mouth_open[None])[0])


def who(instruments: Instruments, video: Tensor, embedding: Tensor) -> Row:
    """Is it the person of ``embedding`` [1, D]: mean, 5th percentile, slope per minute, both ends; and FEATURES."""
    every = instruments.identity_every
    with clock("identity"):
        embeddings = embed_frames(instruments.identity, video[None], every, BLOCK)
        return identity_row(embeddings, embedding, every)


def identity_row(embeddings: Tensor, reference: Tensor, every: int) -> Row:
    """Identity columns, and FEATURES, of every ``every``-th frame's embeddings [1, N, D] against
    ``reference`` [1, D]."""
    cosines = identity_cosines(embeddings, reference)
    start, _, end = start_middle_end(cosines, every)
    spread, mean = torch.std_mean(embeddings[0], 0, correction=0)
    row = {"id_cosine": float(cosines.mean()), "id_cosine_p5": float(cosines.quantile(0.05))}
    row |= {"id_cosine_slope": float(slope_per_minute(cosines, every))}
    return row | {"id_cosine_start": float(start), "id_cosine_end": float(end), FEATURES: torch.cat([mean, spread])}


def sync(instruments: Instruments, video: Tensor, mel: Tensor) -> Row:
    """Offset in frames (positive: the picture is late), confidence and distance against the real sound [T * 4, 80], and
    whether the offset is at most one frame (1.0 or 0.0); nan where the clip is too short for shifts of MAX_SHIFT."""
    names = ("sync_offset", "sync_confidence", "sync_distance")
    if len(video) < instruments.sync.field + 2 * MAX_SHIFT:
        return dict.fromkeys((*names, "sync_in_step"), float("nan"))
    with clock("sync"):
        scores = sync_scores(instruments.sync, video, mel)
    row = {name: float(getattr(scores, name.removeprefix("sync_"))) for name in names}
    return row | {"sync_in_step": float(abs(row["sync_offset"]) <= 1)}


def look(instruments: Instruments, video: Tensor, truth: Truth) -> Row:
    """Everything that is asked of a video [T, 3, R, R] by itself: how it moves, how sharp it is, who it is, what its
    mouth says (its opening under OPENED, too). Its head may move otherwise than the truth's."""
    row = movement(video)
    with clock("motion"):
        row["motion"] = float(motion_magnitude(video[None], MOTION_EVERY))
    with clock("sharpness"):
        sharp = sharpness(video[None], torch.tensor(FACE).expand(1, len(video), 4))
    start, _, end = start_middle_end(sharp)
    row |= {"sharpness": float(sharp.mean()), "sharpness_start": float(start), "sharpness_end": float(end)}
    if instruments.identity is not None and truth.embedding is not None:
        row |= who(instruments, video, truth.embedding)
    if instruments.mouth is not None and truth.mouth_open is not None:
        row[OPENED] = opening(instruments, video)
        row["mouth_r"] = mouth_r(row[OPENED], truth.mouth_open)
    if instruments.lipreader is not None and truth.visemes is not None and truth.visemes.any():
        with clock("visemes"):
            read = instruments.lipreader(video[None])
        row["viseme_accuracy"] = float(viseme_accuracy(read, truth.visemes[None]))
    if instruments.sync is not None and truth.mel is not None:
        row |= sync(instruments, video, truth.mel)
    return row


def compare(instruments: Instruments, video: Tensor, target: Tensor, truth: Truth) -> Row:
    """How near a video is to ``target`` frame by frame, and whether it moves with the real clip's flow; all
    [T, 3, R, R]. Says something only of videos whose head moves as the truth's does."""
    pair = video[None], target[None]
    few = tuple(v[:, ::EVERY] for v in pair)
    with clock("psnr"):
        row = {"psnr_db": float(psnr(*pair))}
    with clock("ssim"):
        row["ssim"] = float(ssim(*few))
    if instruments.lpips is not None:
        with clock("lpips"):
            row["lpips"] = float(lpips_distance(instruments.lpips, *few))
    flow = truth.flow
    with clock("warp_error"):
        row["warp_error"] = float(warp_error(video[None], *flow))
    return row
