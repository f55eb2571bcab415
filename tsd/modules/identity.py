"""Stage ``identity``: a face embedder, for use where published weights are not available."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import Clip
from tsd.modules.base import Stage
from tsd.nets.identity import IdentityNet

TEMPERATURE = 0.1


class IdentityModule(Stage):
    """InfoNCE: a frame must find another frame of its own person among the batch (other people are negatives)."""

    net: IdentityNet

    def contrast(self, clip: Clip, frames: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.net(frames).float(), self.net(reference).float()
        similarity = a @ b.T / TEMPERATURE
        same = clip.identity[:, None] == clip.identity[None]
        other_clip_same_person = same & ~torch.eye(len(clip), dtype=torch.bool, device=same.device)
        similarity = similarity.masked_fill(other_clip_same_person, -torch.inf)
        target = torch.arange(len(clip), device=a.device)
        return F.cross_entropy(similarity, target), (similarity.argmax(1) == target).float().mean()

    def training_step(self, clip: Clip, _: int) -> Tensor:
        def noisy(x: Tensor) -> Tensor:
            noise = devices.randn(*x.shape, device=x.device) * devices.randn(len(x), 1, 1, 1, device=x.device)
            return (x + 0.1 * noise).clamp(-1, 1)

        total, accuracy = self.contrast(clip, noisy(clip.frames[:, 0]), noisy(clip.reference))
        self.log_dict({"train/total": total, "train/accuracy": accuracy}, batch_size=len(clip), prog_bar=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        total, accuracy = self.contrast(clip, clip.frames[:, 0], clip.reference)
        self.log_dict({"val/total": total, "val/accuracy": accuracy}, batch_size=len(clip), prog_bar=True)
        return {"identity": clip.identity}
