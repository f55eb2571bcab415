"""Stage ``mouth``: the regressor by which evaluation measures mouth opening."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.clip import VISEME_PAST, VISEME_WINDOW, VISEMES, Clip
from tsd.modules.base import Stage
from tsd.nets.mouth import MouthNet

RIDGE = 1.0
"""Ridge regularisation of the least squares, in frames: keeps them solvable at first."""

PATIENCE = 20
"""After so many batches without a drawn mouth the corpus is taken to have none."""


class MouthModule(Stage):
    """Mouth opening from real frames and from blurred and noisy copies of them, since generated frames are a little of
    both.

    The opening of a recorded mouth is unknown, but its visemes are known. So a recorded frame gets the average opening
    of drawn mouths with the same visemes: least squares from the visemes around a frame to the true openings of all
    drawn frames so far. Our choice.
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
        """Visemes around every frame and a constant, [B * T, W * V + 1], and [B * T] bool: they are known."""
        visemes = clip.visemes[..., : len(VISEMES)].flatten(0, 1)
        constant = torch.ones_like(visemes[:, 0, :1])
        return torch.cat([visemes.flatten(1), constant], 1), visemes[:, VISEME_PAST].sum(-1) > 0

    def learn_speech(self, clip: Clip) -> None:
        """Add the drawn mouths of a batch to the least squares."""
        (said, heard), truth = self.speech(clip), self.truth(clip)
        known = heard & ~truth.isnan()
        said, truth = said[known], truth[known]
        self.squares += devices.mean(said.T @ said)
        self.products += devices.mean(said.T @ truth)

    def openings(self, clip: Clip) -> Tensor:
        """[B * T] true openings, else those predicted from the visemes; nan where neither is known."""
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
