"""Stage ``visemes``: speech to mouth shapes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import PHONEMES, VISEMES, Clip, openness
from tsd.modules.augmentation import other_voices
from tsd.modules.base import Stage
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
        lips_alone: learn how far recorded or drawn lips are open, from what the net hears already, and nothing else
            (``losses.concordance``, for nets with ``model.visemes.lips=true``).
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
        self.lips_alone, self.lips_gain = lips_alone, lips_gain
        if lips_alone:
            if net.to_lips is None:
                raise ValueError(
                    "stage.module.lips_alone=true trains a part that the net lacks: set model.visemes.lips=true"
                )
            net.requires_grad_(False).to_lips.requires_grad_(True)
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

    def lips(self, guess: Tensor, clip: Clip) -> Tensor:
        """How far the guessed ``openness`` [B, T] is from what is seen."""
        truth = self.lips_gain * openness(clip.mouth_open, clip.motion)
        return losses.concordance(guess, truth, truth.isfinite() & clip.motion_known[:, None])

    def training_step(self, clip: Clip, _: int) -> Tensor:
        hidden = self.net.hidden(other_voices(clip.mel))
        visemes = self.net.to_visemes(hidden).transpose(1, 2)
        total = self.cross_entropy(visemes, clip.viseme_labels * self.weights)
        if self.lips_alone:
            total = self.lips(self.net.to_lips(hidden)[:, 0], clip)
        elif self.helper is not None and clip.phoneme_labels is not None:
            phonemes = self.helper(hidden).transpose(1, 2)
            total = total + self.phonemes * self.cross_entropy(phonemes, clip.phoneme_labels)
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        heard, labels = self.net(clip.mel), clip.viseme_labels
        logits, guess = heard.split([len(VISEMES), heard.shape[-1] - len(VISEMES)], -1)
        known = labels.sum(-1) > 0
        right = (logits.argmax(-1) == labels.argmax(-1))[known].float().mean()
        total = self.lips(guess[..., 0], clip) if self.lips_alone else self.cross_entropy(logits, labels)
        self.log_dict({"val/total": total, "val/accuracy": right}, batch_size=len(clip), prog_bar=True)
        return {"logits": logits, "labels": labels}
