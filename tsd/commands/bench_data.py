"""What reading training data costs: ``python -m tsd.commands.bench_data``."""

import logging
import tempfile
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from tsd.bench.machine import describe, pinned
from tsd.bench.reading import WINDOW, decoders, drawn, to_markdown, training, window_sources
from tsd.commands.compose import command_line
from tsd.commands.errors import below_one, refuse
from tsd.data.datamodule import ClipDataModule
from tsd.evaluation.report import write_report
from tsd.modules.teacher import TeacherModule

log = logging.getLogger(__name__)


def time_training(cfg: DictConfig, root: Path, folder: Path) -> dict[str, float]:
    """``training`` with untrained nets of ``cfg.model``."""
    torch.manual_seed(0)
    vae, identity, net = (instantiate(cfg.model[name], _convert_="all") for name in ("vae", "identity", "teacher"))
    make_optimizer, loss = instantiate(cfg.optimizer), instantiate(cfg.loss, _convert_="all")
    frozen = {"vae": vae.eval(), "identity": identity.eval()}
    module = TeacherModule(net, loss, make_optimizer, schedule=instantiate(cfg.steps, _convert_="all"), **frozen)
    optimizer = make_optimizer(net.parameters())
    return training(module.train(), vae, optimizer, root, folder, cfg.model.resolution, cfg.train_steps)


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    refuse(below_one(cfg, "seconds", "size", "rounds", "windows", "train_steps", "threads"))


def run(cfg: DictConfig) -> dict:
    """Time everything, write ``out`` and the tables beside it, return the report."""
    check(cfg)
    with tempfile.TemporaryDirectory() as scratch, pinned(cfg.threads) as cores:
        folder = Path(scratch)
        root, video, num_frames = drawn(folder, cfg.seconds, cfg.size)
        root = Path(cfg.root) if cfg.root else root
        data = ClipDataModule(str(root), resolution=cfg.model.resolution, window=WINDOW)
        report = {
            "machine": describe(cores),
            "threads": cfg.threads,
            "seconds": cfg.seconds,
            "size": cfg.size,
            "decoders": decoders(video, num_frames, cfg.rounds),
            "windows": window_sources(data, cfg.windows),
            "training": time_training(cfg, root, folder / "latents"),
        }
    write_report(Path(cfg.out), report, None, to_markdown)
    return report


@command_line("bench/data")
def main(cfg: DictConfig) -> None:
    log.info("\n%s\n%s", to_markdown(run(cfg)), cfg.out)


if __name__ == "__main__":
    main()
