"""Generates the latents of one video with the student, in order, a few frames at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tsd.diffusion import Schedule, advance
from tsd.media.light import Light
from tsd.nets.affine import frame_to_reference
from tsd.nets.denoiser import Condition, FrameFeatures, Reference
from tsd.nets.vae import Appearance
from tsd.runtime.canvas import Canvas


@dataclass
class Speaker:
    """A prepared reference: its picture and latent, motion [M], the features that every frame uses, and the canvas on
    which its frames are composed (None: frames are the decoder's own pictures)."""

    appearance: Appearance
    motion: Tensor
    known: bool
    reference: Reference
    canvas: Canvas | None = None
    light: Light = Light()
    """Of the picture; the nets see it in usual light."""

    @property
    def latent(self) -> Tensor:
        """[1, C, h, w]"""
        return self.appearance.latent

    def along(self, motion: Tensor) -> Appearance:
        """The appearance in frames whose heads move as ``motion`` [T, M]."""
        return self.appearance.along(frame_to_reference(motion[None], self.motion[None], torch.tensor([self.known])))


@dataclass
class Known:
    """Existing frames that are partly regenerated: their latents [T, C, h, w], and ``share`` [T, 1, h, w] in 0..1, how
    much of each position is generated."""

    latents: Tensor
    share: Tensor


@dataclass
class Part:
    """The next T frames of a video in progress: z [1, T, C, h, w] after the steps taken so far, the known frames, and
    the features of the conditioning, which the first step computes for all steps."""

    z: Tensor
    condition: Condition
    known: Known | None
    frames: FrameFeatures | None = None


class Speaking:
    """Latents of one speaker, from visemes and motion. The state is a causal student's memory of the last frames per
    layer and step. So a video may have any length, and its latents do not depend on how it is cut into parts.

    Call it part by part (all steps of each), or call ``begin`` and ``step``; then every step must see the parts in
    order.
    """

    def __init__(self, student, speaker: Speaker, schedule: Schedule, seed: int = 0):
        self.student, self.speaker, self.schedule = student, speaker, schedule
        self.memories: list[list[Tensor] | None] = [None] * schedule.num_steps
        self.known = torch.tensor([speaker.known])
        self.noise = torch.randn(speaker.latent.shape, generator=torch.Generator().manual_seed(seed))[:, None]
        """The same for all frames, so that they differ only where speech and motion do."""

    @torch.inference_mode()
    def __call__(
        self, windows: Tensor, motion: Tensor, start: Tensor | None = None, known: Known | None = None
    ) -> Tensor:
        """The next T frames' viseme windows [T, W, V] and motion [T, M] -> latents [T, C, h, w].

        ``start`` [T or 1, C, h, w]: start from these latents plus noise of the schedule's first strength, instead of
        from noise alone. ``known``: generate only a share of each position. Where the share is 0, the net sees the
        known latents plus the step's noise at every step, and the result is the known latents.
        """
        part = self.begin(windows, motion, start, known)
        for k in range(self.schedule.num_steps):
            self.step(part, k)
        return part.z[0]

    @torch.inference_mode()
    def begin(self, windows: Tensor, motion: Tensor, start: Tensor | None = None, known: Known | None = None) -> Part:
        """The next T frames before their first step."""
        speaker = self.speaker
        condition = Condition(windows[None], motion[None], self.known, speaker.latent, speaker.motion[None])
        z = self.schedule.strengths[0] * self.noise.expand(-1, len(windows), -1, -1, -1)
        if start is not None:
            z = z + start[None]
        if known is not None:
            z = z + (1 - known.share) * known.latents
        return Part(z, condition, known)

    @torch.inference_mode()
    def step(self, part: Part, k: int) -> None:
        """Step k of a part, after its steps before k and after step k of the previous part."""
        speaker, known = self.speaker, part.known
        if part.frames is None:
            part.frames = self.student.read_frames(part.condition, speaker.reference)

        def predict(z_s: Tensor, s: Tensor, k: int) -> Tensor:
            eps_hat, self.memories[k] = self.student.step(z_s, s, speaker.reference, part.frames, self.memories[k])
            # Where latents are known, their noise is known too. A step with the true noise gives the known latents with
            # less noise, so the net's estimate is not needed there.
            return eps_hat if known is None else torch.lerp(self.noise.expand_as(z_s), eps_hat, known.share)

        part.z = advance(predict, part.z, self.schedule, k)
