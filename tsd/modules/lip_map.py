"""How far lips are open, heard: a linear map of a recogniser's hidden values that is fitted while training goes on."""

import torch
from torch import Tensor, nn

from tsd import devices

RIDGE = 3000.0
"""Frames in which every hidden value is of size one and nothing moves, against which all others count. Our choice: of
300 to 30000 it fits other people of GRID best (r 0.73), within 0.01 from 1000 to 10000."""

LEAST_SPREAD = 0.05
"""Spread of a window's openness below which nothing moves: people who are silent do not count more than others."""


class LipMap(nn.Module):
    """Least squares over all windows met so far; nothing is learned by a gradient.

    Every window is taken around its own mean and in units of its own spread: a map of sound cannot know whose mouth it
    is. Then the guess is made to spread as what is seen does, on average: least squares alone would shrink the movement
    to the part that can be guessed, and lips would hardly move.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("squares", torch.zeros(channels, channels, dtype=torch.float64))
        self.register_buffer("products", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(4, dtype=torch.float64))
        """Frames, windows, and over windows the sums of the mean openness and of its spread."""

    @torch.no_grad()
    def learn(self, hidden: Tensor, opened: Tensor, known: Tensor) -> None:
        """hidden [B, C, T]; openness [B, T], counted where ``known`` (bool [B, T])."""
        weight = known.double()
        count = weight.sum(1)
        use = (count > 1).double()[:, None]
        per = weight * use / count.clamp(min=1)[:, None]
        x, y = hidden.double().transpose(1, 2), torch.where(known, opened.double(), 0.0)
        mean_x, mean_y = (per[..., None] * x).sum(1), (per * y).sum(1)
        y = (y - mean_y[:, None]) * weight * use
        spread = (y.square().sum(1) / count.clamp(min=1)).sqrt()
        x = (x - mean_x[:, None]) * (weight * use)[..., None]
        y = y / spread.clamp(min=LEAST_SPREAD)[:, None]
        self.squares += devices.mean(torch.einsum("btc,btd->cd", x, x))
        self.products += devices.mean(torch.einsum("btc,bt->c", x, y))
        self.mean += devices.mean(mean_x.sum(0))
        sums = (weight * use).sum(), use.sum(), mean_y.sum(), spread.sum()
        self.seen += devices.mean(torch.stack([part.double() for part in sums]))

    def solve(self, gain: float) -> tuple[Tensor, Tensor]:
        """Weights [C] and bias of the map to ``gain`` times what was seen."""
        frames, windows, mean, spread = self.seen.clone()
        ridge = RIDGE * torch.eye(len(self.squares), dtype=torch.float64, device=self.squares.device)
        weights = torch.linalg.solve(self.squares + ridge, self.products)
        guessed = (weights @ self.squares @ weights / frames.clamp(min=1)).sqrt().clamp(min=1e-9)
        weights = weights / guessed * gain * spread / windows.clamp(min=1)
        return weights, (gain * mean - self.mean @ weights) / windows.clamp(min=1)
