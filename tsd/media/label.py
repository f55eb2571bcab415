"""A label that everybody sees: words in a corner of every frame."""

import cv2
import numpy as np

TEXT = "AI-generated"
WIDTH = 0.8
"""Of the frame's, which the longest line takes."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def labelled(frames: np.ndarray, *lines: str) -> np.ndarray:
    """uint8 [T, H, W, 3] -> the same with lines of ASCII text in the lower left corner, white with a dark edge."""
    out, (letters, edge) = frames.copy(), drawn(frames.shape[1:3], lines)
    out[:, edge] = 0
    out[:, letters > 0] = np.maximum(out[:, letters > 0], letters[letters > 0][:, None])
    return out


def drawn(size: tuple[int, int], lines: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Levels of the letters uint8 [H, W], and where they or their edge are, bool [H, W]. The edge is grown from the
    letters: OpenCV 5 sets thicker letters further apart."""
    height, width = size
    unit = max(cv2.getTextSize(line, FONT, 1.0, 1)[0][0] for line in lines)
    scale = WIDTH * width / unit
    step, thick = max(8, round(36 * scale)), max(1, round(1.5 * scale))
    letters = np.zeros(size, np.uint8)
    for row, line in enumerate(reversed(lines)):
        at = (round(0.03 * width), height - round(0.03 * height) - row * step)
        cv2.putText(letters, line, at, FONT, scale, 255, thick, cv2.LINE_AA)
    grown = cv2.dilate(letters, np.ones((3, 3), np.uint8), iterations=max(1, round(scale)))
    return letters, grown > 64
