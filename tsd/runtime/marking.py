"""Which mark the frames of a stream carry: 16 bits say which weights made them, 16 which run."""

from hashlib import sha256

import numpy as np

from tsd.media.marking.embed import Mark


def payload_of(weights: str, reference: np.ndarray, steps: str, seed: int) -> int:
    """32 bits. ``weights``: SHA-256 of the weights' cards, of which the first 16 bits are taken; the others are the
    first of a hash of the reference's crop uint8 [R, R, 3], steps and seed: the same run has the same mark."""
    run = sha256(np.ascontiguousarray(reference).tobytes() + f"{steps} {seed}".encode()).hexdigest()
    return int(weights[:4] + run[:4], 16)


class Marking:
    """Marks the frames of one stream, in their order; without a mark they stay as they are. ``before``: see ``Mark``,
    of all frames."""

    def __init__(self, mark: Mark | None, before: np.ndarray | None = None):
        self.mark, self.before, self.done = mark, before, 0

    def __call__(self, frames: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """The next frames uint8 [T, H, W, 3]; ``before``: of these alone."""
        first, self.done = self.done, self.done + len(frames)
        return frames if self.mark is None else self.mark(frames, first, self.before if before is None else before)
