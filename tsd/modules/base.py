"""What the LightningModules of all stages share: frozen nets, optimiser, learning rate schedule, regions of a face."""

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import lightning as L
import torch
from torch import Tensor, nn

from tsd.clip import Clip
from tsd.diffusion.noise import draw_noise

ADDED_RATE = 30.0
"""Learning rate factor of parts that are added to a trained net. At the net's own rate, lids did not learn to shut in
2000 steps (docs/design/eyelids.md)."""
WARMUP = 0.05
"""Fraction of the steps in which the learning rate rises. Then it falls as a cosine to a twentieth. Our choice."""


class Stage(L.LightningModule):
    """A LightningModule around one trained net, ``self.net``.

    ``optimizer`` is called with the parameters (a ``functools.partial``). ``pictures``: the stage needs the frames of a
    window even where their latents are cached. ``added``: names of parameters that were added to a trained net.
    ``helper``: layers that help to train the net and are no part of it afterwards.
    """

    pictures = False
    added: set[str] = frozenset()

    def __init__(self, net: nn.Module, loss, optimizer: Callable[[Iterable], torch.optim.Optimizer]):
        super().__init__()
        self.net, self.loss, self.make_optimizer = net, loss, optimizer
        self.helper: nn.Module | None = None
        object.__setattr__(self, "frozen", {})

    def hold_frozen(self, **nets: nn.Module | None) -> None:
        """Keep nets that are used but never trained out of ``state_dict``, EMA, optimiser and DDP."""
        self.frozen.update({k: n.eval().requires_grad_(False) for k, n in nets.items() if n is not None})

    def on_fit_start(self) -> None:  # ``setup`` would come too early: nothing is on its device by then
        for net in self.frozen.values():
            net.to(self.device)

    def on_train_batch_start(self, clip: Clip, _: int) -> None:
        # Lightning would repeat the last value of a term that this batch lacks (a student's terms change midway).
        self.trainer.fit_loop.epoch_loop._results.clear()

    def configure_optimizers(self):
        named = [*self.net.named_parameters(), *(self.helper.named_parameters("helper") if self.helper else ())]
        groups = [[p for name, p in named if (name in self.added) == new] for new in (False, True)]
        optimizer = self.make_optimizer([{"params": group} for group in groups if group])
        if self.added:
            optimizer.param_groups[-1]["lr"] *= ADDED_RATE
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = max(1, int(WARMUP * total))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            done = min(1.0, (step - warmup) / max(1, total - warmup))
            return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class WeightedStage(Stage, ABC):
    """A stage whose loss is the weighted sum of several named terms, logged as "total"."""

    @abstractmethod
    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        """Named scalar terms of one batch; names are fields of LossWeights."""

    def training_step(self, clip: Clip, _: int) -> Tensor:
        terms = self.step_losses(clip)
        total = self.loss.total(terms)
        self.log_dict({f"train/{k}": v.detach() for k, v in terms.items()}, batch_size=len(clip), sync_dist=True)
        self.log("train/total", total.detach(), batch_size=len(clip), prog_bar=True, sync_dist=True)
        return total


def clip_noise(clip: Clip, like: Tensor, shared: float, draw: int) -> Tensor:
    """``draw_noise`` like z [B, T, ...], with one generator per clip, seeded by the clip's name, its window and the
    number of the draw. So validation depends neither on the batch that a clip is in nor on the device."""
    rows = []
    for key, start in zip(clip.key, clip.start.tolist(), strict=True):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{key} {start} {draw}".encode()))
        rows.append(draw_noise((1, *like.shape[1:]), shared, generator=generator))
    return torch.cat(rows).to(like)


def in_box(box: Tensor, size: int) -> Tensor:
    """[B, T, 1, size, size]: 1 where a position of a grid over the picture lies in the box [B, T, 4] (x0 y0 x1 y1 in
    units of the side)."""
    box = box[..., None, None]
    axis = (torch.arange(size, device=box.device) + 0.5) / size
    margin = 0.5 / size
    x, y = axis[None, :], axis[:, None]
    inside = (x >= box[:, :, 0] - margin) & (x <= box[:, :, 2] + margin)
    inside = inside & (y >= box[:, :, 1] - margin) & (y <= box[:, :, 3] + margin)
    return inside[:, :, None].float()


def mouth_region(clip: Clip, size: int) -> Tensor:
    """[B, T, 1, size, size]: 1 in the mouth box; 0 where none is known."""
    return in_box(torch.nan_to_num(clip.mouth_box, nan=-1.0), size)


EYE = (0.35, 0.22)
"""Half the width and height of an eye with its lids, in units of the distance between the eyes. Our choice."""


def eyes_region(clip: Clip, size: int) -> Tensor:
    """[B, T, 1, size, size]: 1 around both eyes; 0 where the head's place is unknown."""
    left, right = clip.motion[..., :2], clip.motion[..., 2:4]
    half = (right - left).norm(dim=-1, keepdim=True) * left.new_tensor(EYE)
    inside = torch.maximum(*(in_box(torch.cat([eye - half, eye + half], -1), size) for eye in (left, right)))
    return inside * clip.motion_known[:, None, None, None, None]
