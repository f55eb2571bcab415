"""What makes a training step faster here: ``python -m tsd.bench.training stage=teacher model=small``.

Steps on a made-up batch, every way in turn: precision, memory layout, compilation, fused optimiser.
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm

from tsd.bench.machine import Product
from tsd.checkpoint import MEMORY_FORMAT
from tsd.clip import MELS, MELS_PER_FRAME, MOTION, VISEME_WINDOW, VISEMES, Clip
from tsd.command import user_errors
from tsd.report import write_report

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """How a step is computed. ``planes``: weights in torch's usual layout instead of the one of ``tsd.checkpoint``."""

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


def stepper(cfg: DictConfig, way: Way, device: str) -> Callable[[], None]:
    """One training step of ``cfg.stage`` in this way, with new nets."""
    torch.manual_seed(cfg.seed)

    def build(node, **extra):
        return instantiate(node, _convert_="all", **extra)

    frozen = {name: build(cfg.model[name]).eval() for name in cfg.stage.needs}
    net = build(cfg.stage.net)
    module = build(cfg.stage.module)(net=net, loss=build(cfg.loss), optimizer=build(cfg.optimizer), **frozen).to(device)
    for part in module.frozen.values():
        part.to(device)
    module.net.to(memory_format=torch.contiguous_format if way.planes else MEMORY_FORMAT)
    if way.compiled:
        module.net.compile()
    optimizer = build(cfg.optimizer, fused=way.fused)(module.net.parameters())
    vae = cfg.model.vae
    size = cfg.model.resolution // 2 ** len(vae.channels)
    shape = (vae.latent_channels, size, size)
    clip = made_up_clip(cfg.data.batch_size, cfg.data.window, cfg.model.resolution, shape).to(device)
    half = torch.autocast(device, getattr(torch, way.precision)) if way.precision != "float32" else nullcontext()

    def step() -> None:
        with half:
            total = module.loss.total(module.step_losses(clip))
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def compare(cfg: DictConfig, device: str, rounds: int) -> list[dict]:
    """Steps per second of every way, and the seconds until its first step was done, compilation included."""
    ways, product = WAYS + (ON_GPU if device == "cuda" else ()), Product()
    # A VAE is called by its parts, encoder and decoder, which a compiler of the whole does not see.
    ways = [way for way in ways if not (way.compiled and cfg.stage.name == "vae")]
    steps, first = {}, {}
    for way in tqdm(ways, desc=f"first steps, {device}", unit="way"):
        begun = time.perf_counter()
        steps[way] = stepper(cfg, way, device)
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
        lines = [
            f"| {r['way']} | {r['steps_per_second']:.2f} | {r['speed_up']:.2f} | {r['first_step_seconds']:.0f} |"
            for r in rows
        ]
        head += f"\n{device}:\n\n| way | steps a second | speed-up | seconds to the first |\n|---|---|---|---|\n"
        head += "\n".join(lines) + "\n"
    return head


def run(cfg: DictConfig) -> dict:
    """Compare on the processor and, where there is one, the GPU; writes ``training_<stage>`` .json and .md."""
    if cfg.stage.name not in ("vae", "teacher"):
        raise ValueError(
            f"stage={cfg.stage.name}: must be vae or teacher; a student's step is a teacher's several times"
        )
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    torch.set_num_threads(cfg.threads)
    report = {
        "stage": cfg.stage.name,
        "model": cfg.model.name,
        "frames": cfg.data.batch_size * cfg.data.window,
        "threads": cfg.threads,
        "devices": {device: compare(cfg, device, cfg.rounds) for device in devices},
    }
    path = Path(cfg.out) / f"training_{cfg.stage.name}.json"
    write_report(path, report, None, to_markdown)
    return report


@hydra.main(version_base="1.3", config_path="../../conf", config_name="bench_training")
@user_errors
def main(cfg: DictConfig) -> None:
    log.info("\n%s", to_markdown(run(cfg)))


if __name__ == "__main__":
    main()
