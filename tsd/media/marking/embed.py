"""The mark written into frames: strong where a picture is busy, nothing where it is flat."""

import cv2
import numpy as np

from tsd.clip import FPS
from tsd.media.marking import pattern
from tsd.media.marking.code import encode

PSNR = 44.4
"""dB: marked against unmarked frames, at least; the mark takes 0.4 less than it may."""
LARGEST = 8.0
"""Levels of 255 that a pixel changes by at most."""
BUSY_PER_LEVEL = 0.6
"""The mark's standard deviation over that of the picture around it, at most: quiet pictures get less than PSNR allows."""
AROUND = 9
"""Units: side of the square that says how busy a picture is at a place."""


class Mark:
    """A payload of 32 bits, to be laid over frames. A frame's mark depends on the frame and its number alone, so streams
    may be cut anywhere.

    >>> mark = Mark(0x1234ABCD)
    >>> frames = mark(np.full((2, 128, 128, 3), 99, np.uint8), first=0)  # a flat picture stays as it is
    >>> (frames == 99).all()
    np.True_
    """

    def __init__(self, payload: int, fps: float = FPS):
        self.payload, self.fps = payload, fps
        self.tile = pattern.tile(encode(payload))

    def __call__(self, frames: np.ndarray, first: int = 0, generated: np.ndarray | None = None) -> np.ndarray:
        """uint8 [T, H, W, 3] -> the same, marked; ``first`` is the number of the first frame in its video.

        ``generated`` bool [T, H, W]: only these pixels change; then the pattern is scaled to the box around those of
        the first frame given.
        """
        masks = generated if generated is not None else [None] * len(frames)
        pairs = zip(frames, masks, strict=True)
        return np.stack([self.frame(frame, first + i, mask) for i, (frame, mask) in enumerate(pairs)])

    def frame(self, picture: np.ndarray, number: int, generated: np.ndarray | None = None) -> np.ndarray:
        """One frame uint8 [H, W, 3] -> the same, marked."""
        height, width = picture.shape[:2]
        pitch = min(height, width) / pattern.UNITS
        size = (round(width / pitch), round(height / pitch))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if pitch != 1 else picture
        change = self.change(small, pattern.sign(number / self.fps))
        if pitch != 1:
            change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
        levels = np.rint(change).astype(np.int16)
        if generated is not None:
            levels *= generated
        return cv2.add(picture, cv2.merge([levels] * 3), dtype=cv2.CV_8U)

    def change(self, picture: np.ndarray, sign: float) -> np.ndarray:
        """Levels float32 [h, w] to add to all colours of a picture uint8 [h, w, 3] in units of the pattern."""
        busy = activity(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32))[1]
        height, width = busy.shape
        across, down = -(-width // pattern.TILE), -(-height // pattern.TILE)
        spread = np.tile(self.tile, (down, across))[:height, :width] * busy
        strength = 255 * 10 ** (-PSNR / 20) / max(float(np.sqrt(np.mean(spread * spread))), 1e-6)
        return np.clip(sign * min(strength, BUSY_PER_LEVEL) * spread, -LARGEST, LARGEST)


def activity(luma: np.ndarray, around: int = AROUND) -> tuple[np.ndarray, np.ndarray]:
    """float32 [H, W] -> what differs from the mean around each pixel, and the standard deviation of that."""
    detail = luma - cv2.blur(luma, (around, around))
    return detail, cv2.sqrt(cv2.blur(detail * detail, (around, around)))
