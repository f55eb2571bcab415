"""PSNR, SSIM and sharpness. Videos are [B, T, 3, H, W] in [-1, 1]."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from tsd.metrics.statistics import PerClip

MAX_PSNR = 100.0
"""dB. Equal videos would have an infinite PSNR, and one such clip would make the mean infinite."""

SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03
"""Wang et al. 2004, section III-B."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as OpenCV's RGB2GRAY."""


def check_videos(*videos: Tensor) -> None:
    """ValueError unless all are float [B, T, 3, H, W] of one shape."""
    for video in videos:
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"a video must be [B, T, 3, H, W], got {list(video.shape)}")
        if not video.is_floating_point():
            raise ValueError(f"a video must be floating point in [-1, 1], got {video.dtype}")
        if video.shape != videos[0].shape:
            raise ValueError(f"videos must have the same shape, got {list(videos[0].shape)} and {list(video.shape)}")


def to_unit(video: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1] in float32, clamped to what a video file can show."""
    return video.float().add(1).mul_(0.5).clamp_(0, 1)


def to_gray(video: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1] -> luma [..., H, W] in [0, 1]."""
    red, green, blue = video.unbind(-3)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def psnr(video: Tensor, target: Tensor) -> Tensor:
    """[B] dB, 10 log10(1 / MSE) with the MSE in [0, 1] pooled over the whole clip, capped at MAX_PSNR.

    Against ``recon`` this is the PSNR of the paper's Table 1.
    """
    check_videos(video, target)
    mse = (to_unit(video) - to_unit(target)).square_().flatten(1).mean(1)
    return -10 * mse.clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def gaussian_blur_matrix(size: int, device=None) -> Tensor:
    """[size - 10, size]: the SSIM window as a banded matrix, valid positions only."""
    offsets = torch.arange(SSIM_WINDOW, device=device) - SSIM_WINDOW // 2
    taps = torch.exp(-0.5 * (offsets / SSIM_SIGMA).square())
    taps = taps / taps.sum()
    rows = torch.arange(size - SSIM_WINDOW + 1, device=device)
    matrix = torch.zeros(len(rows), size, device=device)
    matrix[rows[:, None], rows[:, None] + torch.arange(SSIM_WINDOW, device=device)] = taps
    return matrix


def ssim(video: Tensor, target: Tensor) -> Tensor:
    """[B] in [-1, 1], 1 is equal: structural similarity (Wang et al. 2004, eq. 13), mean over a clip.

    11x11 Gaussian window of sigma 1.5 on [0, 1], each colour on its own, positions where the whole
    window lies in the picture: scikit-image's ``gaussian_weights=True, use_sample_covariance=False``.
    """
    check_videos(video, target)
    height, width = video.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {SSIM_WINDOW} pixels a side, got {height}x{width}")
    down, across = gaussian_blur_matrix(height, video.device), gaussian_blur_matrix(width, video.device).T
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    totals = []
    # Frame by frame: the five blurred maps then stay in the processor's cache, and memory does not grow with T.
    for x, y in zip(video.transpose(0, 1), target.transpose(0, 1), strict=True):
        x, y = to_unit(x), to_unit(y)
        mx, my, xx_yy, xy = (down @ (m @ across) for m in (x, y, x * x + y * y, x * y))
        means, product = mx * mx + my * my, mx * my
        top = (2 * product + c1) * (2 * (xy - product) + c2)
        totals.append((top / ((means + c1) * (xx_yy - means + c2))).flatten(1).mean(1))
    return torch.stack(totals).mean(0)


def sharpness(video: Tensor, box: Tensor | None = None) -> Tensor:
    """[B, T] variance of the Laplacian (4-neighbour, mirrored border) of the luma in [0, 1], per frame.

    ``box`` [B, T, 4] x0 y0 x1 y1 in units of the picture's side limits it to pixels whose centre lies
    inside (the face); a box of nan, or without a pixel, gives nan. Source: Pech-Pacheco et al. 2000.
    """
    check_videos(video)
    height, width = video.shape[-2:]
    gray = pad(to_gray(to_unit(video)), (1, 1, 1, 1), mode="reflect")
    # Sums of shifted views: several times faster on a CPU than a convolution with one channel.
    edges = gray[..., 1:-1, :-2] + gray[..., 1:-1, 2:]
    edges.add_(gray[..., :-2, 1:-1]).add_(gray[..., 2:, 1:-1]).sub_(gray[..., 1:-1, 1:-1], alpha=4)
    if box is None:
        return edges.flatten(2).var(2, correction=0)
    x = (torch.arange(width, device=video.device) + 0.5) / width
    y = (torch.arange(height, device=video.device) + 0.5) / height
    x0, y0, x1, y1 = (side[..., None] for side in box.to(edges).unbind(-1))
    inside = ((y >= y0) & (y <= y1))[..., :, None] & ((x >= x0) & (x <= x1))[..., None, :]
    count = inside.sum((2, 3))
    mean = (edges * inside).sum((2, 3)) / count
    return (edges - mean[..., None, None]).square_().mul_(inside).sum((2, 3)) / count


class PSNR(PerClip):
    """``psnr`` in dB per clip, mean over clips. ``update(video, target)``."""

    columns = ("psnr",)
    higher_is_better = True

    def score(self, video: Tensor, target: Tensor) -> tuple[Tensor]:
        return (psnr(video, target),)
