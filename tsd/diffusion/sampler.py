"""The sampler of Algorithm 3."""

from collections.abc import Callable

import torch
from torch import Tensor

from tsd.diffusion.schedule import Schedule


def sample(predict_noise: Callable[[Tensor, Tensor, int], Tensor], z: Tensor, schedule: Schedule) -> Tensor:
    """Algorithm 3: z^(k) = z^(k-1) - eta_k eps_hat, from z^(0) [B, ...] of strength s_0 to strength 0.

    ``predict_noise(z_s, s [B], k)`` returns eps_hat like z_s. This is the Euler step of the
    probability-flow ODE: exact for every K when eps_hat is the true noise.
    """
    for k in range(schedule.num_steps):
        z = advance(predict_noise, z, schedule, k)
    return z


def advance(predict_noise: Callable[[Tensor, Tensor, int], Tensor], z: Tensor, schedule: Schedule, k: int) -> Tensor:
    """Step k of ``sample``."""
    s = torch.full((len(z),), schedule.strengths[k], device=z.device, dtype=z.dtype)
    return z - schedule.etas[k] * predict_noise(z, s, k)
