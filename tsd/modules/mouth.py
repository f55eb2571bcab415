"""Stage ``mouth``: the regressor that evaluation measures mouth opening with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import VISEME_PAST, VISEME_WINDOW, VISEMES, Clip
from tsd.modules.base import Stage
from tsd.nets.mouth import MouthNet

RIDGE = 1.0
"""Frames that say "nothing is known" against which all others count: keeps the least squares solvable at first."""

PATIENCE = 20
"""Batches without any drawn mouth after which there is none in the corpus."""


class MouthModule(Stage):
    """Mouth opening from real frames; blurred and noisy copies as well, for generated frames are a little of both.

    Nobody knows how far a recorded mouth is open, but what it says. So recorded frames, between drawn ones whose
    opening is known, are taken to be as open as drawn mouths are on average that say the same: least squares from the
    visemes around a frame to the true openings of all drawn frames met so far. Our choice.
    """

    net: MouthNet

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        size = VISEME_WINDOW * len(VISEMES) + 1
        self.register_buffer("squares", torch.zeros(size, size))
        self.register_buffer("products", torch.zeros(size))

    @staticmethod
    def truth(clip: Clip) -> Tensor:
        """[B * T] true openings; nan where unknown."""
        if clip.mouth_open is None:
            return clip.frames.new_full((len(clip) * clip.frames.shape[1],), torch.nan)
        return clip.mouth_open.flatten()

    @staticmethod
    def speech(clip: Clip) -> tuple[Tensor, Tensor]:
        """What is said around every frame, [B * T, W * V + 1], and [B * T] bool: it is known."""
        visemes = clip.visemes[..., : len(VISEMES)].flatten(0, 1)
        constant = torch.ones_like(visemes[:, 0, :1])
        return torch.cat([visemes.flatten(1), constant], 1), visemes[:, VISEME_PAST].sum(-1) > 0

    def learn_speech(self, clip: Clip) -> None:
        """How far drawn mouths are open that say something."""
        (said, heard), truth = self.speech(clip), self.truth(clip)
        known = heard & ~truth.isnan()
        said, truth = said[known], truth[known]
        self.squares += devices.mean(said.T @ said)
        self.products += devices.mean(said.T @ truth)

    def openings(self, clip: Clip) -> Tensor:
        """[B * T] true openings, else those usual for what is said; nan where neither is known."""
        (said, heard), truth = self.speech(clip), self.truth(clip)
        if not self.squares.any():
            return truth
        usual = said @ torch.linalg.solve(self.squares + RIDGE * torch.eye(len(self.squares)).to(said), self.products)
        return torch.where(truth.isnan() & heard, usual, truth)

    def error(self, frames: Tensor, opening: Tensor) -> Tensor:
        """Mean over the frames whose opening is known; 0 if none is."""
        known = ~opening.isnan()
        error = F.smooth_l1_loss(self.net(frames)[known], opening[known], beta=0.01, reduction="sum")
        return error / devices.mean(known.sum().float()).clamp(min=1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        self.learn_speech(clip)
        if self.global_step >= PATIENCE and not self.squares.any():
            raise ValueError(
                f"data.root: {PATIENCE} batches held no clip whose mouth opening is known, which stage=mouth needs; "
                "make a corpus with source=synthetic, by itself or joined with recordings (docs/data.md)"
            )
        frames = clip.frames.flatten(0, 1)
        blurred = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
        shape = clip.frames.shape
        mix = devices.rand(*shape[:2], 1, 1, 1, device=frames.device).flatten(0, 1)
        noise = devices.randn(*shape, device=frames.device).flatten(0, 1)
        frames = torch.lerp(frames, blurred, mix) + 0.05 * noise
        total = self.error(frames, self.openings(clip))
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        frames, opening = clip.frames.flatten(0, 1), self.openings(clip)
        total = self.error(frames, opening)
        self.log("val/total", total, batch_size=len(clip), prog_bar=True)
        return {"opening": self.net(frames), "truth": opening}
