"""Faces with something in front of the mouth, painted by the tests."""

import cv2
import numpy as np

MASKS = {"white mask": (235, 238, 240), "blue mask": (120, 170, 205), "black mask": (30, 30, 32)}
COVERS = (*MASKS, "microphone", "hand")


def covered(image: np.ndarray, points: np.ndarray, how: str) -> np.ndarray:
    """The picture with something in front of the mouth."""
    image, apart = image.copy(), float(np.linalg.norm(points[1] - points[0]))
    mouth, nose = points[3:].mean(0), points[2]
    if how in MASKS:
        sides = [(-0.9, -0.1), (0, -0.35), (0.9, -0.1)]
        outline = [nose + apart * np.float32(at) for at in sides]
        outline += [mouth + apart * np.float32(at) for at in [(0.8, 0.5), (0, 0.9), (-0.8, 0.5)]]
        cv2.fillPoly(image, [np.int32(outline)], MASKS[how])
        for number in range(4):  # pleats
            height = int(nose[1] + 0.2 * number * apart)
            pleat = tuple(int(0.93 * v) for v in MASKS[how])
            cv2.line(image, (int(mouth[0] - 0.6 * apart), height), (int(mouth[0] + 0.6 * apart), height), pleat)
    elif how == "microphone":
        foam = tuple(int(v) for v in mouth + [0, 0.2 * apart])
        cv2.ellipse(image, foam, (int(0.4 * apart), int(0.45 * apart)), 0, 0, 360, (35, 35, 38), -1)
    else:
        cheek = (0.45 * points[0] + 0.55 * points[3]).astype(int)
        skin = tuple(map(int, image[cheek[1], cheek[0]]))
        for number in range(4):
            height = int(mouth[1] + (0.24 * number - 0.35) * apart)
            ends = (int(mouth[0] - 0.8 * apart), height), (int(mouth[0] + 0.6 * apart), height)
            cv2.line(image, *ends, skin, int(0.22 * apart))
            cv2.line(image, *(end for end in ends), tuple(int(0.8 * v) for v in skin), 1)
    return image
