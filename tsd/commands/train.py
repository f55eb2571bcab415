"""Train one stage: ``python -m tsd.commands.train stage=<one of conf/stage>``, such as vae, teacher or student."""

import json
import logging
import shutil
import traceback
import warnings
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from tsd import devices
from tsd.commands.compose import CONF, call, file_names, judge, override, plain
from tsd.commands.errors import user_errors
from tsd.data.latent_cache import cache_latents
from tsd.training import run_record
from tsd.training.check import refuse
from tsd.training.check.values import nodes
from tsd.training.job_folder import job_folder
from tsd.training.resume import Requeue, Resume, SafeCheckpointIO, read_checkpoint
from tsd.weights import checkpoint, needs

log = logging.getLogger(__name__)
for noisy in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
    logging.getLogger(noisy).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning.*")
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def build(node: DictConfig, **kwargs):
    """Instantiate a config node with plain lists and dicts, so that no config object travels below this file."""
    built = instantiate(node, _convert_="all", **kwargs)
    if isinstance(built, partial):  # misspelt keys of a partial would only be noticed when it is called
        try:
            signature(built.func).bind_partial(*built.args, **built.keywords)
        except TypeError as error:
            raise ValueError(f"{node._target_}: {error}; see its arguments") from error
    return built


ROWS = ("generate.", "follow.", "denoise.student.", "real.", "cross_identity.", "viseme_swap.")
CLOCKS = ("ms_per_frame", "fps")
"""What a busy machine changes: not part of a result."""

ENCODED_BY_GPU = 512
"""Frames that a GPU encodes at a time; a processor, fewer (``cache_latents``)."""


def cached_latents(cfg: DictConfig, nets: dict, weights: dict[str, Path]) -> dict:
    """Encode the frames once where the stage trains on latents; what the DataModule then needs to know."""
    if cfg.data.latents is None or "vae" not in nets:
        return {"latents": None}
    vae_hash = checkpoint.file_hash(weights["vae"])
    if cfg.data.stream:
        return {"latents": None, "vae_hash": vae_hash}
    folder = Path(cfg.data.latents) / vae_hash
    data = build(cfg.data, latents=None)
    data.setup("fit")
    on_gpu = {"device": "cuda", "batch_size": ENCODED_BY_GPU} if cfg.trainer.accelerator == "gpu" else {}
    if cfg.data.preload:
        data.decode_all()
    encode = nets["vae"].to(on_gpu.get("device", "cpu")).encode
    with run_record.only_one(folder, wait=True):  # jobs side by side need the same
        for split, dataset in data.datasets.items():
            flip = split == "train" and cfg.data.flip
            cache_latents(encode, dataset, folder, split, vae_hash, flip, **on_gpu)
    return {"latents": str(folder), "vae_hash": vae_hash, "memory": data.memory}


def precision(wanted: str, accelerator: str) -> str:
    """``auto``: bfloat16 where the device computes in it, else float32."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if devices.computes_bfloat16("cpu" if accelerator == "cpu" else "cuda") else "32-true"


def check(cfg: DictConfig) -> None:
    """All faults of the configuration in one error."""
    refuse(*plain(cfg))


def run(cfg: DictConfig) -> Path:
    """Run one stage to its ``weights.safetensors`` and return that path. Finished runs are kept, cut ones resumed.

    Raises ValueError or FileNotFoundError, before anything is built, for a configuration with faults, for stages below
    that are missing or do not fit, and for an ``out`` that holds another run.
    """
    check(cfg)
    config, _ = plain(cfg)
    below = needs.below(config)
    first = needs.first_weights(config)
    run = run_record.describe(config, below | first)
    out = Path(cfg.out)
    leads = rank_zero_only.rank == 0  # the other processes of a run on several devices follow it
    with run_record.only_one(out) if leads else nullcontext():
        if cfg.overwrite and leads:
            clear(out)
        run_record.check_same(out, run)
        if leads and run_record.goes_on(out, run):
            set_aside(out / "weights.safetensors")
        if leads:
            run_record.update(out, **run, error=None)
        if (out / "weights.safetensors").exists():
            log.info("%s is already there (overwrite=true trains it again)", out / "weights.safetensors")
        else:
            fit(cfg, config, below, first.get("init"), run)
        if cfg.evaluate and cfg.stage.name == "student":
            report_student(config, below)  # read again where it is there
    return out / "weights.safetensors"


def set_aside(weights: Path) -> None:
    """Give the weights of a run that goes on a name with their number of steps: weights-1200.safetensors."""
    if weights.is_file():
        steps = checkpoint.read_header(weights)["card"]["steps"]
        weights.rename(weights.with_name(f"weights-{steps}.safetensors"))
        log.info("%s goes on from step %d", weights.parent, steps)


def clear(out: Path) -> None:
    """Remove a run, and nothing else that may lie in its folder."""
    for name in ("weights.safetensors", "run.json", "logs/metrics.csv", "report.json"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def fit(cfg: DictConfig, config: dict, below: dict[str, Path], init: Path | None, run: dict) -> None:
    """Build the stage, train it from where it was, and export its weights."""
    out = Path(cfg.out)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    nets = {name: checkpoint.load(path, name) for name, path in below.items()}
    net = build(cfg.stage.net)
    decoder_only, added = bool(cfg.stage.module.get("decoder_only")), set()
    if init and decoder_only:
        checkpoint.take_latents(net, init)
    elif init:
        added = checkpoint.take_over(net, init, cfg.stage.name)
    net = net.to(memory_format=checkpoint.MEMORY_FORMAT)
    module = build(cfg.stage.module)(net=net, loss=build(cfg.loss), optimizer=build(cfg.optimizer), **nets)
    module.added = added
    if cfg.stage.module.get("taught"):
        module.learn_from(checkpoint.load(init, "vae"))
    data = build(cfg.data, pictures=module.pictures, **cached_latents(cfg, nets, below))
    callbacks = [c for c in build(cfg.callbacks).values() if c is not None]
    loggers = list(build(cfg.logger).values())
    resume = Resume(out / "checkpoints", config, cfg.checkpoint_every)
    accumulated = cfg.trainer.get("accumulate_grad_batches", 1)
    trainer = build(
        cfg.trainer,
        precision=precision(cfg.trainer.precision, cfg.trainer.accelerator),
        val_check_interval=validation_interval(cfg.trainer.max_steps, cfg.trainer.val_check_interval) * accumulated,
        callbacks=[*callbacks, resume],
        plugins=[SafeCheckpointIO()],
        logger=loggers,
        default_root_dir=str(out),
    )
    log.info("stage %s: %.2f M parameters, up to %s steps, into %s", cfg.stage.name, size(net), trainer.max_steps, out)
    hashes = {key: run[key] for key in ("id", "hash", "config", "data", "stands_on")}
    for logger in loggers:
        logger.log_hyperparams(config | {"run": hashes})
    try:
        trainer.fit(module, data, ckpt_path=str(resume.path) if resume.path.exists() else None)
        card = finish(cfg, module, trainer, resume, run)
        results = report_student(config, below) if cfg.evaluate and cfg.stage.name == "student" else {}
        for logger in (logger for logger in loggers if hasattr(logger, "log_summary")):
            logger.log_summary(card["metrics"] | results)
    except SystemExit as end:  # what Lightning makes of Ctrl-C
        raise end if isinstance(end, Requeue) else KeyboardInterrupt from None
    finally:
        for logger in (logger for logger in loggers if hasattr(logger, "close")):
            logger.close()


def numbers(report: dict[str, Any]) -> dict[str, float]:
    """The report's own names, such as "generate.k2.mouth_r", of the rows that tell students apart."""
    flat = {path: value for path, value in nodes(report) if isinstance(value, float) and path.startswith(ROWS)}
    return {path: value for path, value in flat.items() if not path.endswith(CLOCKS)}


def report_student(config: dict[str, Any], below: dict[str, Path]) -> dict[str, float]:
    """Evaluate the student in ``config["out"]`` on ``config["evaluate"]`` clips: report.json, tables and sheet, and the
    numbers in run.json. Instruments without weights are left out; a report that is there is read."""
    out = Path(config["out"])
    if not (out / "report.json").is_file():
        weights = {name: str(path) for name, path in config["weights"].items() if path and Path(path).is_file()}
        weights |= {name: str(path) for name, path in below.items()} | {"student": str(out / "weights.safetensors")}
        given = {f"weights.{name}": weights.get(name) for name in config["weights"]}
        given |= {f"data.{key}": config["data"][key] for key in ("root", "manifests")}
        # The folder is named after overrides, commas and all.
        given |= {"out": out / "report.json"}
        overrides = [override(key, value) for key, value in given.items()]
        call("evaluate", [*overrides, f"clips={config['evaluate']}"])
    values = numbers(json.loads((out / "report.json").read_text()))
    run_record.update(out, report=values)
    return values


def validation_interval(max_steps: int, wanted: int) -> int:
    """Steps between validations, at most ``wanted``, such that the last one comes at the end of the training.

    The learning rate is lowest there: weights of an earlier validation are worse than they need be.
    """
    rounds = -(-max_steps // wanted)
    return max_steps // rounds if max_steps > 0 else wanted


def size(net: torch.nn.Module) -> float:
    """Millions of parameters."""
    return sum(p.numel() for p in net.parameters()) / 1e6


def finish(cfg: DictConfig, module, trainer: L.Trainer, resume: Resume, run: dict) -> dict:
    """Export the best checkpoint's net (the last one's where nothing was monitored); returns its card."""
    keeper, weights = trainer.checkpoint_callback, Path(cfg.out) / "weights.safetensors"
    best = getattr(keeper, "best_model_path", "") or resume.path
    module.load_state_dict(read_checkpoint(best)["state_dict"])
    metrics = resume.metrics | {k: float(v) for k, v in trainer.callback_metrics.items()}
    score = getattr(keeper, "best_model_score", None)
    card = {
        "steps": int(trainer.global_step),
        "seed": int(cfg.seed),
        "people": cfg.data.people,
        "metrics": metrics,
        "score": float(score) if score is not None else metrics.get(cfg.stage.monitor),
        "run": {key: run[key] for key in ("hash", "config", "data")},
        "stands_on": {name: stage["hash"] for name, stage in run["stands_on"].items()},
        "loss": OmegaConf.to_container(cfg.loss, resolve=True),
    }
    if cfg.stage.module.get("decoder_only"):
        card["latents_of"] = checkpoint.latents_of(cfg.init)
    if hasattr(module, "schedules"):
        card["schedules"] = {name: list(s.strengths) for name, s in module.schedules.items()}
    arguments = OmegaConf.to_container(cfg.stage.net, resolve=True)
    arguments.pop("_target_")
    if trainer.is_global_zero:
        checkpoint.save(weights, cfg.stage.name, module.net, arguments, card, getattr(torch, cfg.stored))
    log.info("wrote %s", weights)
    return card


def job(cfg: DictConfig) -> float | None:
    """One job of a sweep: its score, or None with the traceback in its own log, so that the others go on."""
    hydra_cfg = HydraConfig.get()
    cfg.out = hydra_cfg.runtime.output_dir
    if cfg.trainer.accelerator == "gpu":  # jobs side by side: a device each
        cfg.trainer.devices = [hydra_cfg.job.num % max(1, torch.cuda.device_count())]
    overrides = [text.lstrip("+").partition("=") for text in hydra_cfg.overrides.task]
    run_record.update(cfg.out, overrides={key: value for key, _, value in overrides}, error=None)
    try:
        return checkpoint.read_header(run(cfg))["card"].get("score")
    except Exception as error:
        log.error("%s", traceback.format_exc())
        run_record.update(cfg.out, error=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
        return None


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
@user_errors
def start(cfg: DictConfig) -> float | None:
    """What Hydra calls: one training, or each job of a sweep, whose score a search wants."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return job(cfg)
    run(cfg)
    return None


@file_names
def main() -> None:
    if judge("train"):
        start()


if __name__ == "__main__":
    from tsd.commands.train import main  # by this name, other processes find what they are to run

    main()
