"""Is what was exported the chain it was made from? Differences of numbers, and of quality on validation clips."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.evaluation.clips import Chain, Instruments, Subject, denoise, find_strength, speak
from tsd.evaluation.clips.instruments import mouth_r, opening
from tsd.runtime.backends import available, open_graph
from tsd.runtime.talker import Talker
from tsd.weights.graphs import Graph

TOLERANCE = 1e-4
"""Of float32 graphs, over 1 + the size of what they compute."""

NOISY_PSNR = 25.71
"""What pictures have whose denoising is judged: the paper's Table 1."""


@torch.inference_mode()
def largest_difference(graph: Graph, model: bytes, backend: str) -> float:
    """Between a graph on a backend and PyTorch, |a - b| / (1 + |b|), for one stream and for several."""
    run, worst = open_graph(backend, model, threads=1), 0.0
    inputs = list(graph.example().values())
    for sizes in (inputs, [x[:1] for x in inputs]):
        ours = graph.function(*sizes)
        theirs = run(*(x.numpy() for x in sizes))
        for a, b in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
            worst = max(worst, float(((a - torch.from_numpy(b)).abs() / (1 + a.abs())).max()))
    return worst


@torch.inference_mode()
def noise_strength(talker: Talker, subjects: list[Subject]) -> float:
    """Of the noise with which these clips' pictures have NOISY_PSNR."""
    return find_strength(talker.vae.decode, [(s.z, s.noise(), s.appearance) for s in subjects], NOISY_PSNR)


@torch.inference_mode()
def quality(
    folder: Path, subjects: list[Subject], mouth: nn.Module | None, strength: float, steps: str
) -> dict[str, dict]:
    """{backend: {"psnr_db", "mouth_r"}} of an export on every backend that is here, ``torch`` first.

    psnr_db: denoising from ``strength`` with ``steps``, against torch's reconstructions; mouth_r: mouths of videos from
    noise against the truth, where that and the measuring net are there.
    """
    instruments, found = Instruments(mouth=mouth), {}
    chains = {name: Chain(Talker.load(folder, name), instruments=instruments) for name in available()}
    for name, chain in tqdm(chains.items(), desc="quality", unit="backend", delay=2):
        of_clips, schedule = {"psnr_db": [], "mouth_r": []}, chain.talker.schedule(steps)
        for subject in subjects:
            rows = denoise(chain, subject, strength, {steps: schedule.num_steps}, steps)
            of_clips["psnr_db"].append(rows[f"student.{steps}"]["psnr_db"])
            if mouth is not None and subject.truth.mouth_open is not None:
                video, _ = speak(chain.talker, subject.portrait, subject.visemes, schedule, subject.own_seed)
                opened = opening(instruments, to_frames(video))
                of_clips["mouth_r"].append(mouth_r(opened, subject.truth.mouth_open))
        found[name] = {key: float(np.mean(values)) if values else None for key, values in of_clips.items()}
    return found
