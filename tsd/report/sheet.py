"""The contact sheet: moments of real and generated faces."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tsd.clip import FPS

CELL, LABEL, GAP = 128, 20, 8
"""Pixels: side of a picture on the sheet, height of a line of text, space between faces."""


def moments(num_frames: int, count: int = 6) -> np.ndarray:
    """Frame numbers spread evenly over a clip, first and last included."""
    return np.linspace(0, num_frames - 1, count).round().astype(int)


def sheet(faces: list[dict], title: str) -> Image.Image:
    """Faces in two columns; of each the real moments above and the generated ones below.

    ``faces``: {"name": str, "numbers": [M] frame numbers, "real", "generated": uint8 [M, R, R, 3]}.
    """
    across = min(2, len(faces))
    down = -(-len(faces) // across)
    width = max(len(face["numbers"]) for face in faces) * CELL
    height = LABEL + 2 * CELL + GAP
    canvas = Image.new("RGB", (across * (width + GAP) - GAP, LABEL + down * height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((4, 2), title, "black", font)
    for i, face in enumerate(faces):
        left, top = (i % across) * (width + GAP), LABEL + (i // across) * height
        for m, n in enumerate(face["numbers"]):
            x, text = left + m * CELL, f"{n / FPS:.1f} s"
            draw.text((x + 4, top + 2), text if m else f"{face['name']}, {text}", "black", font)
            for row, kind in enumerate(("real", "generated")):
                cell = Image.fromarray(face[kind][m]).resize((CELL, CELL), Image.Resampling.BICUBIC)
                canvas.paste(cell, (x, top + LABEL + row * CELL))
    return canvas
