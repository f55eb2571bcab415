"""The light of a photograph: nets that know well-lit faces in colour are shown one, and what they paint is put back
into the photograph's own light."""

from dataclasses import dataclass

import numpy as np

FACE = (0.3, 0.9), (0.25, 0.75)
"""Rows and columns of a framed picture that show skin for the most part, in units of its side."""

BRIGHT, LARGEST_GAIN = 0.45, 4.0
"""Luminance in 0..1 of the brightest tenth of a face below which a photograph counts as dark, and by how much it is
made brighter at most. Our choice: dark skin in full light is above."""

COLOURED = 0.08
"""Mean chroma (largest less smallest of red, green and blue, in 0..1, over luminance) of a face below which what is
painted loses colour in proportion. Our choice: faces in daylight have 0.2 and more."""

LUMINANCE = np.float32([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Light:
    """gain: what makes the photograph's face as bright as usual. colour: its share of usual colour, 0..1."""

    gain: float = 1.0
    colour: float = 1.0

    def __post_init__(self):
        if not (1 <= self.gain <= LARGEST_GAIN and 0 <= self.colour <= 1):
            raise ValueError(f"gain is 1 to {LARGEST_GAIN} and colour 0 to 1, got {self.gain}, {self.colour}")

    @classmethod
    def of(cls, face: np.ndarray) -> "Light":
        """Of a framed face uint8 [R, R, 3]."""
        rows, columns = (slice(int(begin * len(face)), int(end * len(face))) for begin, end in FACE)
        skin = face[rows, columns].reshape(-1, 3).astype(np.float32) / 255
        luminance = skin @ LUMINANCE
        gain = np.clip(BRIGHT / max(float(np.quantile(luminance, 0.9)), 1e-3), 1, LARGEST_GAIN)
        chroma = float((skin.max(1) - skin.min(1)).mean() / max(float(luminance.mean()), 1e-3))
        return cls(float(gain), min(1.0, chroma / COLOURED))

    def usual(self, face: np.ndarray) -> np.ndarray:
        """A picture uint8 [..., 3] in the light that nets know."""
        return face if self.gain == 1 else np.clip(np.rint(face * np.float32(self.gain)), 0, 255).astype(np.uint8)

    def own(self, change: np.ndarray) -> np.ndarray:
        """A difference of pictures float32 [..., 3] in usual light -> the same in the photograph's own."""
        if self.colour < 1:
            grey = (change @ LUMINANCE)[..., None]
            change = grey + np.float32(self.colour) * (change - grey)
        return change if self.gain == 1 else change / np.float32(self.gain)
