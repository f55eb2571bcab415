"""Stages ``sync`` and ``sync_loss``: two lip sync experts, one for evaluation and one for the loss term ``sync``,
trained on different people."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd.clip import Clip
from tsd.losses import SYNC_TEMPERATURE
from tsd.modules.augmentation import other_voices, worn
from tsd.modules.base import Stage
from tsd.nets.lower_face import lower_face
from tsd.nets.sync import SyncNet


class SyncModule(Stage):
    """InfoNCE in both directions: among all moments of all windows of the batch, a mouth must find its own sound and a
    sound its own mouth. Negatives are other moments of the same window, and other people's windows.

    With all moments as candidates the loss falls at once. The binary loss of single pairs stays at ln 2 = 0.69.
    """

    net: SyncNet

    def contrast(self, clip: Clip, mouths: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """``total``: the loss; ``accuracy``: how often a moment's own sound is the nearest in its window; ``chance``,
        ``chance_accuracy``: both values of an expert that cannot tell moments apart."""
        moments = clip.frames.shape[1] - self.net.field + 1
        if moments < 2:
            raise ValueError(
                f"stage=sync compares shifts inside a window: data.window must be more than model.sync.field="
                f"{self.net.field}, got {clip.frames.shape[1]}"
            )
        seen, heard = self.net.read(mouths), self.net.hear(mel)
        similarity = seen.flatten(0, 1) @ heard.flatten(0, 1).T / SYNC_TEMPERATURE
        own = torch.arange(len(similarity), device=similarity.device)
        total = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
        nearest = torch.einsum("npd,nqd->npq", seen, heard).argmax(2)
        accuracy = (nearest == own[:moments]).float().mean()
        chance = {"chance": math.log(len(own)), "chance_accuracy": 1 / moments}
        return {"total": total, "accuracy": accuracy, **{k: total.new_tensor(v) for k, v in chance.items()}}

    def training_step(self, clip: Clip, _: int) -> Tensor:
        values = self.contrast(clip, worn(lower_face(clip.frames)), other_voices(self.heard(clip)))
        self.log_dict({f"train/{k}": v.detach() for k, v in values.items()}, batch_size=len(clip))
        return values["total"]

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        values = self.contrast(clip, lower_face(clip.frames), self.heard(clip))
        self.log_dict({f"val/{k}": v for k, v in values.items()}, batch_size=len(clip), prog_bar=True)
        return {"identity": clip.identity}

    @staticmethod
    def heard(clip: Clip) -> Tensor:
        if clip.mel is None:
            raise ValueError("stage=sync listens: set data.mel=true")
        return clip.mel
