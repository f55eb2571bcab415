"""Generates the latents of one video with the student, in order, a few frames at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsd.diffusion import Schedule
from tsd.media.draws import unit_noise
from tsd.media.head_motion import frames_to_reference
from tsd.media.light import Light
from tsd.nets.interface import Appearance, Condition, FrameFeatures, Reference
from tsd.runtime.arrays import array, given, no_gradients
from tsd.runtime.canvas import Canvas

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Speaker:
    """A prepared reference: its picture and latent, motion [M], the features that every frame uses, and the canvas on
    which its frames are composed (None: frames are the decoder's own pictures)."""

    appearance: Appearance
    motion: Tensor | np.ndarray
    known: bool
    reference: Reference
    canvas: Canvas | None = None
    light: Light = Light()
    """Of the picture; the nets see it in usual light."""

    @property
    def latent(self) -> Tensor | np.ndarray:
        """[1, C, h, w]"""
        return self.appearance.latent

    def maps(self, motion: Tensor | np.ndarray) -> np.ndarray:
        """Where frames whose heads move as ``motion`` [T, M] look in the picture, [T, 2, 3]."""
        return frames_to_reference(array(motion), array(self.motion), self.known)

    def along(self, motion: Tensor | np.ndarray) -> Appearance:
        """The appearance in frames whose heads move as ``motion`` [T, M]."""
        return self.appearance.along(given(self.maps(motion)))


@dataclass
class Known:
    """Existing frames that are partly regenerated: their latents [T, C, h, w], and ``share`` [T, 1, h, w] in 0..1, how
    much of each position is generated."""

    latents: np.ndarray
    share: np.ndarray


@dataclass
class Part:
    """The next T frames of a video in progress: z [1, T, C, h, w] after the steps taken so far, the known frames, and
    the features of the conditioning, which the first step computes for all steps."""

    z: np.ndarray
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
        self.memories: list[list | None] = [None] * schedule.num_steps
        self.known = given(np.array([speaker.known]))
        self.noise = unit_noise(tuple(speaker.latent.shape), seed)[:, None]
        """The same for all frames, so that they differ only where speech and motion do."""

    def __call__(self, windows, motion, start=None, known: Known | None = None) -> Tensor | np.ndarray:
        """The next T frames' viseme windows [T, W, V] and motion [T, M] -> latents [T, C, h, w].

        ``start`` [T or 1, C, h, w]: start from these latents plus noise of the schedule's first strength, instead of
        from noise alone. ``known``: generate only a share of each position. Where the share is 0, the net sees the
        known latents plus the step's noise at every step, and the result is the known latents.
        """
        part = self.begin(windows, motion, start, known)
        for k in range(self.schedule.num_steps):
            self.step(part, k)
        return given(part.z[0])

    def begin(self, windows, motion, start=None, known: Known | None = None) -> Part:
        """The next T frames before their first step."""
        speaker = self.speaker
        windows, motion = (given(array(x)[None]) for x in (windows, motion))
        condition = Condition(windows, motion, self.known, speaker.latent, given(array(speaker.motion)[None]))
        strength = np.float32(self.schedule.strengths[0])
        z = np.repeat(strength * self.noise, windows.shape[1], 1)
        if start is not None:
            z = z + array(start)[None]
        if known is not None:
            known = Known(array(known.latents), array(known.share))
            z = z + (1 - known.share) * known.latents
        return Part(z, condition, known)

    def step(self, part: Part, k: int) -> None:
        """Step k of Algorithm 3 for a part, after its steps before k and after step k of the previous part."""
        speaker, known = self.speaker, part.known
        s = given(np.full(1, self.schedule.strengths[k], np.float32))
        with no_gradients():
            if part.frames is None:
                part.frames = self.student.read_frames(part.condition, speaker.reference)
            eps_hat, self.memories[k] = self.student.step(
                given(part.z), s, speaker.reference, part.frames, self.memories[k]
            )
        eps_hat = array(eps_hat)
        if known is not None:
            # Where latents are known, their noise is known too. A step with the true noise gives the known latents with
            # less noise, so the net's estimate is not needed there.
            eps_hat = self.noise + known.share * (eps_hat - self.noise)
        part.z = part.z - np.float32(self.schedule.etas[k]) * eps_hat
