"""One function per named loss term, and the weights that add them up (Eq. 10 and 11).

Every term is a mean, so a weight means the same at every resolution and batch size.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices
from tsd.diffusion.noise import expand
from tsd.flow import warp


def noise(eps_hat: Tensor, eps: Tensor, weight: Tensor) -> Tensor:
    """Eq. 5 with a weight per noise strength: mean of weight |eps_hat - eps|^2, for [B, ...] and weight [B]."""
    return (expand(weight, eps) * (eps_hat - eps).square()).mean()


def distill(eps_student: Tensor, eps_teacher: Tensor, weight: Tensor) -> Tensor:
    """Eq. 7: the student's noise against the teacher's at the same z_s and s."""
    return noise(eps_student, eps_teacher.detach(), weight)


HUBER_SCALE = 0.1
"""Scale at which the pseudo-Huber distance goes over from squares to absolute values, in units of z. Our choice."""


def huber(difference: Tensor) -> Tensor:
    """Pseudo-Huber, sqrt(d^2 + c^2) - c: a few large errors do not dominate the loss."""
    return (difference.square() + HUBER_SCALE**2).sqrt() - HUBER_SCALE


def trajectory(z_student: Tensor, z_teacher: Tensor) -> Tensor:
    """Where one step of the student ends, against where the teacher's finer steps end (SFD, arXiv 2409.19681)."""
    return huber(z_student - z_teacher.detach()).mean()


def mean_where(error: Tensor, region: Tensor) -> Tensor:
    """Mean of ``error`` over all devices, weighted by ``region`` (0 or more, broadcast); 0 if all weights are 0."""
    region = region.expand_as(error)
    return (error * region).sum() / devices.mean(region.sum()).clamp(min=1)


def rollout(z0_hat: Tensor, z: Tensor, region: Tensor) -> Tensor:
    """The estimate after the student's own steps against the clip, weighted by ``region`` (broadcast, 0..1)."""
    return mean_where(huber(z0_hat - z), region)


def mouth(eps_hat: Tensor, eps: Tensor, weight: Tensor, region: Tensor) -> Tensor:
    """Eq. 5 inside the mouth: region [B, T, 1, h, w] in [0, 1]; 0 if no mouth is known in the batch."""
    error = expand(weight, eps) * (eps_hat - eps).square()
    return mean_where(error, region)


def eyes(eps_hat: Tensor, eps: Tensor, weight: Tensor, region: Tensor) -> Tensor:
    """Eq. 5 around both eyes: region [B, T, 1, h, w] in [0, 1]; 0 if no head position is known in the batch. Eyes cover
    a hundredth of a latent and are shut in one frame of twenty, but viewers look at them first. Our addition."""
    return mouth(eps_hat, eps, weight, region)


def mouth_motion(z0_hat: Tensor, z: Tensor, region: Tensor) -> Tensor:
    """Keeps teeth and tongue steady: the change from frame to frame inside the mouth, against the clip's change.

    z0_hat, z [B, T, C, h, w]; region [B, T, 1, h, w] in 0..1, of which the larger value of both frames counts. The
    target is the clip's own change, not zero, so lips may move as they do in the clip. An error that is the same in all
    frames costs nothing here; ``mouth`` sees it. 0 for T = 1 or where no mouth is known. Our addition.
    """
    region = torch.maximum(region[:, 1:], region[:, :-1])
    error = huber(z0_hat.diff(dim=1) - z.diff(dim=1))
    return mean_where(error, region)


def lips(opening_hat: Tensor, opening: Tensor, weight: Tensor) -> Tensor:
    """How far the estimate's mouth is open against how far the clip's is, both read in latents by one linear map.

    [B, T] in units of the picture's side; weight [B]. One direction of the latent
    space among hundreds, which the terms on whole latents hardly see, and the one that a listener watches. Our
    addition.
    """
    error = huber((opening_hat - opening.detach()) / LIPS_SCALE)
    return mean_where(error, expand(weight, error))


LIPS_SCALE = 0.02
"""Of ``lips``, in units of the picture's side: about the standard deviation of a speaking mouth's opening, so that an
error of one counts as an error of one standard deviation of a latent does. Our choice."""

LEAST_ENERGY = 1e-4
"""Added to the mean squared change under the square root, whose gradient is unbounded at 0. Our choice."""


def energy(z0_hat: Tensor, z: Tensor, region: Tensor, weight: Tensor) -> Tensor:
    """Every position should move as much as in the clip: |rms of the estimate's changes from frame to frame - rms of
    the clip's changes|, over time and channels.

    z0_hat, z [B, T, C, h, w]; region [B, T, 1, h, w] of 0 or more: weight of a position; weight [B]. The other terms
    are smallest for the mean of all plausible videos, which moves less than each of them. This term compares the amount
    of movement only; the others decide when and in which direction something moves. 0 for T = 1. Our addition.
    """
    if z.shape[1] < 2:
        return z0_hat.new_zeros(())

    def rms(x: Tensor) -> Tensor:
        return (x.diff(dim=1).square().mean((1, 2)) + LEAST_ENERGY).sqrt()

    error = (rms(z0_hat) - rms(z)).abs()
    return mean_where(error, region.amax((1, 2)) * expand(weight, error))


def consistency(z0_hat: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Two estimates of the same clean latent, from two strengths of one noise path, should agree: pseudo-Huber of
    z0_hat and target [B, ...], weight [B]. ``target`` is the estimate at less noise, which is nearer to the truth; no
    gradient goes into it (Song et al. 2023, Consistency Models, Eq. 7; our paper names the objective without a
    formula)."""
    return (expand(weight, z0_hat) * huber(z0_hat - target.detach())).mean()


SYNC_TEMPERATURE = 0.07
"""Temperature of the softmax over sounds, in the expert's training and in the term; as in MoCo, and CLIP's initial
value."""


def sync(seen: Tensor, heard: Tensor, own: Tensor) -> Tensor:
    """A mouth should find its own sound among many: cross-entropy over its cosines to all of them.

    seen [N, D]: the expert's unit vectors of decoded moments; heard [M, D]: of the real sound, without gradient; own
    [N] int64: the row of ``heard`` at the same moment. The value lies between 0 and about ln M. Once a mouth finds its
    sound with certainty the gradient vanishes, unlike with the plain cosine in Wav2Lip (Prajwal et al. 2020), which
    always pulls further. InfoNCE (van den Oord et al. 2018), the loss that the expert was trained with.
    """
    return F.cross_entropy(seen @ heard.detach().T / SYNC_TEMPERATURE, own)


def identity(embedding: Tensor, target: Tensor) -> Tensor:
    """Eq. 8: one minus the cosine of two embeddings [N, D] of unit length."""
    return (1 - (embedding * target.detach()).sum(-1)).mean()


def temporal(frame: Tensor, previous: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Eq. 9: |frame - W(previous)|, occluded pixels left out.

    frame, previous [N, 3, H, W]; flow [N, 2, H, W] in pixels of the *real* clip, from frame to previous;
    visible [N, 1, H, W].
    """
    return mean_where((frame - warp(previous, flow)).abs(), visible)


def reconstruction(recon: Tensor, frames: Tensor, region: Tensor | None = None) -> Tensor:
    """Mean absolute error of pictures [N, 3, H, W] in [-1, 1], weighted by ``region`` [N, 1, H, W] in 0..1."""
    error = (recon - frames).abs()
    return error.mean() if region is None else mean_where(error, region)


def picture(frames: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of decoded estimates [..., 3, H, W] in [-1, 1], weighted by ``weight`` [..., 1, H, W]: the
    decoder weighs errors of the latent by how visible they are."""
    return mean_where((frames - target).abs(), weight)


def denoised(frames: Tensor, recon: Tensor, weight: Tensor) -> Tensor:
    """``picture`` at a drawn strength, against the decoded clean latents: this is what the paper's Table 1 measures. A
    contour that is slightly misplaced is a large error in a picture and a small one in a latent. Our addition."""
    return picture(frames, recon, weight)


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
    """Mean absolute error of the warped reference at half, quarter and eighth size. The coarse sizes give the flow a
    gradient towards details that are farther away than a few pixels."""
    total = 0.0
    for _ in range(3):
        picture, frames = F.avg_pool2d(picture, 2), F.avg_pool2d(frames, 2)
        total = total + (picture - frames).abs().mean() / 3
    return total


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from N(mean, exp(log_variance)) to N(0, 1), mean over values."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


OF_TEACHER = {"lips", "noise", "mouth", "eyes", "mouth_motion", "identity", "temporal", "sync", "denoised"}
TERMS = {
    "vae": {"reconstruction", "edges", "moved", "kl", "mouth"},
    "teacher": OF_TEACHER,
    "student": OF_TEACHER | {"distill", "trajectory", "rollout", "picture", "energy", "consistency"},
}
"""Stage -> the terms whose weights it uses. Other stages have one loss each, without weights."""


@dataclass(frozen=True)
class LossWeights:
    """The ``loss`` group: name of a term -> weight. A term without a weight is not computed, unless it costs nothing;
    then it is logged all the same. The weights that we train with stand in conf/loss/default.yaml."""

    noise: float = 0.0
    distill: float = 0.0
    trajectory: float = 0.0
    rollout: float = 0.0
    mouth: float = 0.0
    eyes: float = 0.0
    identity: float = 0.0
    temporal: float = 0.0
    picture: float = 0.0
    sync: float = 0.0
    mouth_motion: float = 0.0
    lips: float = 0.0
    energy: float = 0.0
    consistency: float = 0.0
    denoised: float = 0.0
    reconstruction: float = 0.0
    edges: float = 0.0
    moved: float = 0.0
    kl: float = 0.0

    def __post_init__(self):
        wrong = {name: value for name, value in asdict(self).items() if not 0 <= value < float("inf")}
        if wrong:
            raise ValueError(f"loss weights must be numbers of at least 0, got {wrong}")

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Eq. 10 / 11: sum of weight * term over the terms that were computed."""
        return sum(getattr(self, name) * value for name, value in terms.items())
