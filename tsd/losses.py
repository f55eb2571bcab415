"""One function per named loss term, and the weights that add them up (Eq. 10 and 11).

Every term is a mean, so a weight means the same at every resolution and batch size.
"""

from dataclasses import asdict, dataclass

import torch.nn.functional as F
from torch import Tensor

from tsd.diffusion import expand
from tsd.flow import warp


def noise(eps_hat: Tensor, eps: Tensor, weight: Tensor) -> Tensor:
    """Eq. 5 with a weight per noise strength: mean of weight |eps_hat - eps|^2, for [B, ...] and weight [B]."""
    return (expand(weight, eps) * (eps_hat - eps).square()).mean()


def distill(eps_student: Tensor, eps_teacher: Tensor, weight: Tensor) -> Tensor:
    """Eq. 7: the student's noise against the teacher's at the same z_s and s."""
    return noise(eps_student, eps_teacher.detach(), weight)


HUBER_SCALE = 0.1
"""Where the pseudo-Huber distance turns from squares to absolute values, in units of z. Our choice."""


def huber(difference: Tensor) -> Tensor:
    """sqrt(d^2 + c^2) - c: a few large misses must not outvote the picture."""
    return (difference.square() + HUBER_SCALE**2).sqrt() - HUBER_SCALE


def trajectory(z_student: Tensor, z_teacher: Tensor) -> Tensor:
    """Where one step of the student lands against where the teacher's finer steps land (SFD, arXiv 2409.19681)."""
    return huber(z_student - z_teacher.detach()).mean()


def rollout(z0_hat: Tensor, z: Tensor, region: Tensor) -> Tensor:
    """The estimate after the student's own steps against the clip, where ``region`` (broadcast, 0..1) counts."""
    region = region.expand_as(z)
    return (huber(z0_hat - z) * region).sum() / region.sum().clamp(min=1)


def mouth(eps_hat: Tensor, eps: Tensor, weight: Tensor, region: Tensor) -> Tensor:
    """Eq. 5 inside the mouth: region [B, T, 1, h, w] in [0, 1]; 0 if no mouth is known in the batch."""
    error = expand(weight, eps) * (eps_hat - eps).square()
    return (region * error).sum() / (region.sum() * eps.shape[2]).clamp(min=1)


def identity(embedding: Tensor, target: Tensor) -> Tensor:
    """Eq. 8: one minus the cosine of two embeddings [N, D] of unit length."""
    return (1 - (embedding * target.detach()).sum(-1)).mean()


def temporal(frame: Tensor, previous: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Eq. 9: |frame - W(previous)|, occluded pixels left out.

    frame, previous [N, 3, H, W]; flow [N, 2, H, W] in pixels of the *real* clip, from frame to previous;
    visible [N, 1, H, W].
    """
    error = (frame - warp(previous, flow)).abs() * visible
    return error.sum() / (visible.sum() * frame.shape[1]).clamp(min=1)


def reconstruction(recon: Tensor, frames: Tensor, region: Tensor | None = None) -> Tensor:
    """Mean absolute error of pictures [N, 3, H, W] in [-1, 1]; where ``region`` [N, 1, H, W] in 0..1 counts."""
    error = (recon - frames).abs()
    if region is None:
        return error.mean()
    return (error * region).sum() / (region.sum() * frames.shape[1]).clamp(min=1)


def picture(frames: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of decoded estimates [..., 3, H, W] in [-1, 1], pixels weighted by ``weight``
    [..., 1, H, W]: an error of the latent counts as much as it is seen."""
    error = (frames - target).abs() * weight
    return error.sum() / (weight.sum() * frames.shape[-3]).clamp(min=1)


def edges(recon: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical differences, at full and half size: keeps contours sharp."""
    total = 0.0
    for _ in range(2):
        error = recon - frames
        total = total + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        total = total + (error[..., :, 1:] - error[..., :, :-1]).abs().mean()
        recon, frames = F.avg_pool2d(recon, 2), F.avg_pool2d(frames, 2)
    return total


def moved(picture: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute error of the moved reference at half, quarter and eighth size: the coarse sizes pull the flow
    from farther away than its own slope reaches."""
    total = 0.0
    for _ in range(3):
        picture, frames = F.avg_pool2d(picture, 2), F.avg_pool2d(frames, 2)
        total = total + (picture - frames).abs().mean() / 3
    return total


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from N(mean, exp(log_variance)) to N(0, 1), mean over values."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


@dataclass(frozen=True)
class LossWeights:
    """The ``loss`` group: name of a term -> weight. A term of weight 0 costs nothing and is not computed,
    unless it comes for free, in which case it is logged all the same."""

    noise: float = 0.0
    distill: float = 0.0
    trajectory: float = 0.0
    rollout: float = 0.0
    mouth: float = 0.0
    identity: float = 0.0
    temporal: float = 0.0
    picture: float = 0.0
    reconstruction: float = 1.0
    edges: float = 0.5
    moved: float = 0.5
    kl: float = 1e-4

    def __post_init__(self):
        wrong = {name: value for name, value in asdict(self).items() if not 0 <= value < float("inf")}
        if wrong:
            raise ValueError(f"loss weights must be numbers of at least 0, got {wrong}")

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Eq. 10 / 11: sum of weight * term over the terms that were computed."""
        return sum(getattr(self, name) * value for name, value in terms.items())
