"""What makes a training step faster here: ``python -m tsd.commands.bench_training stage=teacher model=small``."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from tsd.bench.training import Way, compare, made_up_clip, to_markdown
from tsd.commands.compose import command_line
from tsd.evaluation.report import write_report
from tsd.weights.checkpoint import MEMORY_FORMAT

log = logging.getLogger(__name__)


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


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    if cfg.stage.name not in ("vae", "teacher"):
        raise ValueError(
            f"stage={cfg.stage.name}: must be vae or teacher; a student's step is a teacher's several times"
        )


def run(cfg: DictConfig) -> dict:
    """Compare on the processor and, where there is one, the GPU; writes ``training_<stage>`` .json and .md."""
    check(cfg)
    # A VAE is called by its parts, encoder and decoder, which a compiler of the whole does not see.
    compiles = cfg.stage.name != "vae"
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    torch.set_num_threads(cfg.threads)
    report = {
        "stage": cfg.stage.name,
        "model": cfg.model.name,
        "frames": cfg.data.batch_size * cfg.data.window,
        "threads": cfg.threads,
        "devices": {device: compare(partial(stepper, cfg), device, cfg.rounds, compiles) for device in devices},
    }
    path = Path(cfg.out) / f"training_{cfg.stage.name}.json"
    write_report(path, report, None, to_markdown)
    return report


@command_line("bench/training")
def main(cfg: DictConfig) -> None:
    log.info("\n%s", to_markdown(run(cfg)))


if __name__ == "__main__":
    main()
