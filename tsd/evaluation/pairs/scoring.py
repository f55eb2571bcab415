"""The numbers of one pair: what is generated, and control rows made from the real video, read block by block."""

from collections import defaultdict
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tsd.clip import to_frames, to_uint8
from tsd.evaluation.clips.controls import BLUR, SHIFT
from tsd.evaluation.clips.instruments import EVERY, FEATURES, Instruments, Row, identity_row
from tsd.evaluation.pairs.reading import ReadyPair
from tsd.evaluation.wild.lips import RealLips
from tsd.evaluation.wild.loudness import Loudness, features
from tsd.media.audio import log_mel
from tsd.media.timeline import Timeline
from tsd.metrics import (
    lpips_distance,
    motion_magnitude,
    pearson,
    psnr,
    real_flow,
    sharpness,
    ssim,
    start_middle_end,
    temporal_l1,
    warp_error,
)
from tsd.metrics.pixels import MAX_PSNR
from tsd.metrics.sync import MAX_SHIFT, shift_distances, summarise_shifts
from tsd.metrics.temporal import flicker_mean_std, frame_differences

VERSION = 2
"""Raise it when a number changes its meaning: partial results of another version are not used."""

BLOCK_PIXELS, MAX_BLOCK = 2**20, 25
"""Pixels, and frames, of each video in memory at a time."""

ROWS = ("generated", "real", "shifted", "frozen", "blurred", "swapped")
"""The generated video; then the real one, itself too late by SHIFT frames, its first frame repeated, blurred, and
another real video of the folder."""


class Moments:
    """Std over time at every pixel, block by block (Chan, Golub, LeVeque 1983), as ``flicker_std`` has it of a whole
    clip."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, None, None

    def add(self, values: Tensor) -> None:
        """[n, ...]"""
        if self.mean is None:
            self.mean, self.squares = torch.zeros_like(values[0]), torch.zeros_like(values[0])
        n, mean = len(values), values.mean(0)
        total, gap = self.count + n, mean - self.mean
        self.squares += (values - mean).square_().sum(0) + gap.square() * (self.count * n / total)
        self.mean += gap * (n / total)
        self.count = total

    def mean_std(self) -> float:
        """Mean over pixels of the population std over time."""
        return float((self.squares / self.count).sqrt().mean())


class Track:
    """Values per frame, in one piece of memory: kept as small pieces between large blocks that come and go, they
    scatter the heap until it has grown by gigabytes."""

    def __init__(self, length: int):
        self.length, self.count, self.values = length, 0, None

    def add(self, values: Tensor) -> None:
        """[n, ...]"""
        if self.values is None:
            self.values = torch.empty(self.length, *values.shape[1:])
        self.values[self.count : self.count + len(values)] = values
        self.count += len(values)


class Tally:
    """One video of a pair, measured block by block."""

    def __init__(self, instruments: Instruments, box: Tensor | None, num_frames: int):
        self.instruments, self.box = instruments, box
        self.sums, self.weights = defaultdict(float), defaultdict(float)
        self.tracks: dict[str, Track] = defaultdict(lambda: Track(num_frames))
        self.moments = Moments()
        self.last_faces: Tensor | None = None

    def mean(self, name: str, value: Tensor | float, weight: float) -> None:
        if weight:
            self.sums[name] += float(value) * weight
            self.weights[name] += weight

    def add(self, video: Tensor, real: Tensor, begin: int, flow: tuple[Tensor, Tensor] | None) -> None:
        """Frames ``begin``.. of the video and of the real one, both [1, n, 3, H, W]; where ``flow`` (``real_flow``)
        is given, after one that has been added before."""
        fresh, target = (v[:, begin > 0 :] for v in (video, real))
        n = fresh.shape[1]
        decibels = float(psnr(fresh, target))
        self.mean("mse", 10 ** (-decibels / 10) if decibels < MAX_PSNR - 0.001 else 0.0, n)
        sampled = torch.arange(begin, begin + n) % EVERY == 0
        if few := int(sampled.sum()):
            self.mean("ssim", ssim(fresh[:, sampled], target[:, sampled]), few)
            if self.instruments.lpips is not None:
                distance = lpips_distance(self.instruments.lpips, fresh[:, sampled], target[:, sampled])
                self.mean("lpips", distance, few)
        self.mean("temporal_l1", temporal_l1(video), video.shape[1] - 1)
        self.mean("motion", motion_magnitude(video), video.shape[1] - 1)
        self.mean("warp_error", warp_error(video, *flow), float(flow[1].sum()))
        self.moments.add(frame_differences(video)[0])
        self.tracks["level"].add(fresh[0].mean((2, 3), keepdim=True))
        box = None if self.box is None else self.box.expand(1, n, 4)
        self.tracks["sharpness"].add(sharpness(fresh, box)[0])

    def add_faces(self, faces: Tensor, begin: int) -> None:
        """[n, 3, CROP, CROP], of frames ``begin``.."""
        if self.instruments.landmarks is not None:
            lips = torch.from_numpy(self.instruments.landmarks.lips(to_uint8(faces))).float()
            self.tracks["lips"].add(lips)
            self.tracks["mouth_open"].add(lips[:, 0])
        elif self.instruments.mouth is not None:
            self.tracks["mouth_open"].add(self.instruments.mouth(faces))
        if self.instruments.sync is not None:
            known = faces[None] if begin == 0 else torch.cat([self.last_faces, faces[None]], 1)
            self.last_faces = known[:, 1 - self.instruments.sync.field :].clone()
            if known.shape[1] >= self.instruments.sync.field:
                self.tracks["seen"].add(self.instruments.sync.see(known)[0])
        every = self.instruments.identity_every
        if self.instruments.identity is not None and len(few := faces[-begin % every :: every]):
            self.tracks["embedding"].add(self.instruments.identity(few))

    def track(self, name: str) -> Tensor:
        """[1, T, ...]"""
        return self.tracks[name].values[None, : self.tracks[name].count]

    def lips(self) -> np.ndarray:
        """[T, 2] lip gap and mouth width in units of the distance of the eyes."""
        return self.track("lips")[0].numpy()

    def row(self, real: "Tally", heard: Tensor | None) -> Row:
        """All columns; who it is and what its mouth does are compared with the tally of the real video.

        ``heard``: the sync expert's vectors of the real sound, None where there is none or it is too short."""
        means = {name: total / self.weights[name] for name, total in self.sums.items()}
        row = {"psnr_db": float(-10 * np.log10(max(means.pop("mse"), 10 ** (-MAX_PSNR / 10))))} | means
        row |= {
            "flicker_std": self.moments.mean_std(),
            "flicker_mean_std": float(flicker_mean_std(self.track("level"))),
        }
        sharp = self.track("sharpness")
        row["sharpness"] = float(sharp.mean())
        ends = start_middle_end(sharp)
        row |= {f"sharpness_{part}": float(v) for part, v in zip(("start", "middle", "end"), ends, strict=True)}
        if "embedding" in self.tracks:
            row |= self.who(real.track("embedding")[:, 0])
        if "mouth_open" in self.tracks:
            row["mouth_r"] = float(pearson(self.track("mouth_open"), real.track("mouth_open"))[0])
        if "lips" in self.tracks:
            row |= lips_row(self.lips(), real.lips())
        if heard is not None:
            found = summarise_shifts(shift_distances(self.track("seen"), heard))
            row |= {f"sync_{name}": float(value) for name, value in found._asdict().items()}
            row["sync_in_step"] = float(abs(row["sync_offset"]) <= 1)
        return row

    def who(self, reference: Tensor) -> Row:
        """Identity columns against ``reference`` [1, D], and FEATURES."""
        row = identity_row(self.track("embedding"), reference, self.instruments.identity_every)
        return row | {FEATURES: row[FEATURES].tolist()}


def lips_row(lips: np.ndarray, real: np.ndarray) -> Row:
    """Lips [T, 2] against the real ones: ``mouth_r`` and what else ``RealLips`` says of them."""
    row = RealLips(real).row(lips)
    return {"mouth_r": row.pop("lips_r")} | {f"lips_{name}": value for name, value in row.items() if name != "in_step"}


class Videos:
    """The ROWS of a pair as blocks of pictures, in step."""

    def __init__(self, ready: ReadyPair, other: tuple[Path, Timeline] | None):
        self.ready = ready
        self.streams = {
            "generated": ready.frames(ready.pair.generated, ready.generated),
            "real": ready.frames(ready.pair.real, ready.real),
        }
        if other is not None:
            self.streams["swapped"] = ready.frames(*other, repeat=True)
        self.size = max(2, min(MAX_BLOCK, BLOCK_PIXELS // (ready.size[0] * ready.size[1])))

    def blocks(self):
        """(number of its first frame, {row: uint8 [n, H, W, 3]}) after each other; {row: ...} is read once."""
        past, first = None, None
        for begin in range(0, self.ready.num_frames, self.size):
            count = min(self.size, self.ready.num_frames - begin)
            rows = {name: np.stack(list(islice(stream, count))) for name, stream in self.streams.items()}
            real = rows["real"]
            first = real[:1] if first is None else first
            late = np.concatenate([np.repeat(first, SHIFT, 0) if past is None else past, real])
            past = late[-SHIFT:]
            sigma = BLUR * min(self.ready.size)
            rows["shifted"], rows["frozen"] = late[:count], np.repeat(first, count, 0)
            rows["blurred"] = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in real])
            yield begin, rows


def hear(net: nn.Module | None, ready: ReadyPair) -> Tensor | None:
    """Vectors [1, P, D] that the sync expert gives to the real sound; None without a net, a sound or enough frames."""
    if net is None or ready.wave is None or ready.num_frames < net.field + 2 * MAX_SHIFT:
        return None
    return net.hear(torch.from_numpy(log_mel(ready.wave))[None])


@torch.inference_mode()
def score(
    ready: ReadyPair, instruments: Instruments, other: tuple[Path, Timeline] | None = None
) -> tuple[dict[str, Row], dict[str, dict[str, list[float]]]]:
    """{row: {column: value}} of ROWS and, where landmarks read lips, ``loudness``; {track: {"real" | "generated":
    value per frame}} of the pair.

    ``other``: another real video; its row is left out without one.
    """
    box = ready.face_box()
    box = None if box is None else torch.from_numpy(box)
    tallies: dict[str, Tally] = defaultdict(lambda: Tally(instruments, box, ready.num_frames))
    before: dict[str, np.ndarray] = {}
    for begin, rows in Videos(ready, other).blocks():
        videos = {name: np.concatenate([before[name], new]) if begin else new for name, new in rows.items()}
        before = {name: new[-1:] for name, new in rows.items()}
        real = to_frames(videos["real"])[None]
        flow = real_flow(real)
        for name in ROWS:
            if name in videos:
                tallies[name].add(to_frames(videos[name])[None], real, begin, flow)
                tallies[name].add_faces(to_frames(ready.faces(rows[name])), begin)
    heard = hear(instruments.sync, ready)
    found = {name: tally.row(tallies["real"], heard) for name, tally in tallies.items()}
    if "lips" in tallies["real"].tracks and ready.wave is not None:
        guess = Loudness.stored().guess(features(log_mel(ready.wave)))
        found["loudness"] = lips_row(guess, tallies["real"].lips())
    shown = [name for name in ("mouth_open", "sharpness") if name in tallies["real"].tracks]
    tracks = {
        name: {who: [round(v, 6) for v in tallies[who].track(name)[0].tolist()] for who in ("real", "generated")}
        for name in shown
    }
    return found, tracks
