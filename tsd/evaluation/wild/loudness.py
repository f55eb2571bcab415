"""The control ``loudness``: lips guessed from how loud it is, by a linear fit on recorded people who are judged by
nobody. What hears words must do better.

The fit lies beside this file (``loudness.json``), with how it was made; ``make evaluate ARGS="loudness=<corpus>"``
makes it again.
"""

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from tsd.media.loudness import band_levels

SIDE = 3
"""Frames before and after a frame that its guess knows."""

RIDGE = 1.0
"""Weight of the squares of the fit's coefficients, with features of standard deviation about 1. Our choice."""


def features(mel: np.ndarray) -> np.ndarray:
    """Log-mel [T * MELS_PER_FRAME, MELS] -> [T, (2 SIDE + 1) * 3]: the ``band_levels`` of the frame and its
    neighbours; ends are repeated."""
    loud = band_levels(mel)
    padded = np.pad(loud, ((SIDE, SIDE), (0, 0)), mode="edge")
    return np.concatenate([padded[i : i + len(loud)] for i in range(2 * SIDE + 1)], 1)


@dataclass(frozen=True)
class Loudness:
    """Linear maps from ``features`` to lip gap and mouth width: ``weights`` [F, 2], ``bias`` [2]."""

    weights: np.ndarray
    bias: np.ndarray

    def guess(self, heard: np.ndarray) -> np.ndarray:
        """``features`` [T, F] -> lips [T, 2] in units of the distance of the eyes."""
        return heard @ self.weights + self.bias

    @classmethod
    def fit(cls, clips: list[tuple[np.ndarray, np.ndarray]]) -> "Loudness":
        """Least squares over clips (log-mel [T * 4, 80], lips [T, 2]); every clip's own means are taken away first, so
        that neither a person's mouth nor a microphone's level is fitted."""
        heard, seen = [], []
        for mel, lips in clips:
            found = features(mel)
            length = min(len(found), len(lips))
            heard.append(found[:length])
            seen.append(lips[:length])
        x, y = (np.concatenate([part - part.mean(0) for part in parts]) for parts in (heard, seen))
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        bias = np.mean([lips.mean(0) - found.mean(0) @ weights for found, lips in zip(heard, seen, strict=True)], 0)
        return cls(weights, bias)

    @classmethod
    def stored(cls) -> "Loudness":
        """The fit that lies beside this file."""
        content = json.loads(files(__package__).joinpath("loudness.json").read_text(encoding="utf-8"))
        return cls(np.array(content["weights"]), np.array(content["bias"]))

    def to_json(self, made: dict) -> str:
        """``made``: of whom and how."""
        values = {"weights": self.weights.round(6).tolist(), "bias": self.bias.round(6).tolist()}
        return json.dumps({"made": made} | values, indent=1) + "\n"
