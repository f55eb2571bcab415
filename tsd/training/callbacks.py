"""What accompanies a training: metrics, pictures, compilation."""

from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image

from tsd.clip import to_uint8
from tsd.media.video import write_video
from tsd.metrics import PSNR, FlickerMeanStd, FlickerStd, TemporalL1
from tsd.nets.denoiser import Denoiser


def has_videos(outputs) -> bool:
    """Validation steps of the VAE, teacher and student give pictures; the others do not."""
    return isinstance(outputs, dict) and {"pred", "target"} <= set(outputs)


class VideoMetrics(L.Callback):
    """Logs ``val/psnr`` (dB), ``val/temporal_l1_ratio``, ``val/flicker_std_ratio`` and
    ``val/flicker_mean_std_ratio`` of predictions against targets, over validation clips. Ratios are ideal at 1."""

    def __init__(self):
        self.metrics = {
            "psnr": PSNR(),
            "temporal_l1_ratio": TemporalL1(),
            "flicker_std_ratio": FlickerStd(),
            "flicker_mean_std_ratio": FlickerMeanStd(),
        }

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if not has_videos(outputs):
            return
        pred, target = outputs["pred"].float().cpu(), outputs["target"].float().cpu()
        for name, metric in self.metrics.items():
            if pred.shape[1] > 2 or name == "psnr":  # two frames have one difference and no flicker
                metric.update(pred, target)

    def on_validation_epoch_end(self, trainer, module):
        for name, metric in self.metrics.items():
            if metric.update_count:
                module.log(f"val/{name}", metric.compute()[name]["mean"])
            metric.reset()


class ContactSheet(L.Callback):
    """Writes ``<folder>/<step>.png`` (targets above, predictions below) and ``<step>.mp4`` (side by side) at each
    validation, and shows both in loggers with ``log_pictures``. Only the newest ``keep`` are kept."""

    def __init__(self, folder: str, clips: int = 6, keep: int = 5):
        self.folder, self.clips, self.keep = Path(folder), clips, keep

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx or not has_videos(outputs) or not trainer.is_global_zero or trainer.sanity_checking:
            return
        pred, target = (to_uint8(outputs[k][: self.clips]) for k in ("pred", "target"))
        rows = []
        for p, t in zip(pred, target, strict=True):
            shown = np.linspace(0, len(p) - 1, min(4, len(p))).astype(int)
            rows.append(np.concatenate([np.concatenate(list(t[shown]), 1), np.concatenate(list(p[shown]), 1)], 0))
        self.folder.mkdir(parents=True, exist_ok=True)
        step = trainer.global_step
        sheet, video = self.folder / f"{step:07d}.png", self.folder / f"{step:07d}.mp4"
        half = (len(rows) + 1) // 2
        rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
        Image.fromarray(np.concatenate([np.concatenate(rows[:half], 0), np.concatenate(rows[half:], 0)], 1)).save(sheet)
        write_video(video, np.concatenate([np.concatenate(list(target), 2), np.concatenate(list(pred), 2)], 1))
        for old in sorted(self.folder.glob("*.png"))[: -self.keep] + sorted(self.folder.glob("*.mp4"))[: -self.keep]:
            old.unlink()
        for logger in trainer.loggers:
            if hasattr(logger, "log_pictures"):
                logger.log_pictures(sheet, video, step)


class Compile(L.Callback):
    """Compiles a denoiser that is trained, and a student's teacher, before their first step (``torch.compile``).

    For a GPU, which otherwise waits for thousands of small kernels a step. Validation, whose batches have other
    shapes, runs uncompiled. ValueError for other nets, which are small, or called by their parts, which a compiler does
    not see, and on a processor, where code that torch 2.11 generates for bfloat16 wrote outside its memory.
    """

    def on_fit_start(self, trainer, module):
        if not isinstance(module.net, Denoiser):
            raise ValueError("callbacks=compiled is for stage=teacher and stage=student: leave it out here")
        if trainer.strategy.root_device.type == "cpu":
            raise ValueError("callbacks=compiled is for a GPU: take trainer=gpu, or leave it out")
        for net in (module.net, module.frozen.get("teacher")):
            if net is not None:
                net.compile(dynamic=False)

    def on_validation_start(self, trainer, module):
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer, module):
        torch.compiler.set_stance("default")
