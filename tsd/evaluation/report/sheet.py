"""The contact sheet: moments of real and generated faces."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tsd.clip import FPS

CELL, LABEL, GAP = 128, 20, 8
"""Pixels: side of a picture on the sheet, height of a line of text, space between faces."""


def moments(num_frames: int, count: int = 6) -> np.ndarray:
    """Frame numbers spread evenly over a clip, first and last included."""
    return np.linspace(0, num_frames - 1, count).round().astype(int)


def sheet(
    faces: list[dict], title: str, rows: tuple[str, ...] = ("real", "generated"), cell: int = CELL, margin: int = 0
) -> Image.Image:
    """Faces in two columns; of each a row of moments for each of ``rows``, the first of them on top.

    ``faces``: {"name": str, "numbers": [M] frame numbers, <row>: uint8 [M, R, R, 3] for every row}. ``cell``: side of
    a picture in pixels. ``margin``: width of a margin for the names of rows; 0: without them.
    """
    across = min(2, len(faces))
    down = -(-len(faces) // across)
    width = margin + max(len(face["numbers"]) for face in faces) * cell
    height = LABEL + len(rows) * cell + GAP
    canvas = Image.new("RGB", (across * (width + GAP) - GAP, LABEL + down * height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((4, 2), title, "black", font)
    for i, face in enumerate(faces):
        left, top = (i % across) * (width + GAP), LABEL + (i // across) * height
        for r, kind in enumerate(rows if margin else ()):
            draw.text((left + 4, top + LABEL + r * cell + cell // 2 - 8), kind, "black", font)
        for m, n in enumerate(face["numbers"]):
            x, text = left + margin + m * cell, f"{n / FPS:.1f} s"
            draw.text((x + 4, top + 2), text if m else f"{face['name']}, {text}", "black", font)
            for r, kind in enumerate(rows):
                picture = Image.fromarray(face[kind][m]).resize((cell, cell), Image.Resampling.BICUBIC)
                canvas.paste(picture, (x, top + LABEL + r * cell))
    return canvas
