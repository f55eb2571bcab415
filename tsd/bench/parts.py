"""Milliseconds of every part of a chain."""

from collections.abc import Callable

import torch

from tsd.bench.counting import made_up_speaker, made_up_speech
from tsd.bench.timing import in_turns
from tsd.clip import VISEMES
from tsd.media.audio import log_mel
from tsd.runtime.composing import Composer
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
    changes = talker.changes(z, along)
    composer = Composer(speaker.canvas, talker.vae.resolution, speaker.light, window=talker.vae.painted)
    return {
        "log-mel": (lambda: log_mel(speech), chunk),
        "recogniser": (lambda: recogniser.listen(mel, memory), chunk),
        "frames, for all steps": (lambda: student.read_frames(condition, speaker.reference), chunk),
        "step": (lambda: student.step(z[None], torch.ones(1), speaker.reference, frames), chunk),
        "decode": (lambda: talker.changes(z, along), chunk),
        "compose": (lambda: composer(*changes), chunk),
        "reference, per video": (lambda: made_up_speaker(talker), 1),
    }


@torch.inference_mode()
def time_parts(talkers: dict[str, Talker], chunks: list[int], rounds: int) -> list[dict]:
    """Median milliseconds per frame of every part, for each backend and chunk, all of them in turn."""
    work = {
        (name, chunk, part, frames): call
        for name, talker in talkers.items()
        for chunk in chunks
        for part, (call, frames) in parts_of(talker, chunk).items()
    }
    return [
        {"backend": name, "chunk": chunk, "part": part, "ms": ms / frames}
        for (name, chunk, part, frames), ms in in_turns(work, rounds).items()
    ]
