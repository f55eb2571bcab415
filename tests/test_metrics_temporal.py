"""Temporal metrics against NumPy and OpenCV loops, and the controls they must tell apart."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from tsd import metrics
from tsd.flow import consistent


def moving(clips=2, frames=10, side=48, step=(2, 1), seed=0):
    """A smooth texture that shifts by ``step`` (x, y) pixels a frame, [-1, 1]."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(clips):
        canvas = rng.uniform(size=(side * 3, side * 3, 3)).astype(np.float32)
        canvas = cv2.GaussianBlur(canvas, (0, 0), 2)
        canvas = (canvas - canvas.min()) / np.ptp(canvas)
        out.append([canvas[side + t * step[1] :, side + t * step[0] :][:side, :side] for t in range(frames)])
    return torch.from_numpy(np.array(out)).permute(0, 1, 4, 2, 3).contiguous() * 2 - 1


def flickering(video, strength=0.2, seed=1):
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(seed))
    return (video + strength * noise).clamp(-1, 1)


def frozen(video):
    return video[:, :1].expand_as(video)


def unit(video):
    return ((video + 1) / 2).numpy().astype(np.float64)


def loop_l1(clip):
    return np.mean([np.abs(now - before).mean() for before, now in pairwise(clip)])


def loop_flicker(clip):
    return np.std([now - before for before, now in pairwise(clip)], axis=0).mean()


def loop_flicker_mean(clip):
    return np.std([frame.mean() for frame in clip])


MEASURES = {
    "temporal_l1": (metrics.temporal_l1, loop_l1, metrics.TemporalL1),
    "flicker_std": (metrics.flicker_std, loop_flicker, metrics.FlickerStd),
    "flicker_mean_std": (metrics.flicker_mean_std, loop_flicker_mean, metrics.FlickerMeanStd),
}


@pytest.mark.parametrize("name", MEASURES)
def test_equals_a_numpy_loop(name):
    measure, loop, _ = MEASURES[name]
    video = torch.rand(3, 9, 3, 20, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = np.array([loop(clip) for clip in unit(video)])
    assert measure(video).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", MEASURES)
def test_ratio_is_1_for_the_base_and_0_when_frozen(name):
    make = MEASURES[name][2]
    base = moving()
    ratios = []
    for video in (base, frozen(base)):
        metric = make()
        metric.update(video, base)
        ratios.append(metric.compute()[f"{name}_ratio"]["mean"])
    assert ratios[0] == 1 and ratios[1] == pytest.approx(0, abs=1e-4)


def test_noise_is_above_the_ideal_and_blur_in_time_below():
    base = moving()
    slow = (base + base.roll(1, 1) + base.roll(-1, 1)) / 3
    for measure in (metrics.temporal_l1, metrics.flicker_std):
        assert (measure(flickering(base)) > 1.2 * measure(base)).all()
        assert (measure(slow[:, 1:-1]) < measure(base[:, 1:-1])).all()


def test_the_two_flickers_are_different_things():
    """A steady glide has no flicker of the mean but pixels that change; a blinking lamp the other way round."""
    lamp = torch.zeros(1, 8, 3, 16, 16)
    lamp[:, ::2] = 0.4
    assert metrics.flicker_mean_std(lamp).item() == pytest.approx(0.1, abs=1e-6)
    ramp = torch.linspace(-1, 1, 9).view(1, 9, 1, 1, 1).expand(1, 9, 3, 16, 16)
    assert metrics.flicker_std(ramp).item() == pytest.approx(0, abs=1e-6), "equal steps"
    assert metrics.flicker_mean_std(ramp).item() > 0.3 and metrics.temporal_l1(ramp).item() == pytest.approx(1 / 8)


def test_real_flow_finds_a_known_shift():
    flow, visible = metrics.real_flow(moving(step=(2, 1)))
    assert flow.shape == (2, 9, 2, 48, 48) and visible.shape == (2, 9, 1, 48, 48)
    middle = flow[..., 12:-12, 12:-12]
    assert middle.mean((0, 1, 3, 4)).tolist() == pytest.approx([2, 1], abs=0.05)
    assert visible[..., 12:-12, 12:-12].mean() > 0.99
    assert visible[..., -1].max() == 0, "what came in at the right edge was not there before"
    assert set(visible.unique().tolist()) == {0.0, 1.0}


def test_warp_error_equals_a_scipy_loop():
    rng = np.random.default_rng(0)
    video = torch.from_numpy(rng.uniform(-1, 1, (2, 4, 3, 14, 18)).astype(np.float32))
    flow = torch.from_numpy(rng.uniform(-3, 3, (2, 3, 2, 14, 18)).astype(np.float32))
    visible = torch.from_numpy((rng.uniform(size=(2, 3, 1, 14, 18)) > 0.3).astype(np.float32))
    y, x = np.mgrid[:14, :18]
    expected = []
    for clip, flows, masks in zip(unit(video), flow.numpy(), visible.numpy(), strict=True):
        errors = []
        for t in range(3):
            at = [np.clip(y + flows[t, 1], 0, 13), np.clip(x + flows[t, 0], 0, 17)]
            warped = np.stack([map_coordinates(channel, at, order=1) for channel in clip[t]])
            errors.append(np.abs(clip[t + 1] - warped)[:, masks[t, 0] > 0].ravel())
        expected.append(np.concatenate(errors).mean())
    assert metrics.warp_error(video, flow, visible).numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_consistent_equals_a_loop():
    rng = np.random.default_rng(0)
    flow, back = (rng.uniform(-1, 1, (9, 11, 2)).astype(np.float32) for _ in range(2))
    got = consistent(flow, back)
    there = [np.clip(np.mgrid[:9, :11][1 - i] + flow[..., i], 0, (10, 8)[i]) for i in range(2)]
    home = np.stack([map_coordinates(channel, there[::-1], order=1) for channel in back.transpose(2, 0, 1)])
    for y in range(9):
        for x in range(11):
            f, b = flow[y, x], home[:, y, x]
            inside = 0 <= x + f[0] <= 10 and 0 <= y + f[1] <= 8
            small = np.sum((f + b) ** 2) < 0.01 * (np.sum(f**2) + np.sum(b**2)) + 0.5
            assert got[y, x] == float(inside and small)


def test_warp_error_ranks_the_controls():
    real = moving()
    flow, visible = metrics.real_flow(real)

    def ratio(video):
        return metrics.warp_error(video, flow, visible).mean() / metrics.warp_error(real, flow, visible).mean()

    assert ratio(real) == 1
    assert ratio(frozen(real)) > 2, "a picture that does not follow the real motion is wrong"
    assert ratio(flickering(real)) > 2
    assert metrics.warp_error(real, flow, torch.zeros_like(visible)).isnan().all()


def test_warp_error_is_zero_for_exact_motion():
    real = moving(step=(3, 0))
    flow = torch.zeros(2, 9, 2, 48, 48)
    flow[:, :, 0] = 3
    visible = torch.ones(2, 9, 1, 48, 48)
    visible[..., -3:] = 0
    assert metrics.warp_error(real, flow, visible).max() < 1e-6
    assert metrics.warp_error(real, -flow, visible).min() > 0.01, "the flow points back in time"


def test_motion_magnitude_is_opencv_and_a_known_length():
    real = moving(step=(3, 0))
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    gray = [
        [np.rint(cv2.cvtColor(f.astype(np.float32), cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8) for f in clip]
        for clip in unit(real).transpose(0, 1, 3, 4, 2)
    ]
    lengths = np.array(
        [
            [np.hypot(*dis.calc(now, before, None).transpose(2, 0, 1)).mean() for before, now in pairwise(clip)]
            for clip in gray
        ]
    )
    assert metrics.motion_magnitude(real).numpy() == pytest.approx(lengths.mean(1), rel=1e-4)
    assert metrics.motion_magnitude(real, every=3).numpy() == pytest.approx(lengths[:, ::3].mean(1), rel=1e-4)
    assert lengths.mean(1) == pytest.approx([3, 3], rel=0.15)
    assert metrics.motion_magnitude(frozen(real)).max() < 1e-4


@pytest.mark.parametrize(
    "measure", [metrics.temporal_l1, metrics.flicker_std, metrics.real_flow, metrics.motion_magnitude]
)
def test_one_frame_is_refused(measure):
    with pytest.raises(ValueError, match="at least 2 frames"):
        measure(torch.zeros(1, 1, 3, 16, 16))


def test_a_flow_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="needs flow"):
        metrics.warp_error(torch.zeros(1, 3, 3, 8, 8), torch.zeros(1, 3, 2, 8, 8), torch.zeros(1, 3, 1, 8, 8))
