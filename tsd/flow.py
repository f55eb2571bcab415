"""Optical flow between neighbouring frames, with occlusions, and the warp W of Eq. 9 that uses it."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def optical_flow(frame: np.ndarray, previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense inverse-search flow (Kroeger et al. 2016) from ``frame`` to ``previous``, uint8 [H, W, 3] each.

    Returns flow float32 [2, H, W] in pixels (x, y), so that frame(x) = previous(x + flow(x)), and visible
    float32 [1, H, W] in {0, 1}, see ``consistent``.
    """
    now, before = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, previous))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = search.calc(now, before, None), search.calc(before, now, None)
    return forward.transpose(2, 0, 1), consistent(forward, backward)[None]


def consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Forward-backward check, float32 [H, W] in {0, 1}: 1 where following ``flow`` and then ``back`` ([H, W, 2] each)
    stays inside the picture and leads back: |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5, with b read where f points to
    (Sundaram et al. 2010, eq. 5).
    """
    height, width = flow.shape[:2]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    xs, ys = xs + flow[..., 0], ys + flow[..., 1]
    there = cv2.remap(back, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap = ((flow + there) ** 2).sum(-1)
    agrees = gap < 0.01 * ((flow**2).sum(-1) + (there**2).sum(-1)) + 0.5
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return (agrees & inside).astype(np.float32)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """W of Eq. 9: result(x, y) = picture((x, y) + flow(x, y)), bilinear, borders repeated.

    picture [N, C, H, W]; flow [N, 2, H, W] in pixels.
    """
    height, width = picture.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([(x + 0.5) / width, (y + 0.5) / height], -1) * 2 - 1
    return F.grid_sample(picture, grid.to(picture.dtype), padding_mode="border", align_corners=False)
