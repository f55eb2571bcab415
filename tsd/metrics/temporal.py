"""Temporal metrics: temporal L1, two kinds of flicker, warping error, motion magnitude.

All are low for a frozen video, so a low value alone means nothing. Reports give the ratio to the reconstruction (or to
the real clip): 1 is ideal, and both lower and higher are worse. Videos are [B, T, 3, H, W] in [-1, 1], T >= 2.
"""

from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from tsd.clip import to_uint8
from tsd.flow import optical_flow, warp
from tsd.metrics.pixels import check_videos, to_gray, to_unit
from tsd.metrics.statistics import AgainstBase

MOTION_PRESET = cv2.DISOPTICAL_FLOW_PRESET_FAST
"""Five times faster than medium. Its error of 0.02 pixels on a shifted picture does not matter for a mean length."""


def frame_differences(video: Tensor) -> Tensor:
    """[B, T - 1, 3, H, W]: I_t - I_(t-1) in units of the [0, 1] range."""
    check_videos(video)
    if video.shape[1] < 2:
        raise ValueError("a temporal metric needs at least 2 frames, got 1")
    unit = to_unit(video)
    return unit[:, 1:] - unit[:, :-1]


def temporal_l1(video: Tensor) -> Tensor:
    """[B] in [0, 1]: mean of |I_t - I_(t-1)| over pixels, colours and time (the paper's temporal L1)."""
    return frame_differences(video).abs_().flatten(1).mean(1)


def flicker_std(video: Tensor) -> Tensor:
    """[B] in [0, 1]: std over time of I_t - I_(t-1) at every pixel and colour, then their mean.

    The paper's words ("standard deviation of pixel differences over time"); population std.
    """
    differences = frame_differences(video)
    mean = differences.mean(1, keepdim=True)
    return differences.sub_(mean).square_().mean(1).sqrt_().flatten(1).mean(1)


def flicker_mean_std(video: Tensor) -> Tensor:
    """[B] in [0, 0.5]: std over time of the frame's mean value; what the paper's public code computes."""
    check_videos(video)
    return to_unit(video).flatten(2).mean(2).std(1, correction=0)


def gray_bytes(video: Tensor) -> np.ndarray:
    """[B, T, H, W] uint8 luma on the CPU: what OpenCV's flow reads."""
    return to_gray(to_unit(video)).mul_(255).round_().byte().cpu().numpy()


def real_flow(real: Tensor) -> tuple[Tensor, Tensor]:
    """Optical flow of every frame to the one before, and where it can be trusted.

    Returns flow [B, T - 1, 2, H, W] in pixels (frame t at (x, y) shows what frame t - 1 shows at
    (x, y) + flow, as in ``Clip.flow``) and visible [B, T - 1, 1, H, W] in {0, 1} by the
    forward-backward check of ``tsd.flow``.
    """
    check_videos(real)
    b, t, _, height, width = real.shape
    if t < 2:
        raise ValueError("a flow needs at least 2 frames, got 1")
    pairs = [optical_flow(now, before) for clip in to_uint8(real) for before, now in pairwise(clip)]
    flow, visible = (torch.from_numpy(np.stack(part)).to(real.device) for part in zip(*pairs, strict=True))
    return flow.view(b, t - 1, 2, height, width), visible.view(b, t - 1, 1, height, width)


def warp_error(video: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """[B] in [0, 1]: mean |I_t - W(I_(t-1))| over the visible pixels, W by the flow of the *real* clip.

    ``flow`` and ``visible`` as ``real_flow`` gives them; nan where nothing is visible. After Lai et
    al. 2018 (Learning Blind Video Temporal Consistency), with L1 as in the paper's Eq. 9.
    """
    check_videos(video)
    b, t, _, height, width = video.shape
    if flow.shape != (b, t - 1, 2, height, width) or visible.shape != (b, t - 1, 1, height, width):
        raise ValueError(
            f"a video {list(video.shape)} needs flow {[b, t - 1, 2, height, width]} and visible "
            f"{[b, t - 1, 1, height, width]}, got {list(flow.shape)} and {list(visible.shape)}"
        )
    unit = to_unit(video)
    warped = warp(unit[:, :-1].flatten(0, 1), flow.flatten(0, 1).to(unit))
    error = warped.view_as(unit[:, 1:]).sub_(unit[:, 1:]).abs_().mul_(visible)
    return error.flatten(1).sum(1) / (3 * visible.flatten(1).sum(1))


def motion_magnitude(video: Tensor, every: int = 1) -> Tensor:
    """[B] pixels per frame: mean length of the optical flow over pixels and time (DIS, fast preset), between
    every ``every``-th frame and its next."""
    check_videos(video)
    if video.shape[1] < 2:
        raise ValueError("a temporal metric needs at least 2 frames, got 1")
    dis = cv2.DISOpticalFlow_create(MOTION_PRESET)
    lengths = []
    for frames in gray_bytes(video):
        flows = (dis.calc(now, before, None) for before, now in zip(frames[:-1:every], frames[1::every], strict=True))
        lengths.append(np.mean([np.linalg.norm(flow, axis=-1).mean() for flow in flows]))
    return torch.tensor(lengths, dtype=torch.float32, device=video.device)


class TemporalL1(AgainstBase):
    """``temporal_l1`` and its ratio to the base. ``update(video, base)``."""

    name = "temporal_l1"
    measure = staticmethod(temporal_l1)


class FlickerStd(AgainstBase):
    """``flicker_std`` (the paper's words) and its ratio to the base. ``update(video, base)``."""

    name = "flicker_std"
    measure = staticmethod(flicker_std)


class FlickerMeanStd(AgainstBase):
    """``flicker_mean_std`` (the public code's) and its ratio to the base. ``update(video, base)``."""

    name = "flicker_mean_std"
    measure = staticmethod(flicker_mean_std)
