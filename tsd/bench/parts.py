"""Milliseconds of every part of a chain."""

import time
from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from tsd.bench.counting import made_up_speaker, made_up_speech
from tsd.clip import VISEMES, to_uint8
from tsd.media.audio import log_mel
from tsd.runtime.talker import Talker


@torch.inference_mode()
def parts_of(talker: Talker, chunk: int) -> dict[str, tuple[Callable, int]]:
    """{part: (what to call, how many frames that is)} for ``chunk`` frames at a time."""
    speaker, recogniser, student = made_up_speaker(talker), talker.recogniser, talker.student
    speech = made_up_speech(chunk)
    mel = torch.from_numpy(log_mel(speech))[None]
    memory = torch.zeros(1, recogniser.memory_size)
    visemes = torch.full((1, chunk, len(VISEMES)), 1 / len(VISEMES))
    track, z = speaker.motion.expand(chunk, -1), torch.randn(chunk, *speaker.latent.shape[1:])
    condition = talker.condition(speaker.latent, speaker.motion, speaker.known, visemes, track[None])
    frames = student.read_frames(condition, speaker.reference)
    along = speaker.along(track)
    pictures = talker.vae.decode(z, along)
    return {
        "log-mel": (lambda: log_mel(speech), chunk),
        "recogniser": (lambda: recogniser.listen(mel, memory), chunk),
        "frames, for all steps": (lambda: student.read_frames(condition, speaker.reference), chunk),
        "step": (lambda: student.step(z[None], torch.ones(1), speaker.reference, frames), chunk),
        "decode": (lambda: talker.vae.decode(z, along), chunk),
        "uint8": (lambda: to_uint8(pictures), chunk),
        "reference, per video": (lambda: made_up_speaker(talker), 1),
    }


@torch.inference_mode()
def time_parts(talkers: dict[str, Talker], chunks: list[int], rounds: int) -> list[dict]:
    """Median milliseconds per frame of every part, for each backend and chunk, all of them in turn."""
    work = {
        (name, chunk, part): call
        for name, talker in talkers.items()
        for chunk in chunks
        for part, call in parts_of(talker, chunk).items()
    }
    spent: dict[tuple, list[float]] = {key: [] for key in work}
    for _ in tqdm(range(rounds + 1), desc="timing parts", unit="round", delay=2):
        for key, (call, count) in work.items():
            begun = time.perf_counter()
            call()
            spent[key].append(1000 * (time.perf_counter() - begun) / count)
    return [
        {"backend": name, "chunk": chunk, "part": part, "ms": float(np.median(times[1:]))}
        for (name, chunk, part), times in spent.items()
    ]
