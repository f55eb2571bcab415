"""GFLOP of a chain, counted by PyTorch: convolutions, matrix products, attention; two for a multiply and an add."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tsd.clip import FPS, MOTION, SAMPLE_RATE, VISEMES
from tsd.runtime.canvas import picture_canvas
from tsd.runtime.speaking import Speaker
from tsd.runtime.talker import Talker

COUNTED_FRAMES = 24
"""Frames over which FLOPs are counted: what is done once per call is then shared as in a real run."""

FACE = np.float32([[0.36, 0.42], [0.64, 0.42], [0.5, 0.57], [0.4, 0.72], [0.6, 0.72]])
"""Where eyes, nose and corners of the mouth of a framed face are, in units of the side."""


def made_up_speaker(talker: Talker, seed: int = 0) -> Speaker:
    """A speaker of random pixels, as large as the decoder's: what a frame costs does not depend on what it shows."""
    rng, side = np.random.default_rng(seed), talker.vae.resolution
    crop = rng.integers(0, 256, (side, side, 3), np.uint8)
    speaker = talker.speaker(crop, rng.random(len(MOTION), np.float32))
    to_unit = np.array([[1, 0, 0.5], [0, 1, 0.5]]) / side
    return replace(speaker, canvas=picture_canvas(crop, to_unit, FACE))


def made_up_speech(frames: int, seed: int = 0) -> np.ndarray:
    """Noise of so many frames, float32 [N] at 16 kHz."""
    return np.random.default_rng(seed).normal(0, 0.1, frames * SAMPLE_RATE // FPS).astype(np.float32)


def gflop(work: Callable) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def count_parts(talker: Talker) -> dict[str, float]:
    """GFLOP of ``recogniser``, ``frames`` (what all steps share), ``step`` and ``decoder`` per frame, of ``reference``
    per video."""
    speaker, frames = made_up_speaker(talker), COUNTED_FRAMES
    visemes = torch.zeros(frames, len(VISEMES))
    track = speaker.motion.expand(frames, -1)
    schedule = next(iter(talker.schedules.values()))
    latent = torch.zeros(frames, *speaker.latent.shape[1:])
    steps = gflop(lambda: list(talker.latents(speaker, visemes, track, schedule, chunk=frames)))
    condition = talker.condition(speaker.latent, speaker.motion, speaker.known, visemes[None], track[None])
    shared = gflop(lambda: talker.student.read_frames(condition, speaker.reference))
    counted = {
        "frames": shared / frames,
        "step": (steps - shared) / schedule.num_steps / frames,
        "decoder": gflop(lambda: talker.changes(latent, speaker.along(track))) / frames,
        "reference": gflop(lambda: made_up_speaker(talker)),
    }
    if talker.recogniser is not None:
        counted["recogniser"] = gflop(lambda: talker.visemes(made_up_speech(frames))) / frames
    return counted


def count_frame(talker: Talker, steps: str, mode: str, chunk: int) -> float:
    """GFLOP per frame from sound to picture (e2: to latents), as ``talker.stream`` does it."""
    talker.reference = made_up_speaker(talker)
    speech = made_up_speech(COUNTED_FRAMES)
    return gflop(lambda: list(talker.stream([speech], steps, chunk, mode=mode))) / COUNTED_FRAMES
