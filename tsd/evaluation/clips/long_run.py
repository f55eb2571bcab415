"""Minutes of speech from one picture: does the face hold?"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsd.clip import FPS, to_frames
from tsd.diffusion import Schedule
from tsd.evaluation.clips.chain import Chain, Portrait, clip_seed
from tsd.evaluation.clips.generate import CHUNK, make_ready
from tsd.evaluation.clips.instruments import BLOCK, Truth, look
from tsd.runtime.talker import Talker

WINDOW_SECONDS = 10
ENDS = {"id_ratio_end": "id_cosine", "sharpness_ratio_end": "sharpness", "flicker_ratio_end": "flicker_std"}
"""Last window over the first, ideal 1."""

SHOWN = ("id_cosine", "sharpness", "flicker_std", "temporal_l1", "motion", "mouth_r")


def windows(talker: Talker, portrait: Portrait, visemes: Tensor, schedule: Schedule, seed: int) -> Iterator[np.ndarray]:
    """The portrait saying ``visemes`` [N, V] as uint8 [<= 250, R, R, 3], WINDOW_SECONDS at a time; only one is held."""
    speaker = make_ready(talker, portrait)
    track = talker.motion(speaker, len(visemes), seed)
    kept: list[np.ndarray] = []
    chunks = talker.latents(speaker, visemes, track, schedule, seed, chunk=CHUNK)
    for z, motion in zip(chunks, track.split(CHUNK), strict=True):
        blocks = zip(z.split(BLOCK), motion.split(BLOCK), strict=True)
        kept += [talker.decode(block, speaker.along(moved)) for block, moved in blocks]
        if sum(map(len, kept)) == WINDOW_SECONDS * FPS:
            yield np.concatenate(kept)
            kept = []
    if kept:
        yield np.concatenate(kept)


@torch.inference_mode()
def long_run(
    chain: Chain, portrait: Portrait, visemes: Tensor, mouth_open: Tensor, schedule: Schedule, key: str, seed: int
) -> dict:
    """A causal student's ``visemes`` [N, V] (N a multiple of 250) from one picture: {"seconds", ENDS, "windows": rows}.

    ``mouth_open`` [N] is the truth of the speech, nan where unknown; ``key`` names picture and noise.
    """
    identity = chain.instruments.identity
    embedding = identity(portrait.picture[None]) if identity is not None else None
    rows, step = [], WINDOW_SECONDS * FPS
    spoken = windows(chain.talker, portrait, visemes, schedule, clip_seed(key, seed))
    bar = tqdm(total=len(visemes) // FPS, desc="long run", unit="s", leave=False, delay=1)
    with bar:
        for begin, frames in zip(range(0, len(visemes), step), spoken, strict=True):
            video = to_frames(frames)
            row = look(chain.instruments, video, Truth(video, mouth_open[begin : begin + step], embedding=embedding))
            rows.append({"second": begin / FPS} | {name: row[name] for name in SHOWN if name in row})
            bar.update(len(frames) // FPS)
    ends = {
        name: rows[-1][column] / rows[0][column] if rows[0][column] else float("nan")
        for name, column in ENDS.items()
        if column in rows[0]
    }
    return {"seconds": len(visemes) / FPS, **ends, "windows": rows}
