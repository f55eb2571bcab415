"""One row of numbers: the lips of a video, or of a guess at them, beside those of the real clip."""

from dataclasses import dataclass

import numpy as np

from tsd.evaluation.clips.controls import SHIFT
from tsd.metrics.lips import agreement, closed_below, closed_where_due, delay

Row = dict[str, float]

READER = "MediaPipe's Face Mesh"


@dataclass(frozen=True)
class RealLips:
    """What a video is compared with: ``lips`` [T, 2], lip gap and mouth width of every real frame in units of the
    distance of the eyes, and the aligned visemes [T, V], None where nobody knows what is said."""

    lips: np.ndarray
    visemes: np.ndarray | None = None

    def row(self, lips: np.ndarray) -> Row:
        """Lips [T, 2] against these. ``amplitude``: std of the gap over time; ``opened``: its mean."""
        length = min(len(lips), len(self.lips))
        (gap, width), (real, real_width) = lips[:length].T, self.lips[:length].T
        found = {
            "lips_r": agreement(gap, real),
            "width_r": agreement(width, real_width),
            "lag": delay(gap, real),
            "amplitude": float(gap.std()),
            "width_amplitude": float(width.std()),
            "opened": float(gap.mean()),
        }
        found["in_step"] = float(abs(found["lag"]) <= 1) if np.isfinite(found["lag"]) else float("nan")
        return (
            found
            if self.visemes is None
            else found | closed_where_due(gap, self.visemes, closed_below(self.lips[:, 0]))
        )

    def late(self) -> np.ndarray:
        """These lips [T, 2], SHIFT frames late."""
        return self.lips[(np.arange(len(self.lips)) - SHIFT).clip(0)]
