"""Noise of Eq. 3: how it is added, drawn and weighed, and what the net sees of a noisy latent."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsd import devices
from tsd.diffusion.schedule import S_MAX, S_MIN

LOG_NORMAL = (-0.4, 1.5)
"""Mean and standard deviation of ln s in training, except for the draws near pure noise. Our choice: not given."""


def expand(s: Tensor, like: Tensor) -> Tensor:
    """s [B] -> [B, 1, ...] with as many dimensions as ``like``."""
    return s.reshape(s.shape + (1,) * (like.ndim - s.ndim))


def add_noise(z: Tensor, s: Tensor, eps: Tensor) -> Tensor:
    """Eq. 3: z_s = z + s eps, for z, eps [B, ...] and s [B]."""
    return z + expand(s, z) * eps


def eps_from_z0(z_s: Tensor, z0_hat: Tensor, s: Tensor) -> Tensor:
    """eps_hat = (z_s - z0_hat) / s."""
    return (z_s - z0_hat) / expand(s, z_s)


def z0_from_eps(z_s: Tensor, eps_hat: Tensor, s: Tensor) -> Tensor:
    """z0_hat = z_s - s eps_hat."""
    return z_s - expand(s, z_s) * eps_hat


@dataclass(frozen=True)
class Preconditioning:
    """Karras et al. 2022, Table 1, with sigma_data = 1: z0_hat = skip z_s + out F(in z_s, noise)."""

    skip: Tensor
    out: Tensor
    inp: Tensor
    noise: Tensor

    @classmethod
    def at(cls, s: Tensor) -> "Preconditioning":
        total = s.square() + 1
        return cls(skip=1 / total, out=s / total.sqrt(), inp=total.rsqrt(), noise=s.log() / 4)


def noise_weight(s: Tensor) -> Tensor:
    """Weight of |eps_hat - eps|^2 at s. With it an untrained net has the same expected loss at every s.

    Karras et al. weigh |z0_hat - z|^2 by (s^2 + 1) / s^2, and |z0_hat - z|^2 = s^2 |eps_hat - eps|^2.
    """
    return s.square() + 1


def draw_strengths(
    count: int, p_start: float = 0.3, log_normal: tuple[float, float] = LOG_NORMAL, device=None
) -> Tensor:
    """[count] noise strengths for training: log-normal around 1, where most of a picture is decided, or, with
    probability ``p_start``, log-uniform in [5, S_MAX], where sampling starts. Our choice: not given.

    log_normal: mean and standard deviation of ln s of the log-normal draws.
    """
    kind = devices.rand(count, device=device) < p_start
    log_mean, log_std = log_normal
    around = (devices.randn(count, device=device) * log_std + log_mean).exp()
    low, high = math.log(5.0), math.log(S_MAX)
    start = (devices.rand(count, device=device) * (high - low) + low).exp()
    return torch.where(kind, start, around).clamp(S_MIN, S_MAX)


def draw_noise(shape, shared: Tensor | float, device=None, generator=None) -> Tensor:
    """Unit noise [B, T, ...]. The fraction ``shared`` of its variance (scalar or [B]) is the same in all frames of a
    window; the rest is independent in every frame.

    A stream starts every frame from the same noise (shared = 1), so that its frames differ only where speech and
    motion differ. Training draws the fraction at random, so that the net knows both kinds of noise.
    """
    shared = torch.as_tensor(shared, device=device, dtype=torch.float32)
    still = devices.randn(shape[0], 1, *shape[2:], device=device, generator=generator)
    fresh = devices.randn(*shape, device=device, generator=generator)
    if shared.ndim:
        shared = expand(shared, fresh)
    return shared.sqrt() * still + (1 - shared).sqrt() * fresh
