"""Stage ``visemes``: speech to mouth shapes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd.clip import MELS, Clip
from tsd.modules.base import Stage
from tsd.nets.visemes import VisemeNet


class VisemeModule(Stage):
    """Cross-entropy against soft viseme labels, with sound that is louder, noisier, higher and gappier than heard.

    Frames whose labels are all zero (unknown) do not count.
    """

    net: VisemeNet

    def cross_entropy(self, mel: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(self.net(mel).float(), -1)
        known = labels.sum(-1)
        return -(labels * log_p).sum() / known.sum().clamp(min=1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        total = self.cross_entropy(self.augment(clip.mel), clip.viseme_labels)
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        logits = self.net(clip.mel)
        labels = clip.viseme_labels
        known = labels.sum(-1) > 0
        right = (logits.argmax(-1) == labels.argmax(-1))[known].float().mean()
        total = self.cross_entropy(clip.mel, labels)
        self.log_dict({"val/total": total, "val/accuracy": right}, batch_size=len(clip), prog_bar=True)
        return {"logits": logits, "labels": labels}

    @staticmethod
    def augment(mel: Tensor) -> Tensor:
        """mel [B, L, MELS]: gain, a tilt, shifted formants (other voices), noise, and a masked band."""
        b = len(mel)
        axis = torch.linspace(-1, 1, MELS, device=mel.device)
        draw = lambda scale: scale * torch.randn(b, 1, 1, device=mel.device)  # noqa: E731
        mel = mel + draw(0.3) + draw(0.2) * axis
        stretch = 1 + 0.08 * torch.randn(b, device=mel.device).clamp(-2, 2)
        places = ((axis + 1)[None] * stretch[:, None] - 1)[:, None].expand(-1, mel.shape[1], -1)
        rows = torch.linspace(-1, 1, mel.shape[1], device=mel.device)[None, :, None].expand_as(places)
        mel = F.grid_sample(
            mel[:, None], torch.stack([places, rows], -1), padding_mode="border", align_corners=True
        ).squeeze(1)
        mel = mel + draw(0.15).abs() * torch.randn_like(mel)
        start = torch.randint(0, MELS - 8, (b, 1, 1), device=mel.device)
        bands = torch.arange(MELS, device=mel.device)
        return mel.masked_fill((bands >= start) & (bands < start + 8), 0.0)
