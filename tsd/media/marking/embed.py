"""The mark written into frames: strong where a picture is busy, nothing where it is flat."""

import cv2
import numpy as np

from tsd.media.marking import pattern
from tsd.media.marking.code import encode
from tsd.media.signals import FPS

PSNR = 45.0
"""dB: marked against unmarked frames, at least, over a period of the carrier and before levels are rounded."""
LARGEST = 8.0
"""Levels of 255 that a pixel changes by at most."""
BUSY_PER_LEVEL = 0.6
"""The mark's standard deviation over that of the picture around it, at most: quiet pictures get less than PSNR lets."""
AROUND = 9
"""Units: side of the square that says how busy a picture is at a place."""
INSIDE = 11
"""Units: a place is as busy as the quietest within a square of this side, so that a mark does not reach from an edge
into a flat part beside it."""


class Mark:
    """A payload of 32 bits, to be laid over frames. A frame's mark depends on the frame and its number alone, so
    streams may be cut anywhere.

    ``unit``: pixels of one unit of the pattern, the face's square over UNITS; None: the frame's shorter side over that.

    >>> frames = np.full((2, 128, 128, 3), 99, np.uint8)
    >>> bool((Mark(0x1234ABCD)(frames) == 99).all())  # a flat picture stays as it is
    True
    """

    def __init__(self, payload: int, unit: float | None = None, fps: float = FPS):
        self.payload, self.unit, self.fps = payload, unit, fps
        self.tile = pattern.tile(encode(payload))

    def __call__(self, frames: np.ndarray, first: int = 0, before: np.ndarray | None = None) -> np.ndarray:
        """uint8 [T, H, W, 3] -> the same, marked; ``first`` is the number of the first frame in its video.

        ``before`` [T or 1, H, W, 3]: frames of which these are a generated change; what equals them is not touched.
        """
        swings = [pattern.swing((first + i) / self.fps) for i in range(len(frames))]
        if before is None:
            return np.stack([self.frame(*pair) for pair in zip(frames, swings, strict=True)])
        before = np.broadcast_to(before, frames.shape)
        return np.stack([self.frame(*of_frame) for of_frame in zip(frames, swings, before, strict=True)])

    def frame(self, picture: np.ndarray, swing: float, before: np.ndarray | None = None) -> np.ndarray:
        """One frame uint8 [H, W, 3] -> the same, marked."""
        height, width = picture.shape[:2]
        unit = self.unit or min(height, width) / pattern.UNITS
        size = (max(1, round(width / unit)), max(1, round(height / unit)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        made = None if before is None else np.any(picture != before, axis=2)
        share = None if made is None else cv2.resize(made.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        change = cv2.resize(self.change(small, swing, share), (width, height), interpolation=cv2.INTER_LINEAR)
        levels = np.rint(change).astype(np.int16)
        if made is not None:
            levels *= made
        return cv2.add(picture, cv2.merge([levels] * 3), dtype=cv2.CV_8U)

    def change(self, picture: np.ndarray, swing: float, share: np.ndarray | None = None) -> np.ndarray:
        """Levels float32 [h, w] to add to all colours of a picture uint8 [h, w, 3] in units of the pattern, of which
        ``share`` [h, w] in 0..1 is generated."""
        busy = activity(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32))[1]
        busy = cv2.blur(cv2.erode(busy, np.ones((INSIDE, INSIDE), np.uint8)), (AROUND, AROUND))
        height, width = busy.shape
        across, down = -(-width // pattern.TILE), -(-height // pattern.TILE)
        spread = np.tile(self.tile, (down, across))[:height, :width] * busy
        power = cv2.mean(spread * spread if share is None else spread * spread * share)[0]
        power /= 1.0 if share is None else max(cv2.mean(share)[0], 1e-6)
        strength = 255 * 10 ** (-PSNR / 20) / max(power**0.5, 1e-6)
        return np.clip(spread * (swing * min(strength, BUSY_PER_LEVEL)), -LARGEST, LARGEST)


def activity(luma: np.ndarray, around: int = AROUND) -> tuple[np.ndarray, np.ndarray]:
    """float32 [H, W] -> what differs from the mean around each pixel, and the standard deviation of that."""
    detail = luma - cv2.blur(luma, (around, around))
    power = cv2.blur(detail * detail, (around, around))
    return detail, cv2.sqrt(cv2.max(power, 0.0))  # OpenCV's running sums leave tiny negative numbers
