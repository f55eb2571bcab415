"""Optical flow between two neighbouring frames, with occlusions (for the warp of Eq. 9)."""

import cv2
import numpy as np


def optical_flow(frame: np.ndarray, previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense inverse-search flow (Kroeger et al. 2016) from ``frame`` to ``previous``, uint8 [H, W, 3] each.

    Returns flow float32 [2, H, W] in pixels (x, y), so that frame(x) = previous(x + flow(x)), and visible
    float32 [1, H, W] in {0, 1}: 1 where the flow back returns (Sundaram et al. 2010: |f + b|^2 <
    0.01 (|f|^2 + |b|^2) + 0.5) and the target lies inside the picture.
    """
    now, before = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, previous))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    forward, backward = search.calc(now, before, None), search.calc(before, now, None)
    height, width = now.shape
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    xs, ys = xs + forward[..., 0], ys + forward[..., 1]
    back = cv2.remap(backward, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = ((forward + back) ** 2).sum(-1)
    agrees = error < 0.01 * ((forward**2).sum(-1) + (back**2).sum(-1)) + 0.5
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return forward.transpose(2, 0, 1), (agrees & inside)[None].astype(np.float32)
