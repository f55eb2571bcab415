"""A drawn figure as a small file."""

from io import BytesIO

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

COLOURS = 64
"""Of a chart's PNG: lines and letters look the same, in a quarter of the bytes (our choice)."""


def figure_png(figure: Figure, dpi: int, **how) -> bytes:
    """The figure, which is closed, as a PNG on white; ``how`` goes to matplotlib's ``savefig``."""
    drawn, few = BytesIO(), BytesIO()
    figure.savefig(drawn, dpi=dpi, format="png", **how)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(few, "PNG", optimize=True)
    return few.getvalue()
