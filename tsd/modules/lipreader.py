"""Stage ``lipreader``: the lip reader by which evaluation measures viseme accuracy."""

import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import Clip
from tsd.modules.augmentation import worn
from tsd.modules.base import Stage
from tsd.nets.lipreader import LipReader
from tsd.nets.lower_face import lower_face


class LipReaderModule(Stage):
    """Cross-entropy against soft viseme labels, from real mouths and blurred, noisy and recoloured copies of them.

    Frames whose labels are all zero (unknown) do not count.
    """

    net: LipReader

    @staticmethod
    def labels(clip: Clip) -> Tensor:
        """[B, T, V]; refused where no frame of the batch has any."""
        if clip.viseme_labels is None or not clip.viseme_labels.any():
            raise ValueError("stage=lipreader needs clips whose visemes are known: see `viseme_source` in the manifest")
        return clip.viseme_labels

    def cross_entropy(self, mouths: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over known frames, and the logits [B, T, V]."""
        logits = self.net.read(mouths)
        log_p = F.log_softmax(logits.float(), -1)
        return -(labels * log_p).sum() / devices.mean(labels.sum()).clamp(min=1), logits

    def training_step(self, clip: Clip, _: int) -> Tensor:
        total, _ = self.cross_entropy(worn(lower_face(clip.frames)), self.labels(clip))
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        labels = self.labels(clip)
        total, logits = self.cross_entropy(lower_face(clip.frames), labels)
        right = (logits.argmax(-1) == labels.argmax(-1))[labels.sum(-1) > 0]
        self.log_dict({"val/total": total, "val/accuracy": right.float().mean()}, batch_size=len(clip), prog_bar=True)
        return {"logits": logits, "labels": labels}
