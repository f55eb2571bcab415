"""Trainings of seconds: a corpus of discs, nets that fit a thimble, and the weights that the last stages stand on."""

import multiprocessing
import os
import sys
from pathlib import Path

import torch
from fakes import LATENT_CHANNELS, LATENT_SIDE, SIDE, awake
from mini_corpus import disc_corpus
from omegaconf import OmegaConf

from tsd.commands.compose import composed
from tsd.commands.train import main
from tsd.weights import checkpoint

# Trainings fork workers, and a process that holds the threads of other tests must not: the server that these are
# forked from has imported everything and computed nothing.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tsd.commands.train"])

SMALL = [
    "trainer.max_steps=12",
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
    disc_corpus(root / "corpus")
    cfg = composed("train", SMALL, [])
    for stage in STAGES:
        torch.manual_seed(STAGES.index(stage))
        arguments = {k: v for k, v in OmegaConf.to_container(cfg.model[stage], resolve=True).items() if k != "_target_"}
        net = awake(checkpoint.NETS[stage](**arguments))
        checkpoint.save(root / stage / "weights.safetensors", stage, net, arguments, {})
    return root


def arguments(root: Path, out: Path, *extra: str) -> list[str]:
    """Overrides of a training of seconds on top of ``ground(root)``."""
    weights = [f"weights.{stage}={root / stage / 'weights.safetensors'}" for stage in STAGES]
    return [f"out={out}", f"data.root={root / 'corpus'}", *weights, *SMALL, *extra]


def config(root: Path, out: Path, *extra: str):
    return composed("train", arguments(root, out, *extra), [])


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
