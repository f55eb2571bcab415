"""Optical flow of a whole clip in a file: a few hundred bytes a frame instead of the 64 KiB that it was computed as."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from tsd.data.arrays import read_array
from tsd.flow import optical_flow

SIDE, GRID = 128, 64
"""Pixels at which the flow is computed, and of the grid on which it is kept."""

STEP = 0.25
"""Pixels of SIDE by which stored values differ: the rounding is at most 1/1000 of the picture's side; int8 then
reaches a quarter of the side per frame, beyond which nothing is visible."""


class Flows:
    """Flow from every frame t in 1..T-1 to frame t - 1, and where it can be believed.

    values: int8 [T - 1, 2, GRID, GRID] in steps; visible: uint8 [T - 1, GRID * GRID / 8], packed bits.
    """

    def __init__(self, values: np.ndarray, visible: np.ndarray):
        self.values, self.visible = values, visible

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.visible.nbytes

    def at(self, frame: int, resolution: int, flipped: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """As ``optical_flow`` gives them for a picture of ``resolution`` pixels: flow float32 [2, S, S] in pixels and
        visible float32 [1, S, S] in {0, 1}; ``flipped``: of the mirrored pictures."""
        flow = self.values[frame - 1].astype(np.float32) * (STEP * resolution / SIDE)
        seen = np.unpackbits(self.visible[frame - 1]).reshape(GRID, GRID).astype(np.float32)
        sized = (resolution, resolution)
        flow = np.stack([cv2.resize(plane, sized, interpolation=cv2.INTER_LINEAR) for plane in flow])
        seen = cv2.resize(seen, sized, interpolation=cv2.INTER_NEAREST)[None]
        if flipped:
            flow, seen = flow[:, :, ::-1] * np.float32([[[-1]], [[1]]]), seen[:, :, ::-1]
        return np.ascontiguousarray(flow), np.ascontiguousarray(seen)

    def to_bytes(self) -> bytes:
        """The file's content, a compressed ``.npz``."""
        buffer = BytesIO()
        np.savez_compressed(buffer, flow=self.values, visible=self.visible)
        return buffer.getvalue()


def compute_flows(frames: np.ndarray) -> Flows:
    """uint8 [T, H, H, 3] -> the flow between neighbours, forward-backward checked (``tsd.flow.optical_flow``)."""
    small = [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]
    values = np.zeros((max(len(small) - 1, 0), 2, GRID, GRID), np.int8)
    visible = np.zeros((len(values), GRID * GRID // 8), np.uint8)
    for t in range(1, len(small)):
        flow, seen = optical_flow(small[t], small[t - 1])
        coarse = np.stack([cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_AREA) for plane in flow])
        values[t - 1] = np.clip(np.round(coarse / STEP), -127, 127)
        whole = cv2.resize(seen[0], (GRID, GRID), interpolation=cv2.INTER_AREA) > 0.99
        visible[t - 1] = np.packbits(whole)
    return Flows(values, visible)


def read_flows(path: Path, num_frames: int, content: bytes | None = None) -> Flows:
    """The flows of a clip of ``num_frames``; ``content``: what the file holds, where it is part of another one.
    ValueError names a file that is not so."""
    values, visible = (read_array(path, name, content) for name in ("flow", "visible"))
    fits = values.shape == (num_frames - 1, 2, GRID, GRID) and visible.shape == (num_frames - 1, GRID * GRID // 8)
    if not fits or values.dtype != np.int8 or visible.dtype != np.uint8:
        raise ValueError(
            f"{path}: flow is {values.dtype} {list(values.shape)}, not int8 of {num_frames - 1} pairs; prepare again"
        )
    return Flows(values, visible)
