"""Stage ``sync``: the expert that says whether lips and sound are in step."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd.clip import Clip
from tsd.modules.base import Stage
from tsd.modules.visemes import VisemeModule
from tsd.nets.sync import SyncNet

TEMPERATURE = 0.07
"""As in MoCo and CLIP's start."""


class SyncModule(Stage):
    """InfoNCE both ways: of all moments of all windows of the batch, the mouth must find its own sound, the sound its
    own mouth. Negatives are the same window at every other shift, and other people's windows.

    With every moment a candidate the loss falls at once, where the binary loss of a pair sticks at ln 2 = 0.69.
    """

    net: SyncNet

    def contrast(self, clip: Clip, mouths: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """``total``: the loss; ``accuracy``: how often the right shift is the nearest inside the window, one moment
        alone; ``chance``, ``chance_accuracy``: the same of an expert that cannot tell moments apart."""
        moments = clip.frames.shape[1] - self.net.field + 1
        if moments < 2:
            raise ValueError(
                f"stage=sync compares shifts inside a window: data.window must be more than model.sync.field="
                f"{self.net.field}, got {clip.frames.shape[1]}"
            )
        seen, heard = self.net.read(mouths), self.net.hear(mel)
        similarity = seen.flatten(0, 1) @ heard.flatten(0, 1).T / TEMPERATURE
        own = torch.arange(len(similarity), device=similarity.device)
        total = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
        nearest = torch.einsum("npd,nqd->npq", seen, heard).argmax(2)
        accuracy = (nearest == own[:moments]).float().mean()
        chance = {"chance": math.log(len(own)), "chance_accuracy": 1 / moments}
        return {"total": total, "accuracy": accuracy, **{k: total.new_tensor(v) for k, v in chance.items()}}

    def training_step(self, clip: Clip, _: int) -> Tensor:
        values = self.contrast(clip, self.worn(self.net.cut(clip.frames)), VisemeModule.augment(self.heard(clip)))
        self.log_dict({f"train/{k}": v.detach() for k, v in values.items()}, batch_size=len(clip))
        return values["total"]

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        values = self.contrast(clip, self.net.cut(clip.frames), self.heard(clip))
        self.log_dict({f"val/{k}": v for k, v in values.items()}, batch_size=len(clip), prog_bar=True)
        return {"identity": clip.identity}

    @staticmethod
    def heard(clip: Clip) -> Tensor:
        if clip.mel is None:
            raise ValueError("stage=sync listens: set data.mel=true")
        return clip.mel

    @staticmethod
    def worn(mouths: Tensor) -> Tensor:
        """Mouths [B, T, 3, h, w] as a generator might give them: other colours and contrast, blurred, noisy."""
        draw = lambda *shape: torch.randn(len(mouths), 1, *shape, device=mouths.device)  # noqa: E731
        blurred = F.avg_pool2d(mouths.flatten(0, 1), 5, stride=1, padding=2, count_include_pad=False).view_as(mouths)
        mouths = torch.lerp(mouths, blurred, draw(1, 1, 1).abs().clamp(max=1))
        mouths = mouths * (1 + 0.2 * draw(1, 1, 1)) + 0.1 * draw(3, 1, 1)
        return mouths + 0.1 * draw(1, 1, 1) * torch.randn_like(mouths)
