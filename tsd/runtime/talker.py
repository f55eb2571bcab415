"""A face and speech in, frames out. Torch only: this is what an application imports."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsd import checkpoint
from tsd.clip import MELS_PER_FRAME, MOTION, VISEMES, to_frames, to_uint8, viseme_windows
from tsd.diffusion import Schedule, sample
from tsd.media.audio import log_mel
from tsd.nets.denoiser import Condition, Reference
from tsd.nets.vae import Appearance

REFERENCE_START = 5.0
"""Noise strength on the reference's latent when a video begins from it. Our choice."""


@dataclass
class Speaker:
    """A reference made ready: its picture and latent, motion [M], and the features every frame uses."""

    appearance: Appearance
    motion: Tensor
    known: bool
    reference: Reference

    @property
    def latent(self) -> Tensor:
        """[1, C, h, w]"""
        return self.appearance.latent


class Talker:
    """Visemes, student and VAE of one chain.

    >>> talker = Talker.load(vae, student, visemes, motion)                              # doctest: +SKIP
    >>> speaker, visemes = talker.speaker(crop, crop_motion), talker.visemes(wave)       # doctest: +SKIP
    >>> track = talker.motion(speaker, len(visemes))                                     # doctest: +SKIP
    >>> for z in talker.latents(speaker, visemes, track, talker.schedule("k2")):         # doctest: +SKIP
    ...     frames = talker.decode(z, speaker.appearance)                                # doctest: +SKIP
    """

    def __init__(self, vae, student, visemes=None, motion=None, schedules: dict[str, Schedule] | None = None):
        self.vae, self.student, self.recogniser, self.motion_bank = vae, student, visemes, motion
        self.schedules = schedules or {}

    @classmethod
    def load(cls, vae: str | Path, student: str | Path, visemes=None, motion=None, stage: str = "student") -> "Talker":
        """Read weights files; ``visemes`` and ``motion`` are needed only to speak, not to decode.

        ``stage="teacher"`` takes a teacher in the student's place."""
        net = checkpoint.load(student, stage)
        decoder = checkpoint.load(vae, "vae")
        checkpoint.check_latents(decoder, net, vae, student)
        card = checkpoint.read_header(student)["card"]
        try:
            schedules = {name: Schedule(tuple(s)) for name, s in card.get("schedules", {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{student} has a card with schedules that are none ({error}): train it again") from error
        return cls(
            decoder,
            net,
            checkpoint.load(visemes, "visemes") if visemes else None,
            checkpoint.load(motion, "motion") if motion else None,
            schedules,
        )

    def schedule(self, steps: str) -> Schedule:
        """The schedule the student was trained with under this name (``k1``, ``k2``, …)."""
        if steps not in self.schedules:
            known = ", ".join(self.schedules) or "none"
            raise ValueError(f"steps={steps}: the student's weights hold no such schedule; they hold {known}")
        return self.schedules[steps]

    @torch.inference_mode()
    def speaker(self, crop: np.ndarray, motion: np.ndarray | None) -> Speaker:
        """A face crop uint8 [R, R, 3] at the VAE's resolution and its motion [M] (None: unknown)."""
        appearance = self.vae.appearance(to_frames(crop)[None])
        known = motion is not None
        motion = torch.as_tensor(motion, dtype=torch.float32) if known else torch.zeros(len(MOTION))
        condition = self.condition(
            appearance.latent, motion, known, torch.zeros(1, 1, len(VISEMES)), motion[None, None]
        )
        return Speaker(appearance, motion, known, self.student.read_reference(condition))

    @staticmethod
    def condition(latent: Tensor, motion: Tensor, known: bool, visemes: Tensor, track: Tensor) -> Condition:
        """A batch of one: visemes [1, T, V], track [1, T, M]."""
        return Condition(viseme_windows(visemes), track, torch.tensor([known]), latent, motion[None])

    @torch.inference_mode()
    def visemes(self, wave: np.ndarray) -> Tensor:
        """Speech float32 [N] at 16 kHz -> viseme probabilities [T, V], T = ceil(N / 640)."""
        mel = torch.from_numpy(log_mel(wave))[None]
        assert mel.shape[1] % MELS_PER_FRAME == 0
        return self.recogniser(mel)[0].softmax(-1)

    def motion(self, speaker: Speaker, num_frames: int, seed: int = 0) -> Tensor:
        """A natural motion [T, M] that begins at the speaker's own; still where no bank or no landmarks are there."""
        if self.motion_bank is None or not speaker.known:
            return speaker.motion.expand(num_frames, -1)
        return self.motion_bank.replay(speaker.motion, num_frames, seed)

    def start(self, speaker: Speaker, schedule: Schedule) -> tuple[Tensor, Schedule]:
        """Begin from the reference instead of from noise: its latent, and the schedule from REFERENCE_START on."""
        return speaker.latent, schedule.starting_at(min(REFERENCE_START, schedule.strengths[0]))

    @torch.inference_mode()
    def latents(
        self,
        speaker: Speaker,
        visemes: Tensor,
        motion: Tensor,
        schedule: Schedule,
        seed: int = 0,
        start: Tensor | None = None,
        chunk: int = 8,
    ) -> Iterator[Tensor]:
        """Latents [<= chunk, C, h, w] in order, for visemes [T, V] and motion [T, M].

        Every frame starts from the same noise, seeded. ``start`` [T or 1, C, h, w]: begin from these latents with
        noise of the schedule's first strength added, instead of from noise alone. A causal net carries its
        memory from chunk to chunk, so the result does not depend on ``chunk``; any other net sees the whole.
        """
        shape = speaker.latent.shape
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))[:, None]
        windows = viseme_windows(visemes)
        num_frames = len(visemes)
        chunk = chunk if self.student.causal else num_frames
        memories: list[list[Tensor] | None] = [None] * schedule.num_steps
        known = torch.tensor([speaker.known])
        for begin in range(0, num_frames, chunk):
            here = slice(begin, min(begin + chunk, num_frames))
            condition = Condition(windows[None, here], motion[None, here], known, speaker.latent, speaker.motion[None])
            count = condition.motion.shape[1]
            z = schedule.strengths[0] * noise.expand(-1, count, -1, -1, -1)
            if start is not None:
                z = z + (start if len(start) == 1 else start[here])[None]

            def predict(z_s: Tensor, s: Tensor, k: int, condition=condition) -> Tensor:
                eps_hat, memories[k] = self.student(z_s, s, condition, speaker.reference, memories[k], True)
                return eps_hat

            yield sample(predict, z, schedule)[0]

    @torch.inference_mode()
    def decode(self, z: Tensor, appearance: Appearance) -> np.ndarray:
        """Latents [T, C, h, w] of a speaker of this appearance -> frames uint8 [T, H, W, 3]."""
        return to_uint8(self.vae.decode(z, appearance))
