"""What is done to one clip to judge a chain of weights: denoising, speaking from noise, control rows.

Every protocol gives rows, ``{row: {column: value of this clip}}``; ``tsd.report`` says what they mean over
clips. Columns ``temporal_l1``, ``flicker_*`` and ``sharpness`` become ratios to the row ``recon`` there.
"""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import trange

from tsd.clip import MOTION, Clip, to_frames, to_uint8
from tsd.diffusion import S_MAX, S_MIN, Schedule, karras_schedule, sample
from tsd.metrics import (
    embed_frames,
    flicker_mean_std,
    flicker_std,
    identity_cosines,
    pearson,
    psnr,
    sharpness,
    slope_per_minute,
    start_middle_end,
    temporal_l1,
)
from tsd.nets.vae import Appearance
from tsd.runtime.talker import Talker

VERSION = 2
"""Raise it when a protocol changes: partial results of another version are not used."""

BLOCK = 8
"""Frames through the VAE and the instruments at a time: fits the processor's cache."""

CHUNK = 25
"""Frames through the student at a time; what comes out does not depend on it."""

FACE = (0.20, 0.12, 0.80, 0.91)
"""x0 y0 x1 y1 of the part of every frame whose sharpness counts, in units of the side: where faces lie on
average in canonical framing. One fixed box for all rows, because no true box exists for a generated face."""

SHIFT = 3
BLUR = 1 / 32
"""Control rows: frames that ``shifted`` comes too late; sigma of ``blurred`` in units of the side. Our choice."""

STRENGTH_STEPS = 14
"""Halvings of the range of ln s: s is then known to 0.06 %, the PSNR to 0.005 dB."""

TEACHER_STEPS = 20

Row = dict[str, float]


@dataclass
class Chain:
    """The nets under test, and the two measuring instruments; what is None leaves its rows or columns out."""

    talker: Talker
    teacher: nn.Module | None = None
    mouth: nn.Module | None = None
    identity: nn.Module | None = None

    def encode(self, frames: Tensor) -> Tensor:
        """[T, 3, R, R] -> [T, C, h, w]."""
        return torch.cat([self.talker.vae.encode(block) for block in frames.split(BLOCK)])

    def decode(self, z: Tensor, appearance: Appearance) -> Tensor:
        """[T, C, h, w] of one speaker -> [T, 3, R, R] in [-1, 1]."""
        return torch.cat([self.talker.vae.decode(block, appearance) for block in z.split(BLOCK)])

    def visemes(self, mel: Tensor) -> Tensor:
        """What the recogniser hears: log-mel [T * 4, 80] -> probabilities [T, V]."""
        return self.talker.recogniser(mel[None])[0].softmax(-1)


@dataclass
class Subject:
    """One clip of T frames, made ready once for all protocols."""

    key: str
    frames: Tensor
    """[T, 3, R, R] the real frames."""
    z: Tensor
    recon: Tensor
    appearance: Appearance
    """Of the reference: its picture [1, 3, R, R] and latent."""
    reference_motion: Tensor | None
    visemes: Tensor
    """[T, V] recognised from the clip's own sound."""
    other_visemes: Tensor | None
    """[T, V] recognised from the sound of another identity; None where the split holds only one."""
    mouth_open: Tensor
    """[T] the truth; nan where unknown."""
    embedding: Tensor | None
    """[1, D] of the reference."""
    seed: int

    @classmethod
    @torch.inference_mode()
    def of(cls, chain: Chain, clip: Clip, other_mel: Tensor | None, seed: int) -> "Subject":
        """``clip`` as ``whole_clip`` gives it (a batch of one, with its sound)."""
        frames = clip.frames[0]
        z, appearance = chain.encode(frames), chain.talker.vae.appearance(clip.reference)
        visemes = chain.visemes(clip.mel[0])
        other = None
        if other_mel is not None:  # over and over where it is shorter
            other = chain.visemes(other_mel)
            other = other[torch.arange(len(frames)) % len(other)]
        return cls(
            key=clip.key[0],
            frames=frames,
            z=z,
            recon=chain.decode(z, appearance),
            appearance=appearance,
            reference_motion=clip.reference_motion[0] if clip.motion_known[0] else None,
            visemes=visemes,
            other_visemes=other,
            mouth_open=clip.mouth_open[0] if clip.mouth_open is not None else torch.full((len(frames),), torch.nan),
            embedding=chain.identity(clip.reference) if chain.identity is not None else None,
            seed=seed,
        )

    def noise(self) -> Tensor:
        """Unit noise [T, C, h, w], fresh in every frame, the clip's own whatever is evaluated beside it."""
        return clip_noise(self.key, self.z.shape, self.seed)


def clip_seed(key: str, seed: int) -> int:
    """The seed of everything random about one clip."""
    return zlib.crc32(f"{seed} {key}".encode())


def clip_noise(key: str, shape, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(clip_seed(key, seed)))


def temporal(video: Tensor) -> Row:
    """How the picture moves, [T, 3, R, R]."""
    measures = {"temporal_l1": temporal_l1, "flicker_std": flicker_std, "flicker_mean_std": flicker_mean_std}
    return {name: float(measure(video[None])) for name, measure in measures.items()}


def opening(chain: Chain, video: Tensor, subject: Subject) -> float:
    """Correlation over time of the mouth opening measured in ``video`` and the true one of the clip."""
    measured = torch.cat([chain.mouth(block) for block in video.split(BLOCK)])
    return float(pearson(measured[None], subject.mouth_open[None])[0])


def look(chain: Chain, video: Tensor, subject: Subject) -> Row:
    """Everything that is asked of a video by itself: movement, sharpness, who it is, what its mouth says."""
    row = temporal(video)
    sharp = sharpness(video[None], torch.tensor(FACE).expand(1, len(video), 4))
    start, _, end = start_middle_end(sharp)
    row |= {"sharpness": float(sharp.mean()), "sharpness_start": float(start), "sharpness_end": float(end)}
    if chain.identity is not None:
        cosines = identity_cosines(embed_frames(chain.identity, video[None]), subject.embedding)
        start, _, end = start_middle_end(cosines)
        row |= {"id_cosine": float(cosines.mean()), "id_cosine_p5": float(cosines.quantile(0.05))}
        row |= {"id_cosine_start": float(start), "id_cosine_end": float(end)}
        row |= {"id_cosine_slope": float(slope_per_minute(cosines))}
    if chain.mouth is not None:
        row["mouth_r"] = opening(chain, video, subject)
    return row


def find_strength(decode: Callable, probes: list[tuple[Tensor, Tensor, Appearance]], target: float) -> float:
    """The noise strength s at which the mean over clips of PSNR(decode(z + s eps, a), decode(z, a)) is ``target`` dB.

    ``probes``: z and eps [n, C, h, w] of some frames of each clip, and its appearance a. Bisection over ln s, in
    S_MIN..S_MAX, since the PSNR falls with s. ValueError where the target lies outside what this VAE gives there.
    """
    with torch.inference_mode():
        clean = [decode(z, appearance) for z, _, appearance in probes]

        def noisy_psnr(s: float) -> float:
            noisy = (decode(z + s * eps, appearance) for z, eps, appearance in probes)
            return float(np.mean([float(psnr(x[None], y[None])) for x, y in zip(noisy, clean, strict=True)]))

        best, worst = noisy_psnr(S_MIN), noisy_psnr(S_MAX)
        if not worst < target < best:
            raise ValueError(
                f"noisy_psnr={target:g}: with this VAE, noise of strength {S_MIN:g}..{S_MAX:g} gives "
                f"{best:.2f}..{worst:.2f} dB; choose a value between"
            )
        low, high = np.log(S_MIN), np.log(S_MAX)
        for _ in trange(STRENGTH_STEPS, desc="finding the noise strength", leave=False, delay=1):
            middle = (low + high) / 2
            low, high = (middle, high) if noisy_psnr(float(np.exp(middle))) > target else (low, middle)
    return float(np.exp((low + high) / 2))


def equal_steps(strength: float, num_steps: int) -> Schedule:
    """K steps of one size from ``strength`` to 0: s_k = s (1 - k / K)."""
    return Schedule(tuple(strength * (1 - k / num_steps) for k in range(num_steps)))


@torch.inference_mode()
def denoise(chain: Chain, subject: Subject, strength: float, steps: dict[str, int]) -> dict[str, Row]:
    """Table 1 of the paper: rows ``noisy``, ``teacher`` (one evaluation) and ``student.<name>`` for each K of
    ``steps``, by Algorithm 3 in equal steps from ``strength``; all against ``recon``. As in the paper, the nets
    know the reference and the (recognised) visemes, and nothing of the head's motion."""
    z_s = subject.z + strength * subject.noise()
    unknown = torch.zeros(len(MOTION))
    track = unknown.expand(1, len(z_s), -1)
    condition = Talker.condition(subject.appearance.latent, unknown, False, subject.visemes[None], track)

    def score(z: Tensor) -> Row:
        video = chain.decode(z, subject.appearance)
        return {"psnr_db": float(psnr(video[None], subject.recon[None]))} | temporal(video)

    rows = {"noisy": score(z_s)}
    runs = [("teacher", chain.teacher, 1)] if chain.teacher is not None else []
    runs += [(f"student.{name}", chain.talker.student, num_steps) for name, num_steps in steps.items()]
    for name, net, num_steps in runs:
        reference = net.read_reference(condition)

        def predict(z: Tensor, s: Tensor, _: int, net=net, reference=reference) -> Tensor:
            return net(z, s, condition, reference)

        rows[name] = score(sample(predict, z_s[None], equal_steps(strength, num_steps))[0])
        rows[name]["psnr_gain_db"] = rows[name]["psnr_db"] - rows["noisy"]["psnr_db"]
    return rows


def speak(talker: Talker, subject: Subject, visemes: Tensor, schedule: Schedule) -> tuple[np.ndarray, float]:
    """Frames uint8 [T, R, R, 3] of the reference saying ``visemes`` from pure noise, as ``tsd.sample`` makes them,
    the head moved by the bank; and the seconds they took, reference and decoding included."""
    begun = time.perf_counter()
    motion = subject.reference_motion
    speaker = talker.speaker(to_uint8(subject.appearance.picture[0]), None if motion is None else motion.numpy())
    seed = clip_seed(subject.key, subject.seed)
    track = talker.motion(speaker, len(visemes), seed)
    latents = torch.cat(list(talker.latents(speaker, visemes, track, schedule, seed, chunk=CHUNK)))
    frames = [talker.decode(block, speaker.appearance) for block in latents.split(BLOCK)]
    return np.concatenate(frames), time.perf_counter() - begun


@torch.inference_mode()
def generate(chain: Chain, subject: Subject, steps: list[str], teacher: bool) -> tuple[dict, dict[str, np.ndarray]]:
    """From pure noise: a row for each schedule of the student, and ``teacher`` in many steps; and their frames.

    ``mouth_r_shuffled``: the same picture and seed saying another identity's visemes, against this clip's truth.
    """
    talker = chain.talker
    runs = {name: (talker, talker.schedule(name)) for name in steps}
    if teacher:
        many = Talker(talker.vae, chain.teacher, talker.recogniser, talker.motion_bank)
        runs["teacher"] = (many, karras_schedule(TEACHER_STEPS))
    rows, videos = {}, {}
    for name, (speaking, schedule) in runs.items():
        videos[name], seconds = speak(speaking, subject, subject.visemes, schedule)
        row = look(chain, to_frames(videos[name]), subject)
        if chain.mouth is not None and subject.other_visemes is not None:
            other, _ = speak(speaking, subject, subject.other_visemes, schedule)
            row["mouth_r_shuffled"] = opening(chain, to_frames(other), subject)
        num_frames = len(subject.frames)
        rows[name] = row | {"ms_per_frame": 1000 * seconds / num_frames, "fps": num_frames / seconds}
    return rows, videos


@torch.inference_mode()
def controls(chain: Chain, subject: Subject) -> dict[str, Row]:
    """What the columns say of videos whose faults are known: real, reconstructed, too late by SHIFT frames,
    the reference repeated, blurred."""
    real = subject.frames
    late = (torch.arange(len(real)) - SHIFT).clamp_min(0)
    sigma = BLUR * real.shape[-1]
    blurred = to_frames(np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in to_uint8(real)]))
    videos = {
        "real": real,
        "recon": subject.recon,
        "shifted": real[late],
        "frozen": subject.appearance.picture.expand_as(real),
        "blurred": blurred,
    }
    rows = {name: look(chain, video, subject) for name, video in videos.items()}
    for name in rows.keys() - {"recon"}:
        rows[name]["psnr_db"] = float(psnr(videos[name][None], subject.recon[None]))
    return rows
