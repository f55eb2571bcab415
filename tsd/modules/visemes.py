"""Stage ``visemes``: speech to mouth shapes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd import devices
from tsd.clip import PHONEMES, VISEMES, Clip, openness
from tsd.metrics.mouth import pearson
from tsd.modules.augmentation import other_voices
from tsd.modules.base import Stage
from tsd.modules.lip_map import LipMap
from tsd.nets.visemes import VisemeNet

LIPS = ("PP", "FF")
"""Visemes at which lips meet or meet the teeth: rare, and most visible where they are missed."""


class VisemeModule(Stage):
    """Cross-entropy against soft viseme labels, on sound augmented by ``other_voices``.

    Frames whose labels are all zero (unknown) do not count.

    Args:
        lips: weight of LIPS in the loss; 1 treats all visemes alike. More raises their recall and lowers precision.
        phonemes: weight of a second cross-entropy, of the frames' phonemes, read from the same hidden values by a layer
            that is not kept. 0: none.
        lips_alone: only fit how far lips are open (``lip_map``) to what the clips show; nothing else is learned. For
            nets with ``model.visemes.lips=true``.
        lips_gain: what is seen times this is learned: for people who open their mouths less than others do.
        net, loss, optimizer: as in ``Stage``.
    """

    net: VisemeNet

    def __init__(
        self,
        net: VisemeNet,
        loss,
        optimizer,
        lips: float = 1.0,
        phonemes: float = 0.0,
        lips_alone: bool = False,
        lips_gain: float = 1.0,
    ):
        super().__init__(net, loss, optimizer)
        self.lips_gain, self.lip_map = lips_gain, None
        if lips_alone:
            if net.to_lips is None:
                raise ValueError(
                    "stage.module.lips_alone=true trains a part that the net lacks: set model.visemes.lips=true"
                )
            net.requires_grad_(False).to_lips.requires_grad_(True)
            self.lip_map = LipMap(net.to_lips.in_channels)
        if lips <= 0 or phonemes < 0:
            raise ValueError(f"stage.module: lips must be above 0 and phonemes 0 or more, got {lips} and {phonemes}")
        self.phonemes = phonemes
        if phonemes:
            self.helper = nn.Conv1d(net.to_visemes.in_channels, len(PHONEMES), 1)
        weights = torch.tensor([lips if name in LIPS else 1.0 for name in VISEMES])
        self.register_buffer("weights", weights, persistent=False)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits and labels [B, T, C] -> mean over the labels' mass."""
        return -(labels * F.log_softmax(logits.float(), -1)).sum() / devices.mean(labels.sum()).clamp(min=1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        if self.lip_map is not None:
            return self.learn_lips(clip)
        hidden = self.net.hidden(other_voices(clip.mel))
        visemes = self.net.to_visemes(hidden).transpose(1, 2)
        total = self.cross_entropy(visemes, clip.viseme_labels * self.weights)
        if self.helper is not None and clip.phoneme_labels is not None:
            phonemes = self.helper(hidden).transpose(1, 2)
            total = total + self.phonemes * self.cross_entropy(phonemes, clip.phoneme_labels)
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def learn_lips(self, clip: Clip) -> Tensor:
        """Show the clips to the map and take what it says by now; zero, for there is no gradient to follow."""
        opened = openness(clip.mouth_open, clip.motion)
        known = opened.isfinite() & clip.motion_known[:, None]
        self.lip_map.learn(self.net.eval().hidden(clip.mel), opened, known)
        weights, bias = self.lip_map.solve(self.lips_gain)
        with torch.no_grad():
            self.net.to_lips.weight.copy_(weights[None, :, None])
            self.net.to_lips.bias.copy_(bias[None])
        return 0 * self.net.to_lips.weight.sum()

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        heard, labels = self.net(clip.mel), clip.viseme_labels
        logits, guess = heard.split([len(VISEMES), heard.shape[-1] - len(VISEMES)], -1)
        known = labels.sum(-1) > 0
        right = (logits.argmax(-1) == labels.argmax(-1))[known].float().mean()
        total = self.cross_entropy(logits, labels)
        if self.lip_map is not None:
            r, _ = pearson(guess[..., 0], torch.where(clip.motion_known[:, None], clip.mouth_open, torch.nan))
            total = 1 - r.nanmean()
        self.log_dict({"val/total": total, "val/accuracy": right}, batch_size=len(clip), prog_bar=True)
        return {"logits": logits, "labels": labels}
