"""PSNR, SSIM and sharpness against scikit-image, OpenCV and loops, and their known failures."""

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tsd import metrics


def textured(clips=2, frames=6, height=40, width=48, seed=0):
    """Random pictures with smooth and busy parts, [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(clips * frames, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    busy = torch.rand(smooth.shape, generator=generator)
    mix = torch.linspace(0, 0.6, width)
    return ((1 - mix) * smooth + mix * busy).view(clips, frames, 3, height, width) * 2 - 1


def noisy(video, strength=0.2, seed=1):
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(seed))
    return (video + strength * noise).clamp(-1, 1)


def blurred(video, sigma=1.5):
    pictures = video.flatten(0, 1).permute(0, 2, 3, 1).numpy()
    out = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])
    return torch.from_numpy(out).permute(0, 3, 1, 2).view_as(video)


def pictures(video):
    """[T, H, W, 3] in [0, 1], NumPy."""
    return ((video + 1) / 2).permute(0, 2, 3, 1).numpy()


def test_psnr_pools_over_the_clip_as_scikit_image():
    target = textured()
    video = noisy(target)
    video[0, 0] = target[0, 0].flip(-1)  # one bad frame: a mean of dB per frame would hide it
    expected = [
        peak_signal_noise_ratio(pictures(t), pictures(v), data_range=1) for v, t in zip(video, target, strict=True)
    ]
    assert metrics.psnr(video, target).numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_psnr_known_values():
    target = torch.zeros(1, 3, 3, 8, 8)
    assert metrics.psnr(target + 0.2, target).item() == pytest.approx(20, abs=1e-4), "0.1 in [0, 1]"
    assert metrics.psnr(target, target).item() == pytest.approx(100), "equal videos stay finite"
    assert metrics.psnr(target + 1, target).item() == metrics.psnr(target + 5, target).item(), "clamped as a file is"


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim])
def test_half_precision_video_is_scored_in_full(score):
    target = textured()
    video = noisy(target).bfloat16()
    assert torch.equal(score(video, target.bfloat16()), score(video.float(), target.bfloat16().float()))


def test_ssim_is_that_of_scikit_image():
    target = textured()
    video = noisy(target)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)
    expected = [
        np.mean([structural_similarity(x, y, **options) for x, y in zip(pictures(v), pictures(t), strict=True)])
        for v, t in zip(video, target, strict=True)
    ]
    assert metrics.ssim(video, target).numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert metrics.ssim(target, target).numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim])
def test_more_damage_scores_lower(score):
    target = textured()
    ladder = [score(noisy(target, s), target).mean().item() for s in (0.02, 0.1, 0.4)]
    assert ladder == sorted(ladder, reverse=True)
    swapped = score(target.flip(0), target).mean()
    shifted = score(target.roll(3, 1), target).mean()
    assert max(swapped, shifted) < ladder[0]
    assert (
        score(blurred(target), target).mean()
        < score(blurred(target, 0.5), target).mean()
        < score(target, target).mean()
    )


def loop_sharpness(picture, box):
    gray = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(gray.astype(np.float64), cv2.CV_64F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    height, width = gray.shape
    inside = [
        edges[y, x]
        for y in range(height)
        for x in range(width)
        if box[0] <= (x + 0.5) / width <= box[2] and box[1] <= (y + 0.5) / height <= box[3]
    ]
    return np.var(inside)


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.2, 0.31, 0.77, 0.9)])
def test_sharpness_is_that_of_opencv_inside_the_box(box):
    video = textured()
    expected = [[loop_sharpness(picture, box) for picture in pictures(clip)] for clip in video]
    boxes = torch.tensor(box).expand(2, 6, 4)
    assert metrics.sharpness(video, boxes).numpy() == pytest.approx(np.array(expected), rel=1e-4)
    if box[2] == 1.0:
        assert metrics.sharpness(video).numpy() == pytest.approx(np.array(expected), rel=1e-4)


def test_sharpness_sees_blur_noise_and_decay():
    base = textured(frames=30)
    decaying = base.clone()
    decaying[:, 20:] = blurred(base)[:, 20:]
    track, known = metrics.sharpness(decaying), metrics.sharpness(base)
    (start, middle, end), (first, half, last) = metrics.start_middle_end(track), metrics.start_middle_end(known)
    assert torch.equal(start, first) and torch.equal(middle, half) and (end < 0.5 * last).all() and (end < start).all()
    assert metrics.sharpness(noisy(base)).mean() > known.mean()


def test_frames_without_a_box_are_unknown():
    video = textured()
    box = torch.tensor([0.2, 0.2, 0.8, 0.8]).repeat(2, 6, 1)
    box[0, 2:] = torch.nan
    box[1] = torch.nan
    track = metrics.sharpness(video, box)
    assert torch.equal(track.isnan(), box[..., 0].isnan())
    start, _, end = metrics.start_middle_end(track)
    assert torch.equal(start[0], track[0, :2].mean()) and end.isnan().all()


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (torch.zeros(2, 3, 8, 8), r"\[B, T, 3, H, W\], got \[2, 3, 8, 8\]"),
        (torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), "floating point"),
        (torch.zeros(1, 3, 3, 8, 8), "same shape"),
    ],
)
def test_wrong_videos_are_refused(video, words):
    with pytest.raises(ValueError, match=words):
        metrics.psnr(video, torch.zeros(1, 2, 3, 8, 8, dtype=video.dtype))


def test_ssim_refuses_pictures_below_its_window():
    with pytest.raises(ValueError, match="11 pixels a side, got 8x8"):
        metrics.ssim(torch.zeros(1, 2, 3, 8, 8), torch.zeros(1, 2, 3, 8, 8))
