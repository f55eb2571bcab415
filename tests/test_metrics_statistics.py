"""Collection per clip: intervals, ratios, split batches, several devices."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_runs import begun
from torch import distributed

from tsd import metrics
from tsd.metrics.statistics import start_middle_end, summarise


def videos(clips=5, frames=12, side=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(clips, frames, 3, side, side, generator=generator) * 2 - 1
    strength = torch.linspace(0.02, 0.3, clips)[:, None, None, None, None]
    return (target + strength * torch.randn(target.shape, generator=generator)).clamp(-1, 1), target


def on_pixels(make):
    video, target = videos()
    return make, (video, target)


METRICS = {
    "psnr": on_pixels(metrics.PSNR),
    "temporal_l1": on_pixels(metrics.TemporalL1),
    "flicker_std": on_pixels(metrics.FlickerStd),
    "flicker_mean_std": on_pixels(metrics.FlickerMeanStd),
}


def scored(make, inputs, clips):
    metric = make()
    for i in clips:
        metric.update(*(x[i] for x in inputs))
    return metric


@pytest.mark.parametrize("name", METRICS)
def test_a_split_batch_equals_the_whole_in_any_order(name):
    make, inputs = METRICS[name]
    whole = scored(make, inputs, [slice(0, 5)])
    split = scored(make, inputs, [slice(3, 5), slice(0, 1), slice(1, 3)])
    merged = scored(make, inputs, [slice(2, 5)])
    merged.merge_state(scored(make, inputs, [slice(0, 2)]))
    expected = whole.compute()
    assert name in expected
    for other in (split.compute(), merged.compute()):
        assert other.keys() == expected.keys()
        for key, summary in expected.items():
            assert summary["n"] == 5 and summary["left_out"] == 0
            assert other[key] == pytest.approx(summary, rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_reports_are_json_and_states_are_a_few_numbers_per_clip(name):
    make, inputs = METRICS[name]
    metric = scored(make, inputs, [slice(0, 5)])
    assert json.loads(json.dumps(metric.compute(), allow_nan=False))
    assert sum(rows.numel() for rows in metric.rows) == 5 * len(metric.columns)
    metric.reset()
    with pytest.warns(UserWarning, match="before"):
        assert metric.compute()[name]["n"] == 0


def test_a_summary_is_that_of_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=64)
    summary = summarise(values, seed=7)
    assert summary["mean"] == pytest.approx(values.mean()) and summary["std"] == pytest.approx(values.std(ddof=1))
    interval = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    width = interval.high - interval.low
    assert summary["low"] == pytest.approx(interval.low, abs=0.05 * width)
    assert summary["high"] == pytest.approx(interval.high, abs=0.05 * width)
    assert summarise(values, seed=7) == summary and summarise(values[::-1], seed=7) == summary
    assert summarise(values, seed=8)["low"] != summary["low"]


def test_the_interval_holds_the_truth_about_95_times_in_100():
    draws = np.random.default_rng(0).normal(1.0, 1.0, (400, 64))
    held = [(s := summarise(values))["low"] <= 1.0 <= s["high"] for values in draws]
    assert 0.91 <= np.mean(held) <= 0.98


def test_a_ratio_is_of_means_in_pairs():
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, size=50)
    exact = summarise(1.5 * base, base)
    assert exact["mean"] == pytest.approx(1.5) and exact["std"] == pytest.approx(0, abs=1e-9)
    assert exact["high"] - exact["low"] < 1e-9, "clips are resampled in pairs"
    noisy = base * rng.uniform(0.5, 1.5, 50)
    ratio, residuals = noisy.mean() / base.mean(), noisy - noisy.mean() / base.mean() * base
    summary = summarise(noisy, base)
    assert summary["mean"] == pytest.approx(ratio)
    assert summary["std"] == pytest.approx(residuals.std(ddof=1) / base.mean())
    assert summary["low"] < ratio < summary["high"]
    assert math.isnan(summarise(np.ones(3), np.zeros(3))["low"])


def test_undefined_clips_are_left_out_and_counted():
    summary = summarise(np.array([1.0, np.nan, 3.0]), np.array([1.0, 1.0, np.inf]))
    assert (summary["n"], summary["left_out"], summary["mean"]) == (1, 2, 1.0)
    assert math.isnan(summary["std"]) and math.isnan(summary["low"]), "one clip has no interval"
    assert summarise(np.array([]))["n"] == 0


def test_start_middle_end():
    track = torch.arange(75.0)[None]
    assert [part.item() for part in start_middle_end(track)] == [4.5, 36.5, 69.5]
    assert [part.item() for part in start_middle_end(track[:, :6])] == [0.5, 2.5, 4.5]
    assert [part.item() for part in start_middle_end(track[:, :15], every=5)] == [0.5, 6.5, 13.5]
    assert [part.item() for part in start_middle_end(torch.tensor([[1.0]]))] == [1, 1, 1]


def device_job(rank, store, results):
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    video, target = videos()
    mine = (slice(0, 2), slice(2, 5))[rank]
    uneven, one_sided = metrics.TemporalL1(), metrics.PSNR()
    uneven.update(video[mine], target[mine])
    if rank == 0:
        one_sided.update(video, target)
    torch.save([uneven.compute(), one_sided.compute()], f"{results}.{rank}")
    distributed.destroy_process_group()


def test_two_processes_with_uneven_and_with_no_clips_equal_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    processes = [begun(device_job, rank, tmp_path / "store", tmp_path / "result") for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    video, target = videos()
    alone = metrics.TemporalL1(), metrics.PSNR()
    for metric in alone:
        metric.update(video, target)
    for rank in range(2):
        together = torch.load(tmp_path / f"result.{rank}", weights_only=True)
        for got, metric in zip(together, alone, strict=True):
            for key, summary in metric.compute().items():
                assert got[key] == pytest.approx(summary, rel=1e-4, abs=1e-6, nan_ok=True), (rank, key)
