"""Trainings of seconds: a corpus of discs, nets that fit a thimble, and the weights that the last stages stand on."""

import multiprocessing
import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from compositions import quickly_composed
from fakes import LATENT_CHANNELS, LATENT_SIDE, SIDE, awake
from mini_corpus import disc_corpus
from omegaconf import OmegaConf

from tsd.commands.train import main, run
from tsd.training import resume
from tsd.training.loggers import read_rows
from tsd.weights import checkpoint

# Trainings fork workers, and a process that holds the threads of other tests must not: the server that these are
# forked from has imported everything and computed nothing.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tsd.commands.train"])

STEPS = 12
"""Of a training."""

SMALL = [
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=4",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "trainer.precision=32-true",
    "checkpoint_every=2",
    f"model.resolution={SIDE}",
    f"model.vae.latent_channels={LATENT_CHANNELS}",
    "model.vae.channels=[8,16]",
    "model.vae.decoder_blocks=1",
    "model.identity.channels=8",
    "model.mouth.channels=8",
    *(f"model.{stage}.channels=[8,8]" for stage in ("teacher", "student")),
    *(f"model.{stage}.latent_size={LATENT_SIDE}" for stage in ("teacher", "student")),
    "model.teacher.emb_channels=16",
    "model.student.emb_channels=16",
    "data.window=3",
    "data.batch_size=2",
    "data.windows_per_clip=1",
]
STAGES = ("vae", "identity", "teacher", "student")


def ground(root: Path) -> Path:
    """A corpus of four people in ``root/corpus``, and untrained weights of every stage in ``root/<stage>``."""
    return Path(shutil.copytree(untouched().name, root, dirs_exist_ok=True))


@cache
def untouched() -> TemporaryDirectory:
    """What ``ground`` copies, made once in a process, which takes twenty times as long."""
    folder = TemporaryDirectory(prefix="ground-")
    root = Path(folder.name)
    disc_corpus(root / "corpus")
    cfg = quickly_composed("train", SMALL)
    for stage in STAGES:
        torch.manual_seed(STAGES.index(stage))
        arguments = {k: v for k, v in OmegaConf.to_container(cfg.model[stage], resolve=True).items() if k != "_target_"}
        net = awake(checkpoint.NETS[stage](**arguments))
        checkpoint.save(root / stage / "weights.safetensors", stage, net, arguments, {})
    return folder


def arguments(root: Path, out: Path, *extra: str) -> list[str]:
    """Overrides of a training of seconds on top of ``ground(root)``."""
    weights = [f"weights.{stage}={root / stage / 'weights.safetensors'}" for stage in STAGES]
    return [f"out={out}", f"data.root={root / 'corpus'}", *weights, *SMALL, *extra]


def config(root: Path, out: Path, *extra: str):
    return quickly_composed("train", arguments(root, out, *extra))


def begun(act, *args) -> multiprocessing.Process:
    """``act(*args)`` in a process of its own, in this one's environment."""
    process = SERVER.Process(target=child, args=(dict(os.environ), act, args))
    process.start()
    return process


def child(environment: dict[str, str], act, args: tuple) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    act(*args)


def command(folder: Path, *argv: str) -> multiprocessing.Process:
    """``python -m tsd.commands.train argv`` in ``folder``; what it prints goes to ``<folder>/output``."""
    return begun(command_line, folder, argv)


def command_line(folder: Path, argv: tuple[str, ...]) -> None:
    os.chdir(folder)
    sys.stdout = sys.stderr = open("output", "w", buffering=1)  # noqa: SIM115
    sys.argv = ["train", *argv]
    sys.gettrace = lambda: None  # Hydra takes coverage for a debugger and would not exit
    main()


def ran(folder: Path, *argv: str) -> tuple[int, str]:
    """Exit code and output of ``command``."""
    process = command(folder, *argv)
    process.join()
    return process.exitcode, (folder / "output").read_text()


def steps_of(out: Path) -> int:
    return max((int(row["step"]) + 1 for row in read_rows(out / "logs" / "metrics.csv")), default=0)


def killed(cfg, number: int, at_step: int, later: float = 0.0) -> int:
    """Send the signal ``later`` seconds after a step; returns the steps done then, -1 if the run had ended before."""
    process = begun(run, cfg)
    while process.is_alive() and steps_of(Path(cfg.out)) < at_step:
        time.sleep(0.001)
    time.sleep(later)
    os.kill(process.pid, number)
    process.join()
    return -1 if process.exitcode == 0 else steps_of(Path(cfg.out))


def same(a, b) -> bool:
    """Bit for bit, all the way down."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def assert_identical(out: Path, expected: Path):
    ours, theirs = (resume.read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (out, expected))
    parts = ["state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "random"]
    for part in [*parts, "ClipDataModule", "global_step"]:
        assert same(ours[part], theirs[part]), part
    for name, state in ours["callbacks"].items():
        if not name.startswith("ModelCheckpoint"):  # its paths differ
            assert same(state, theirs["callbacks"][name]), name
    assert (out / "weights.safetensors").read_bytes() == (expected / "weights.safetensors").read_bytes()
    rows, wanted = (read_rows(folder / "logs" / "metrics.csv") for folder in (out, expected))
    assert [row for row in rows if row not in wanted] == []
    # Killed between the checkpoint of a step and the log of its losses, a run lacks that row.
    assert len(wanted) - len(rows) <= 1 and [r for r in rows if "val/total" in r] == [
        r for r in wanted if "val/total" in r
    ]
