"""What a trained chain costs, counted and timed from sound to picture: ``python -m tsd.commands.bench``."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from tsd.bench.boards import board_ms
from tsd.bench.counting import count_frame, count_parts
from tsd.bench.machine import convolution_gflops, describe, pinned
from tsd.bench.parts import time_parts
from tsd.bench.tables import draw, to_markdown
from tsd.bench.timing import Setting, measure
from tsd.commands.compose import command_line
from tsd.commands.errors import below_one, refuse
from tsd.evaluation.report import write_report
from tsd.media.atomic import write_file
from tsd.runtime.backends import available, parse
from tsd.runtime.talker import Talker

log = logging.getLogger(__name__)
MODES = ("e1", "e2")


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = below_one(cfg, "frames", "rounds", "threads")
    wrong += [f"chunks={list(cfg.chunks)}: must be numbers of 1 or more"] if min(cfg.chunks, default=0) < 1 else []
    wrong += ["schedules=[]: must name a schedule of the student, such as k2"] if not cfg.schedules else []
    wrong += [f"warmup={cfg.warmup}: must be 0 or more"] if cfg.warmup < 0 else []
    for backend in cfg.backends or ():
        try:
            if backend != "auto":
                parse(backend)
        except ValueError as error:
            wrong.append(str(error))
    refuse(wrong)


def open_talkers(cfg: DictConfig) -> dict[str, Talker]:
    """{backend: talker}: of an export all that are here and ``auto``, of weights PyTorch alone."""
    if not cfg.export:
        stages = ("vae", "visemes", "student", "motion")
        return {"torch": Talker.load({stage: cfg.weights[stage] for stage in stages}, "torch")}
    names = cfg.backends or [*available(), "auto"]
    return {name: Talker.load(cfg.export, name, cfg.threads) for name in names}


def run(cfg: DictConfig) -> dict:
    """Count and time the chain of ``cfg.export`` or ``cfg.weights``; writes ``cfg.out``, its table and its picture
    beside it, and returns the report."""
    check(cfg)
    with pinned(cfg.threads) as cores:
        talkers = open_talkers(cfg)
        for name in cfg.schedules:
            next(iter(talkers.values())).schedule(name)
        counted = talkers.get("torch") or Talker.load(cfg.export, "torch")
        settings = [
            Setting(backend, mode, steps, chunk)
            for mode in MODES
            for chunk in cfg.chunks
            for steps in cfg.schedules
            for backend in talkers
        ]
        peak = convolution_gflops()
        timed, product = measure(talkers, settings, cfg.frames, cfg.rounds, cfg.warmup)
        parts = time_parts(talkers, list(cfg.chunks), cfg.rounds)
        peak = max(peak, convolution_gflops(), product)
        frame = {s: count_frame(counted, *s) for s in {(s.steps, s.mode, s.chunk) for s in settings}}
        gflop, machine = count_parts(counted), describe(cores)
    rows = []
    for setting, row in timed.items():
        work = frame[setting.steps, setting.mode, setting.chunk]
        rows.append(
            vars(setting) | row | {"gflop": work, "of_peak": work / row["gemm_equivalent_gflop"] * product / peak}
        )
    report = {
        "resolution": counted.vae.resolution,
        "threads": cfg.threads,
        "machine": machine,
        "product_gflops": product,
        "peak_gflops": peak,
        "gflop": gflop,
        "look_ahead_ms": counted.look_ahead_ms,
        "recogniser_ms": next(p["ms"] for p in parts if p["part"] == "recogniser" and p["chunk"] == max(cfg.chunks)),
        "auto": talkers["auto"].backends if "auto" in talkers else None,
        "frames": cfg.frames,
        "rounds": cfg.rounds,
        "rows": rows,
        "parts": parts,
        "board_ms_estimated": board_ms([row for row in rows if row["backend"] == rows[0]["backend"]]),
    }
    path = Path(cfg.out)
    write_file(path.with_suffix(".png"), draw(report))
    write_report(path, report, None, to_markdown)
    return report


@command_line("bench/chain")
def main(cfg: DictConfig) -> None:
    report = run(cfg)
    log.info("\n%s\n%s", to_markdown(report), cfg.out)


if __name__ == "__main__":
    main()
