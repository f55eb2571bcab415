"""Stage ``mouth``: the regressor that evaluation measures mouth opening with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd.clip import Clip
from tsd.modules.base import Stage
from tsd.nets.mouth import MouthNet


class MouthModule(Stage):
    """Mouth opening from real frames; blurred and noisy copies as well, for generated frames are a little of both."""

    net: MouthNet

    def error(self, frames: Tensor, truth: Tensor) -> Tensor:
        known = ~truth.isnan()
        return F.smooth_l1_loss(self.net(frames)[known], truth[known], beta=0.01)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        frames = clip.frames.flatten(0, 1)
        blurred = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
        mix = torch.rand(len(frames), 1, 1, 1, device=frames.device)
        frames = torch.lerp(frames, blurred, mix) + 0.05 * torch.randn_like(frames)
        total = self.error(frames, clip.mouth_open.flatten())
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        frames, truth = clip.frames.flatten(0, 1), clip.mouth_open.flatten()
        total = self.error(frames, truth)
        self.log("val/total", total, batch_size=len(clip), prog_bar=True)
        return {"opening": self.net(frames), "truth": truth}
