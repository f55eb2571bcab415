"""Stage ``mouth``: the regressor that evaluation measures mouth opening with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import Clip
from tsd.modules.base import Stage
from tsd.nets.mouth import MouthNet


class MouthModule(Stage):
    """Mouth opening from real frames; blurred and noisy copies as well, for generated frames are a little of both."""

    net: MouthNet

    @staticmethod
    def truth(clip: Clip) -> Tensor:
        """[B * T] true openings; nan where unknown."""
        if clip.mouth_open is None:
            raise ValueError(
                "stage=mouth needs clips whose mouth opening is known: make a corpus with source=synthetic"
            )
        return clip.mouth_open.flatten()

    def error(self, frames: Tensor, truth: Tensor) -> Tensor:
        """Mean over the frames whose opening is known; 0 if none is."""
        known = ~truth.isnan()
        error = F.smooth_l1_loss(self.net(frames)[known], truth[known], beta=0.01, reduction="sum")
        return error / devices.mean(known.sum().float()).clamp(min=1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        frames = clip.frames.flatten(0, 1)
        blurred = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
        shape = clip.frames.shape
        mix = devices.rand(*shape[:2], 1, 1, 1, device=frames.device).flatten(0, 1)
        noise = devices.randn(*shape, device=frames.device).flatten(0, 1)
        frames = torch.lerp(frames, blurred, mix) + 0.05 * noise
        total = self.error(frames, self.truth(clip))
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        frames, truth = clip.frames.flatten(0, 1), self.truth(clip)
        total = self.error(frames, truth)
        self.log("val/total", total, batch_size=len(clip), prog_bar=True)
        return {"opening": self.net(frames), "truth": truth}
