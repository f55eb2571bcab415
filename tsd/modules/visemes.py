"""Stage ``visemes``: speech to mouth shapes."""

import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import Clip
from tsd.modules.augmentation import other_voices
from tsd.modules.base import Stage
from tsd.nets.visemes import VisemeNet


class VisemeModule(Stage):
    """Cross-entropy against soft viseme labels, on sound augmented by ``other_voices``.

    Frames whose labels are all zero (unknown) do not count.
    """

    net: VisemeNet

    def cross_entropy(self, mel: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(self.net(mel).float(), -1)
        return -(labels * log_p).sum() / devices.mean(labels.sum()).clamp(min=1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        total = self.cross_entropy(other_voices(clip.mel), clip.viseme_labels)
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        logits = self.net(clip.mel)
        labels = clip.viseme_labels
        known = labels.sum(-1) > 0
        right = (logits.argmax(-1) == labels.argmax(-1))[known].float().mean()
        total = self.cross_entropy(clip.mel, labels)
        self.log_dict({"val/total": total, "val/accuracy": right}, batch_size=len(clip), prog_bar=True)
        return {"logits": logits, "labels": labels}
