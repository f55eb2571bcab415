"""What makes a training step faster here: steps on a made-up batch, every way in turn: precision, memory layout,
compilation, fused optimiser."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from tsd.bench.machine import Product
from tsd.clip import MELS, MELS_PER_FRAME, MOTION, VISEME_WINDOW, VISEMES, Clip
from tsd.evaluation.report import markdown_table


@dataclass(frozen=True)
class Way:
    """How a step is computed. ``planes``: weights in torch's usual layout instead of ``checkpoint.MEMORY_FORMAT``."""

    name: str
    precision: str = "float32"
    planes: bool = False
    compiled: bool = False
    fused: bool = False


WAYS = (
    Way("float32"),
    Way("float32, fused", fused=True),
    Way("float32, planes", planes=True),
    Way("float32, compiled", compiled=True),
    Way("bfloat16", "bfloat16"),
    Way("bfloat16, fused", "bfloat16", fused=True),
    Way("bfloat16, planes", "bfloat16", planes=True),
    Way("bfloat16, compiled", "bfloat16", compiled=True),
)
ON_GPU = (Way("float16", "float16"), Way("float16, compiled", "float16", compiled=True))
"""Half precision is emulated by processors."""


def made_up_clip(batch: int, frames: int, side: int, latent: tuple[int, int, int]) -> Clip:
    """A batch of noise with every field that a stage may ask for."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    yes = torch.ones(batch, dtype=torch.bool)
    return Clip(
        frames=noise(batch, frames, 3, side, side) * 2 - 1,
        reference=noise(batch, 3, side, side) * 2 - 1,
        visemes=noise(batch, frames, VISEME_WINDOW, len(VISEMES)),
        motion=noise(batch, frames, len(MOTION)),
        reference_motion=noise(batch, len(MOTION)),
        motion_known=yes,
        mismatch=~yes,
        identity=torch.arange(batch),
        key=[str(i) for i in range(batch)],
        start=torch.zeros(batch, dtype=torch.long),
        mel=noise(batch, frames * MELS_PER_FRAME, MELS),
        viseme_labels=noise(batch, frames, len(VISEMES)).softmax(-1),
        mouth_open=noise(batch, frames) * 0.1,
        mouth_box=torch.tensor([0.35, 0.6, 0.65, 0.85]).expand(batch, frames, 4).clone(),
        latents=noise(batch, frames, *latent) * 2 - 1,
        reference_latent=noise(batch, *latent) * 2 - 1,
        pair=torch.ones(batch, dtype=torch.long),
        flow=noise(batch, 2, side, side),
        visible=torch.ones(batch, 1, side, side),
    )


def compare(
    make_step: Callable[[Way, str], Callable[[], None]], device: str, rounds: int, compiles: bool
) -> list[dict]:
    """Steps per second of every way, and the seconds until its first step was done, compilation included.

    ``make_step``: a training step computed in a way on a device; ``compiles``: whether its net can be compiled whole.
    """
    ways, product = WAYS + (ON_GPU if device == "cuda" else ()), Product()
    ways = [way for way in ways if compiles or not way.compiled]
    steps, first = {}, {}
    for way in tqdm(ways, desc=f"first steps, {device}", unit="way"):
        begun = time.perf_counter()
        steps[way] = make_step(way, device)
        steps[way]()
        first[way] = time.perf_counter() - begun
    spent: dict[Way, list[float]] = {way: [] for way in ways}
    equivalents: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in tqdm(range(rounds), desc=f"steps, {device}", unit="round"):
        for way in ways:
            gflops = product.gflops()
            begun = time.perf_counter()
            steps[way]()
            spent[way].append(time.perf_counter() - begun)
            equivalents[way].append(spent[way][-1] * gflops)
    plain = float(np.median(spent[ways[0]]))
    return [
        {
            "way": way.name,
            "steps_per_second": 1 / float(np.median(spent[way])),
            "speed_up": plain / float(np.median(spent[way])),
            "gemm_equivalent_gflop": float(np.median(equivalents[way])),
            "first_step_seconds": first[way],
        }
        for way in ways
    ]


def to_markdown(report: dict) -> str:
    head = f"# A training step of stage={report['stage']}, model={report['model']}, {report['frames']} frames\n"
    for device, rows in report["devices"].items():
        keys = {"steps_per_second": ".2f", "speed_up": ".2f", "first_step_seconds": ".0f"}
        cells = [[row["way"], *(format(row[key], form) for key, form in keys.items())] for row in rows]
        table = markdown_table(["way", "steps a second", "speed-up", "seconds to the first"], cells)
        head += f"\n{device}:\n\n{table}\n"
    return head
