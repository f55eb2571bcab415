"""Identity cosine and Fréchet distance against SciPy, and their known failures."""

import numpy as np
import pytest
import torch
from scipy import linalg, spatial, stats

from tsd import metrics
from tsd.evaluation.clips.instruments import FEATURES, identity_row


def people(clips=4, frames=50, size=16, wobble=0.1, seed=0):
    """Embeddings of ``clips`` different people: [B, T, D] and the reference [B, D], unit length."""
    generator = torch.Generator().manual_seed(seed)
    reference = torch.nn.functional.normalize(torch.randn(clips, size, generator=generator), dim=-1)
    frames = reference[:, None] + wobble * torch.randn(clips, frames, size, generator=generator)
    return torch.nn.functional.normalize(frames, dim=-1), reference


def report(embeddings, reference, every=1):
    """Means over clips of what evaluation reports of one."""
    rows = [identity_row(e[None], r[None], every) for e, r in zip(embeddings, reference, strict=True)]
    return {name: np.mean([row[name] for row in rows]) for name in rows[0] if name != FEATURES}


def test_equals_scipy_and_numpy():
    embeddings, reference = people()
    cosines = np.array(
        [
            [1 - spatial.distance.cosine(e, r) for e in clip]
            for clip, r in zip(embeddings.numpy(), reference.numpy(), strict=True)
        ]
    )
    assert metrics.identity_cosines(embeddings, reference).numpy() == pytest.approx(cosines, abs=1e-5)
    minutes = np.arange(50) / 25 / 60
    expected = {
        "id_cosine": cosines.mean(),
        "id_cosine_p5": np.percentile(cosines, 5, axis=1).mean(),
        "id_cosine_slope": np.mean([stats.linregress(minutes, clip).slope for clip in cosines]),
        "id_cosine_start": cosines[:, :10].mean(),
        "id_cosine_end": cosines[:, -10:].mean(),
    }
    assert report(embeddings, reference) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_swapped_identity_is_nearer_to_its_owner():
    embeddings, reference = people()
    same, other = report(embeddings, reference), report(embeddings, reference.roll(1, 0))
    assert same["id_cosine"] > 0.8 > 0.5 > other["id_cosine"]


def test_drift_shows_in_slope_and_end():
    embeddings, reference = people(frames=75)
    stranger = reference.roll(1, 0)
    away = torch.linspace(0, 1, 75)[:, None]
    drifting = (1 - away) * embeddings + away * stranger[:, None]
    still, moved = report(embeddings, reference), report(drifting, reference)
    assert abs(still["id_cosine_slope"]) < 1 and still["id_cosine_end"] / still["id_cosine_start"] > 0.95
    assert moved["id_cosine_slope"] < -5 and moved["id_cosine_end"] / moved["id_cosine_start"] < 0.6
    assert moved["id_cosine_p5"] < moved["id_cosine"]


def test_every_fifth_frame_keeps_the_unit_of_the_slope():
    embeddings, reference = people(frames=75)
    away = torch.linspace(0, 1, 75)[:, None]
    drifting = (1 - away) * embeddings + away * reference.roll(1, 0)[:, None]
    full, sparse = report(drifting, reference), report(drifting[:, ::5], reference, every=5)
    assert sparse["id_cosine_slope"] == pytest.approx(full["id_cosine_slope"], rel=0.1)


def test_embed_frames_equals_one_by_one():
    video = torch.rand(2, 7, 3, 4, 4)
    seen = []

    def embed(pictures):
        seen.append(len(pictures))
        return pictures.flatten(1)[:, :5]

    got = metrics.embed_frames(embed, video, every=3, batch=4)
    assert got.shape == (2, 3, 5) and seen == [4, 2]
    assert torch.equal(got[1, 2], video[1, 6].flatten()[:5])


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\[B, T, D\].*\[2, 9, 8\] and \[2, 7\]"):
        metrics.identity_cosines(torch.zeros(2, 9, 8), torch.zeros(2, 7))


def scipy_distance(x, y):
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(cov_x @ cov_y)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cov_x + cov_y - 2 * np.real(root))


def distance(x, y) -> float:
    return metrics.frechet_distance(*metrics.gaussian(x), *metrics.gaussian(y)).item()


def test_frechet_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12))
    y = rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12)) + 0.5
    assert distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(scipy_distance(x, y), rel=1e-4)


def test_frechet_distance_of_known_gaussians():
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    assert metrics.frechet_distance(zero, eye, zero, eye).item() == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(zero, eye, zero + 2, eye).item() == pytest.approx(12)
    assert metrics.frechet_distance(zero, eye, zero, 9 * eye).item() == pytest.approx(3 * (3 - 1) ** 2)
    flat = torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert metrics.frechet_distance(zero, flat, zero, eye).item() == pytest.approx(2), "singular covariances are exact"


def test_frechet_distance_ranks_noise_and_swaps():
    def features(video):
        return torch.stack([video.mean((1, 2, 3, 4)), video.std((1, 2, 3, 4)), metrics.temporal_l1(video)], 1)

    generator = torch.Generator().manual_seed(0)
    real = torch.rand(40, 4, 3, 8, 8, generator=generator) * torch.rand(40, 1, 1, 1, 1, generator=generator)
    noise = torch.randn(real.shape, generator=generator)
    values = [distance(features(v), features(real)) for v in (real.flip(0), real + 0.1 * noise, real + 0.5 * noise)]
    assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values)
