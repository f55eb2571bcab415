"""A label that everybody sees: words in a corner of every frame."""

import cv2
import numpy as np

TEXT = "AI-generated"
WIDTH = 0.8
"""Of the frame's, which the longest line takes."""
FONT, DARK, BRIGHT = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0), (255, 255, 255)


def labelled(frames: np.ndarray, *lines: str) -> np.ndarray:
    """uint8 [T, H, W, 3] -> the same with lines of ASCII text in the lower left corner, white with a dark edge."""
    height, width = frames.shape[1:3]
    unit = max(cv2.getTextSize(line, FONT, 1.0, 1)[0][0] for line in lines)
    scale = WIDTH * width / unit
    step, thick = max(8, round(36 * scale)), max(1, round(1.5 * scale))
    out = frames.copy()
    for frame in out:
        for row, line in enumerate(reversed(lines)):
            at = (round(0.03 * width), height - round(0.03 * height) - row * step)
            cv2.putText(frame, line, at, FONT, scale, DARK, thick + 2, cv2.LINE_AA)
            cv2.putText(frame, line, at, FONT, scale, BRIGHT, thick, cv2.LINE_AA)
    return out
