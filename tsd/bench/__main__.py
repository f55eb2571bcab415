"""What a trained chain costs: GFLOP counted per part, milliseconds per frame: ``python -m tsd.bench``."""

import json
import logging
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from tsd.clip import FPS, MOTION, SAMPLE_RATE, VISEMES
from tsd.command import user_errors
from tsd.prepare.manifests import write_atomic
from tsd.runtime.talker import Speaker, Talker

log = logging.getLogger(__name__)
COUNTED_FRAMES = 25
"""Frames over which FLOPs are counted: what is done once per call is then shared as in a real run."""
PRODUCT = 2048
"""Side of the square matrix product that stands for the machine's ceiling."""


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = [f"{key}={cfg[key]}: must be 1 or more" for key in ("frames", "rounds", "threads") if cfg[key] < 1]
    wrong += [f"chunks={list(cfg.chunks)}: must be numbers of 1 or more"] if min(cfg.chunks, default=0) < 1 else []
    wrong += ["schedules=[]: must name a schedule of the student, such as k2"] if not cfg.schedules else []
    wrong += [f"warmup={cfg.warmup}: must be 0 or more"] if cfg.warmup < 0 else []
    if wrong:
        raise ValueError("; ".join(wrong))


def made_up_speaker(talker: Talker, seed: int = 0) -> Speaker:
    """A speaker of random pixels: what a frame costs does not depend on what it shows."""
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 256, (talker.vae.resolution, talker.vae.resolution, 3), np.uint8)
    return talker.speaker(crop, rng.random(len(MOTION), np.float32))


@torch.inference_mode()
def count_gflop(talker: Talker) -> dict[str, float]:
    """GFLOP (a multiplication and an addition are two) of ``recogniser``, ``step`` and ``decoder`` per frame and of
    ``reference`` per video. Counted: convolutions, matrix products, attention."""
    speaker, frames = made_up_speaker(talker), COUNTED_FRAMES
    visemes = torch.zeros(frames, len(VISEMES))
    track = speaker.motion.expand(frames, -1)
    schedule = next(iter(talker.schedules.values()))
    latent = torch.zeros(frames, *speaker.latent.shape[1:])

    def gflop(work) -> float:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops() / 1e9

    steps = gflop(lambda: list(talker.latents(speaker, visemes, track, schedule, chunk=frames)))
    counted = {
        "step": steps / schedule.num_steps / frames,
        "decoder": gflop(lambda: talker.decode(latent, speaker.appearance)) / frames,
        "reference": gflop(lambda: made_up_speaker(talker)),
    }
    if talker.recogniser is not None:
        wave = np.zeros(frames * SAMPLE_RATE // FPS, np.float32)
        counted["recogniser"] = gflop(lambda: talker.visemes(wave)) / frames
    return counted


def peak_gflops(seconds: float = 1.0) -> float:
    """GFLOP per second of a large float32 matrix product with the threads that are set: the machine's ceiling."""
    a, b = torch.randn(2, PRODUCT, PRODUCT).unbind(0)
    best, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        a @ b
        best = max(best, 2 * PRODUCT**3 / 1e9 / (time.perf_counter() - start))
    return best


@dataclass(frozen=True)
class Setting:
    """One row: a schedule, E1 (frames out) or E2 (latents out), and how many frames are made at a time."""

    steps: str
    mode: str
    chunk: int


@torch.inference_mode()
def run_once(talker: Talker, speaker: Speaker, setting: Setting, frames: int) -> tuple[list[float], float]:
    """Milliseconds per frame of every chunk of ``frames`` frames, and seconds until the first one was there.

    Visemes are given: what recognising them costs is a row of its own.
    """
    visemes = torch.full((frames, len(VISEMES)), 1 / len(VISEMES))
    track = speaker.motion.expand(frames, -1)
    pieces = talker.latents(speaker, visemes, track, talker.schedule(setting.steps), chunk=setting.chunk)
    spent = []
    for begin in range(0, frames, setting.chunk):
        start = time.perf_counter()
        z = next(pieces)
        if setting.mode == "e1":
            talker.decode(z, speaker.appearance)
        spent.append(1000 * (time.perf_counter() - start) / min(setting.chunk, frames - begin))
    return spent, spent[0] * min(setting.chunk, frames) / 1000


def summary(spent: list[float], first: list[float]) -> dict[str, float]:
    """p50, p95, p99 of milliseconds per frame, frames per second at p50, median milliseconds to the first frame."""
    p50, p95, p99 = np.percentile(spent, [50, 95, 99])
    figures = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "fps": 1000 / p50}
    return {name: float(value) for name, value in (figures | {"first_frame_ms": 1000 * np.median(first)}).items()}


def measure(talker: Talker, settings: list[Setting], frames: int, rounds: int, warmup: int) -> dict[Setting, dict]:
    """Every setting timed over ``frames`` frames, a part of them in each round, all settings in turn."""
    speaker = made_up_speaker(talker)
    spent, first = ({setting: [] for setting in settings} for _ in range(2))
    for setting in settings:
        run_once(talker, speaker, setting, max(warmup, setting.chunk))
    for _ in tqdm(range(rounds), desc="timing", unit="round"):
        for setting in settings:
            times, begun = run_once(talker, speaker, setting, max(setting.chunk, -(-frames // rounds)))
            spent[setting] += times
            first[setting].append(begun)
    return {setting: summary(spent[setting], first[setting]) for setting in settings}


def time_recogniser(talker: Talker, seconds: float = 10.0, repeats: int = 5) -> float:
    """Milliseconds per frame that hearing costs, features included, over speech of ``seconds``."""
    wave = np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
    talker.visemes(wave)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        frames = len(talker.visemes(wave))
        times.append(1000 * (time.perf_counter() - begun) / frames)
    return float(np.median(times))


def bench(cfg: DictConfig) -> dict:
    """Count and time the chain of ``cfg.weights``; writes ``cfg.out`` and its table, returns the report."""
    check(cfg)
    threads = torch.get_num_threads()
    talker = Talker.load({stage: cfg.weights[stage] for stage in ("vae", "visemes", "student", "motion")})
    for name in cfg.schedules:
        talker.schedule(name)
    settings = [Setting(name, mode, chunk) for mode in ("e1", "e2") for chunk in cfg.chunks for name in cfg.schedules]
    try:
        torch.set_num_threads(cfg.threads)
        gflop = count_gflop(talker)
        ceiling = peak_gflops()
        rows = measure(talker, settings, cfg.frames, cfg.rounds, cfg.warmup)
        hearing = time_recogniser(talker)
    finally:
        torch.set_num_threads(threads)
    table = []
    for setting, row in rows.items():
        work = talker.schedule(setting.steps).num_steps * gflop["step"] + (setting.mode == "e1") * gflop["decoder"]
        table.append(vars(setting) | row | {"gflop": work, "of_peak": work / row["p50_ms"] * 1000 / ceiling})
    report = {
        "resolution": talker.vae.resolution,
        "threads": cfg.threads,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "backend": "torch float32",
        "peak_gflops": ceiling,
        "gflop": gflop,
        "recogniser_ms": hearing,
        "frames": cfg.frames,
        "rows": table,
    }
    path = Path(cfg.out)
    write_atomic(path.with_suffix(".md"), to_markdown(report).encode())
    write_atomic(path, (json.dumps(report, indent=2) + "\n").encode())
    return report


def to_markdown(report: dict) -> str:
    """Two tables: what is counted and what is timed."""
    counted = "\n".join(f"| {part} | {value:.4f} |" for part, value in report["gflop"].items())
    lines = [
        f"| {row['mode'].upper()} | {row['steps'][1:]} | {row['chunk']} | {row['p50_ms']:.2f} | {row['p95_ms']:.2f} | "
        f"{row['p99_ms']:.2f} | {row['fps']:.0f} | {row['first_frame_ms']:.1f} | {row['gflop']:.3f} | "
        f"{100 * row['of_peak']:.0f} % |"
        for row in report["rows"]
    ]
    side = report["resolution"]
    return (
        f"# Cost at {side} x {side}, {report['backend']}, {report['threads']} threads\n\n"
        f"| part | GFLOP a frame (reference: a video) |\n|---|---|\n{counted}\n\n"
        f"Hearing (features and recogniser): {report['recogniser_ms']:.2f} ms a frame. "
        f"A large float32 matrix product on this machine: {report['peak_gflops']:.0f} GFLOP/s.\n\n"
        "| | K | frames at a time | p50 ms | p95 ms | p99 ms | fps | first frame ms | GFLOP | of that product |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )


@hydra.main(version_base="1.3", config_path="../../conf", config_name="bench")
@user_errors
def main(cfg: DictConfig) -> None:
    report = bench(cfg)
    log.info("\n%s\n%s", to_markdown(report), cfg.out)


if __name__ == "__main__":
    main()
