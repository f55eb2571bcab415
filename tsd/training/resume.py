"""A training killed at any moment goes on as if nothing had happened: what is kept, and how it reaches the disk."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from tsd.media.atomic import replacing


class Requeue(SystemExit):
    """SIGTERM came and the checkpoint is written: the process ends with 75 (EX_TEMPFAIL), start it again."""

    def __init__(self):
        super().__init__(os.EX_TEMPFAIL)


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints are written under another name and then renamed, and reading one never runs code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options=None) -> None:
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise OSError(f"{path}: the checkpoint was not written and the one before it is whole ({error})") from error

    def load_checkpoint(self, path: str | Path, map_location=None, weights_only=None) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A training checkpoint on the CPU. Raises ValueError for what is none: pickles of more than numbers, rests."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken zip or pickle raises has no common class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"{path} is no checkpoint of this project ({reason}): overwrite=true begins anew") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config", "random"} <= set(checkpoint):
        raise ValueError(f"{path} is no checkpoint of this project: overwrite=true begins anew")
    return checkpoint


def random_states() -> dict[str, Any]:
    """The states of every global generator, as tensors and plain numbers."""
    name, keys, *rest = np.random.get_state()
    states = {"torch": torch.get_rng_state(), "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest]}
    version, words, gauss = random.getstate()
    states["python"] = [version, list(words), gauss]
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """The reverse of ``random_states``."""
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])


class Resume(L.pytorch.callbacks.Checkpoint):
    """Writes ``<folder>/last.ckpt`` every ``every_n_steps``, at the end, and on SIGTERM, which then ends the process
    with ``Requeue``. Weights, EMA, optimiser, schedule, random states, position in the data and the callbacks' states
    are in it, and ``config``, plain values that say which run it belongs to.

    It is written at the end of a step, after the validation where one is due: Lightning, resumed from between the two,
    would leave the validation out. Give it last, so that the other callbacks have seen the step.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any], every_n_steps: int = 200):
        self.path, self.config, self.every_n_steps = Path(folder) / "last.ckpt", config, every_n_steps
        self.metrics: dict[str, float] = {}
        self.written_at, self.ended, self.random = 0, False, None
        self.terminated, self.requeue, self.stopped_early = False, False, False

    def on_fit_start(self, trainer, module):
        # What had stopped early does not go on; what had come to its last step does where more are asked for.
        trainer.should_stop = self.ended and (self.stopped_early or trainer.global_step >= trainer.max_steps > 0)

    def on_train_start(self, trainer, module):
        self.written_at = trainer.global_step
        if self.random is not None:
            set_random_states(self.random)
        else:  # again, for what came before (caching latents, meeting other devices) may have drawn numbers
            L.seed_everything(self.config["seed"], verbose=False)
        for logger in trainer.loggers:
            if hasattr(logger, "rewind"):
                logger.rewind(trainer.global_step)
        self.previous_handler = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_sigterm(self, *_):
        self.terminated = True

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.requeue:  # only now, when the loggers have the step that was written
            raise Requeue
        # The number that loggers are given. Resumed from a checkpoint that was written after a validation, Lightning is
        # one behind for good.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        accumulated = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        validates = trainer.enable_validation and (batch_idx + 1) % trainer.val_check_batch == 0
        if accumulated and not validates:
            self.write_if_due(trainer)

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.write_if_due(trainer)

    def write_if_due(self, trainer) -> None:
        terminated = trainer.strategy.reduce_boolean_decision(self.terminated, all=False)
        self.stopped_early = trainer.should_stop
        self.ended = trainer.should_stop or trainer.global_step >= trainer.max_steps
        if self.ended or terminated or trainer.global_step - self.written_at >= self.every_n_steps:
            self.written_at = trainer.global_step
            self.metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
            trainer.save_checkpoint(self.path, weights_only=False)
        self.requeue = terminated and not self.ended

    def on_train_end(self, trainer, module):
        signal.signal(signal.SIGTERM, self.previous_handler)

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self.ended, "stopped_early": self.stopped_early, "metrics": self.metrics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ended, self.metrics = bool(state["ended"]), dict(state["metrics"])
        self.stopped_early = bool(state.get("stopped_early", False))

    def on_save_checkpoint(self, trainer, module, checkpoint):
        checkpoint |= {"config": self.config, "random": random_states()}

    def on_load_checkpoint(self, trainer, module, checkpoint):
        self.random = checkpoint["random"]
