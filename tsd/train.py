"""Train one stage: ``python -m tsd.train stage=vae|visemes|identity|mouth|sync|lipreader|teacher|student``."""

import logging
import shutil
import warnings
from functools import partial
from inspect import signature
from pathlib import Path

import hydra
import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tsd import checkpoint
from tsd.command import user_errors
from tsd.prepare.latents import cache_latents
from tsd.resume import Requeue, Resume, SafeCheckpointIO, read_checkpoint

log = logging.getLogger(__name__)
for noisy in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
    logging.getLogger(noisy).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning.*")


def build(node: DictConfig, **kwargs):
    """Instantiate a config node with plain lists and dicts, so that no config object travels below this file."""
    built = instantiate(node, _convert_="all", **kwargs)
    if isinstance(built, partial):  # misspelt keys of a partial would only be noticed when it is called
        try:
            signature(built.func).bind_partial(*built.args, **built.keywords)
        except TypeError as error:
            raise ValueError(f"{node._target_}: {error}; see its arguments") from error
    return built


def frozen_nets(cfg: DictConfig, loss) -> dict:
    """The nets that the stage stands on, from the weights files of earlier stages."""
    unused = {"identity"} if not loss.identity else set()
    return {name: checkpoint.load(cfg.weights[name], name) for name in cfg.stage.needs if name not in unused}


def cached_latents(cfg: DictConfig, nets: dict) -> dict:
    """Encode the frames once where the stage trains on latents; what the DataModule then needs to know."""
    if cfg.data.latents is None or "vae" not in nets:
        return {"latents": None}
    vae_hash = checkpoint.file_hash(cfg.weights.vae)
    data = build(cfg.data, latents=None)
    data.setup("fit")
    for split, dataset in data.datasets.items():
        flip = split == "train" and cfg.data.flip
        cache_latents(nets["vae"].encode, dataset, cfg.data.latents, split, vae_hash, flip)
    return {"vae_hash": vae_hash}


def precision(wanted: str) -> str:
    """``auto``: bfloat16 where the processor computes in it, else float32."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported() else "32-true"


def train(cfg: DictConfig) -> Path:
    """Run one stage to its ``weights.safetensors`` and return that path. Finished runs are kept, cut ones resumed."""
    out, weights = Path(cfg.out), Path(cfg.out) / "weights.safetensors"
    if cfg.overwrite:
        weights.unlink(missing_ok=True)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    if weights.exists():
        log.info("%s is already there (overwrite=true trains it again)", weights)
        return weights

    L.seed_everything(cfg.seed, workers=True, verbose=False)
    loss = build(cfg.loss)
    nets = frozen_nets(cfg, loss)
    net = build(cfg.stage.net)
    if "teacher" in nets:
        checkpoint.check_latents(nets["vae"], nets["teacher"], cfg.weights.vae, cfg.weights.teacher)
    if "vae" in nets:
        checkpoint.check_latents(nets["vae"], net, cfg.weights.vae, f"model.{cfg.stage.name}")
    module = build(cfg.stage.module)(net=net, loss=loss, optimizer=build(cfg.optimizer), **nets)
    data = build(cfg.data, **cached_latents(cfg, nets))
    config = OmegaConf.to_container(cfg, resolve=True)
    callbacks = [c for c in build(cfg.callbacks).values() if c is not None]
    resume = Resume(out / "checkpoints", config, cfg.checkpoint_every)
    trainer = build(
        cfg.trainer,
        precision=precision(cfg.trainer.precision),
        val_check_interval=validation_interval(cfg.trainer.max_steps, cfg.trainer.val_check_interval),
        callbacks=[*callbacks, resume],
        plugins=[SafeCheckpointIO()],
        logger=list(build(cfg.logger).values()),
        default_root_dir=str(out),
    )
    log.info("stage %s: %.2f M parameters, up to %s steps, into %s", cfg.stage.name, size(net), trainer.max_steps, out)
    try:
        trainer.fit(module, data, ckpt_path=str(resume.path) if resume.path.exists() else None)
    except SystemExit as end:  # what Lightning makes of Ctrl-C
        raise end if isinstance(end, Requeue) else KeyboardInterrupt from None
    return finish(cfg, module, trainer, resume, weights)


def validation_interval(max_steps: int, wanted: int) -> int:
    """Steps between validations, at most ``wanted``, such that the last one comes at the end of the training.

    The learning rate is lowest there: weights of an earlier validation are worse than they need be.
    """
    rounds = -(-max_steps // wanted)
    return max_steps // rounds if max_steps > 0 else wanted


def size(net: torch.nn.Module) -> float:
    """Millions of parameters."""
    return sum(p.numel() for p in net.parameters()) / 1e6


def finish(cfg: DictConfig, module, trainer: L.Trainer, resume: Resume, weights: Path) -> Path:
    """Export the best checkpoint's net (the last one's where nothing was monitored)."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "") or resume.path
    module.load_state_dict(read_checkpoint(best)["state_dict"])
    card = {
        "steps": int(trainer.global_step),
        "seed": int(cfg.seed),
        "metrics": resume.metrics | {k: float(v) for k, v in trainer.callback_metrics.items()},
        "stands_on": {name: checkpoint.file_hash(cfg.weights[name]) for name in module.frozen},
        "loss": OmegaConf.to_container(cfg.loss, resolve=True),
    }
    if hasattr(module, "schedules"):
        card["schedules"] = {name: list(s.strengths) for name, s in module.schedules.items()}
    arguments = OmegaConf.to_container(cfg.stage.net, resolve=True)
    arguments.pop("_target_")
    checkpoint.save(weights, cfg.stage.name, module.net, arguments, card)
    log.info("wrote %s", weights)
    return weights


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@user_errors
def main(cfg: DictConfig) -> None:
    train(cfg)


if __name__ == "__main__":
    main()
