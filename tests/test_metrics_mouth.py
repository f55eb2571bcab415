"""Mouth correlation and viseme accuracy against SciPy and loops, and their known failures."""

import numpy as np
import pytest
import torch
from scipy import stats

from tsd import metrics
from tsd.clip import VISEMES


def tracks(clips=4, frames=75, seed=0):
    rng = np.random.default_rng(seed)
    true = 0.05 + 0.04 * np.abs(np.cumsum(rng.normal(size=(clips, frames)), 1) % 2 - 1)
    return torch.from_numpy(true + 0.004 * rng.normal(size=true.shape)).float(), torch.from_numpy(true).float()


def test_pearson_is_that_of_scipy():
    measured, true = tracks()
    expected = [stats.pearsonr(m, t).statistic for m, t in zip(measured.numpy(), true.numpy(), strict=True)]
    assert metrics.pearson(measured, true)[0].numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert metrics.pearson(3 - 2 * true, true)[0].numpy() == pytest.approx(-1, abs=1e-5)


def test_unknown_frames_are_skipped():
    measured, true = tracks()
    true[0, 10:30] = torch.nan
    measured[0, 0] = torch.nan
    keep = np.r_[1:10, 30:75]
    expected = stats.pearsonr(measured[0, keep], true[0, keep]).statistic
    assert metrics.pearson(measured, true)[0][0].item() == pytest.approx(expected, abs=1e-4)


def test_a_frozen_mouth_is_0_and_counted_an_unknown_one_is_left_out():
    measured, true = tracks()
    measured[0] = 0.05
    true[1] = torch.nan
    rs, constant = metrics.pearson(measured, true)
    assert rs[0] == 0 and rs[1].isnan() and rs[2:].abs().min() > 0.5
    assert constant[0] == 1 and constant[1].isnan() and not constant[2:].any()


def test_shifted_and_swapped_speech_score_lower():
    measured, true = tracks(clips=16)
    right = metrics.pearson(measured, true)[0].mean()
    shifted = metrics.pearson(measured.roll(3, 1), true)[0].mean()
    swapped = metrics.pearson(measured.roll(1, 0), true)[0].mean()
    assert right > 0.8 > shifted and abs(swapped) < 0.3


def test_viseme_accuracy_equals_a_loop_over_known_frames():
    rng = np.random.default_rng(0)
    read = torch.from_numpy(rng.normal(size=(3, 20, len(VISEMES))))
    true = torch.from_numpy(rng.dirichlet(np.ones(len(VISEMES)), (3, 20)))
    true[:, 15:] = 0
    true[2] = 0
    expected = [np.mean([read[b, t].argmax() == true[b, t].argmax() for t in range(15)]) for b in range(2)]
    got = metrics.viseme_accuracy(read, true)
    assert got[:2].tolist() == pytest.approx(expected) and got[2].isnan()


def test_viseme_accuracy_is_lower_when_shifted():
    true = torch.eye(len(VISEMES))[torch.randint(len(VISEMES), (6, 40), generator=torch.Generator().manual_seed(0))]
    read_real = true.clone()
    read_real[:, ::4] = true[:, ::4].roll(1, -1)  # the reader errs on every fourth frame
    assert metrics.viseme_accuracy(read_real, true).tolist() == pytest.approx([0.75] * 6)
    assert metrics.viseme_accuracy(read_real.roll(3, 1), true).mean() < 0.3 * 0.75


def test_tracks_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 9\] and \[2, 8\]"):
        metrics.pearson(torch.zeros(2, 9), torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"\[2, 9, 15\] and \[2, 8, 15\]"):
        metrics.viseme_accuracy(torch.zeros(2, 9, 15), torch.zeros(2, 8, 15))
