"""Fréchet video distance: how far two sets of clips are apart in the features of a named network."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """[N, D] -> mean [D] and covariance [D, D] (N - 1) in float64 on the CPU."""
    features = features.cpu().double()
    return features.mean(0), features.T.cov().reshape(features.shape[1], features.shape[1])


def frechet_distance(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> Tensor:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) >= 0 of two Gaussians, squared units of the features.

    Dowson and Landau 1982; of video features, Unterthiner et al. 2018. The trace of the root is taken
    over the symmetric C^(1/2) C' C^(1/2), which has the same eigenvalues and stays real and exact
    where the covariances are singular (fewer clips than features).
    """
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other_cov @ root).clamp_min(0).sqrt().sum()
    return ((mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * cross).clamp_min(0)


class FrechetVideoDistance(Metric):
    """``frechet_distance`` between generated and real clips. ``update(video, real=False or True)``.

    ``features`` maps what ``update`` is given, a batch of clips, to [B, D]; ``network`` names it and
    belongs in every report, since values of two networks, or of two numbers of clips (the estimate
    falls with n), are not comparable. ``compute`` gives ``{"fvd": {"n", "n_real", "mean"}}``, nan below
    2 clips of either kind. No interval: resampled clips repeat themselves, which biases the distance.
    """

    full_state_update = False
    higher_is_better = False

    def __init__(self, features: Callable[[Tensor], Tensor], network: str, **kwargs):
        super().__init__(**kwargs)
        self.nets, self.network = (features,), network  # a tuple: the net stays out of the caller's state_dict
        # Flat lists and their width, because a device without clips gathers a tensor of shape [0].
        self.add_state("generated", default=[], dist_reduce_fx="cat")
        self.add_state("real", default=[], dist_reduce_fx="cat")
        self.add_state("width", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    def update(self, video: Tensor, real: bool) -> None:
        rows = self.nets[0](video)
        if rows.ndim != 2 or len(rows) != len(video):
            raise ValueError(f"{self.network} must give one feature row per clip [B, D], got {list(rows.shape)}")
        self.width = torch.full_like(self.width, rows.shape[1])
        (self.real if real else self.generated).append(rows.float().flatten())

    def compute(self) -> dict[str, dict[str, float]]:
        width = max(int(self.width), 1)
        sets = [
            dim_zero_cat(s).view(-1, width) if len(s) else torch.zeros(0, width) for s in (self.generated, self.real)
        ]
        n, n_real = (len(s) for s in sets)
        value = frechet_distance(*gaussian(sets[0]), *gaussian(sets[1])).item() if min(n, n_real) > 1 else float("nan")
        return {"fvd": {"n": n, "n_real": n_real, "mean": value}}
