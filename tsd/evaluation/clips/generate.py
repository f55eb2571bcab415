"""Speaking from pure noise, as ``tsd.sample`` does: the clip's own speech, and another person's in its place."""

import time

import numpy as np
import torch
from torch import Tensor

from tsd.clip import to_frames, to_uint8
from tsd.diffusion import Schedule
from tsd.evaluation.clips.chain import Chain, Portrait, Subject
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.instruments import BLOCK, Row, look
from tsd.media.marking.embed import Mark
from tsd.runtime.talker import Speaker, Talker

CHUNK = 25
"""Frames through the student at a time; what comes out does not depend on it."""


def make_ready(talker: Talker, portrait: Portrait) -> Speaker:
    """A portrait as the talker takes it: 8 bits per colour, as in a picture file."""
    motion = portrait.motion
    return talker.speaker(to_uint8(portrait.picture), None if motion is None else motion.numpy())


def speak(
    talker: Talker, portrait: Portrait, visemes: Tensor, schedule: Schedule, seed: int, every: int = 1
) -> tuple[np.ndarray, float]:
    """uint8 [ceil(T / every), R, R, 3]: every ``every``-th frame of the portrait saying ``visemes`` [T, V] from pure
    noise, the head moved by the bank; and the seconds it took, reference and decoding included."""
    begun = time.perf_counter()
    speaker = make_ready(talker, portrait)
    track = talker.motion(speaker, len(visemes), seed)
    with clock("speaking"):
        latents = torch.cat(list(talker.latents(speaker, visemes, track, schedule, seed, chunk=CHUNK)))
    with clock("decoding"):
        blocks = zip(latents[::every].split(BLOCK), track[::every].split(BLOCK), strict=True)
        frames = [talker.decode(block, speaker.along(motion)) for block, motion in blocks]
    return np.concatenate(frames), time.perf_counter() - begun


def runs(chain: Chain, steps: list[str], teacher: bool) -> dict[str, tuple[Talker, Schedule]]:
    """Who speaks: the student with each schedule, and ``teacher`` in the many steps of its own."""
    talker = chain.talker
    found = {name: (talker, talker.schedule(name)) for name in steps}
    if teacher:
        many = Talker(talker.vae, chain.teacher, talker.recogniser, talker.motion_bank)
        found["teacher"] = (many, chain.teacher_schedule)
    return found


@torch.inference_mode()
def generate(
    chain: Chain, subject: Subject, steps: list[str], teacher: bool, main: str
) -> tuple[dict[str, Row], np.ndarray]:
    """From pure noise: a row for each of ``runs``, and the frames uint8 [T, R, R, 3] of the schedule ``main``."""
    rows, kept = {}, None
    for name, (talker, schedule) in runs(chain, steps, teacher).items():
        video, seconds = speak(talker, subject.portrait, subject.visemes, schedule, subject.own_seed)
        rows[name] = look(chain.instruments, to_frames(video), subject.truth)
        rows[name] |= {"ms_per_frame": 1000 * seconds / len(video), "fps": len(video) / seconds}
        kept = video if name == main else kept
    return rows, kept


@torch.inference_mode()
def marked(chain: Chain, subject: Subject, video: np.ndarray) -> Row:
    """The row of generated frames uint8 [T, R, R, 3] with an invisible mark, as a user sees them."""
    frames = Mark(subject.own_seed)(video)
    return look(chain.instruments, to_frames(frames), subject.truth)


@torch.inference_mode()
def say_other(chain: Chain, subject: Subject, name: str) -> np.ndarray | None:
    """The same picture, head and noise saying another identity's visemes by the schedule ``name``: frames uint8
    [T, R, R, 3]. None where there is no other."""
    if subject.other is None:
        return None
    talker = chain.talker
    return speak(talker, subject.portrait, subject.other.visemes, talker.schedule(name), subject.own_seed)[0]
