"""Fréchet video distance between two sets of clips, in the features of a named network."""

import torch
from torch import Tensor


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """[N, D] -> mean [D] and covariance [D, D] (N - 1) in float64 on the CPU."""
    features = features.cpu().double()
    return features.mean(0), features.T.cov().reshape(features.shape[1], features.shape[1])


def frechet_distance(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> Tensor:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) >= 0 of two Gaussians, squared units of the features.

    Dowson and Landau 1982; of video features, Unterthiner et al. 2018. The trace of the root is taken
    over the symmetric C^(1/2) C' C^(1/2), which has the same eigenvalues and stays real and exact
    where the covariances are singular (fewer clips than features).

    Values of two networks, or of two numbers of clips (the estimate falls with n), are not comparable. There is no
    bootstrap interval: resampled clips repeat themselves, which biases the distance.
    """
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other_cov @ root).clamp_min(0).sqrt().sum()
    return ((mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * cross).clamp_min(0)
