"""Two lip tracks of one clip against each other: agreement, delay, amplitude, and lips closed where they must be.

A track is [T] at 25 frames a second, in units of the distance of the eyes (``metrics.face_mesh``).
"""

import numpy as np

from tsd.clip import VISEMES

CLOSED = 0.25
"""Lips count as closed where their gap lies in the lowest quarter of the real clip's range (5th to 95th percentile): of
closed lips Face Mesh reads 0.01 to 0.04, depending on the person. Our choice, made on GRID's training people, whose
real lips are closed by it in 73 % of p, b, m and in 16 % of other frames of speech (a fifth: 66 and 10 %)."""

REACH = 5
"""Frames by which a track is shifted at most in search of its delay."""

NEAR = 1
"""Frames by which a closure may come too early or too late."""

_PP, _SIL, _FF = (VISEMES.index(name) for name in ("PP", "sil", "FF"))


def agreement(one: np.ndarray, two: np.ndarray) -> float:
    """Pearson correlation over the frames that both have; nan where one of them does not move."""
    length = min(len(one), len(two))
    one, two = (track[:length] - track[:length].mean() for track in (one, two))
    scale = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / scale) if scale > 1e-12 else float("nan")


def delay(track: np.ndarray, real: np.ndarray) -> float:
    """Frames, -REACH to REACH, by which ``track`` comes later than ``real``: the shift that agrees best; nan where no
    shift agrees or the clip is too short."""
    if min(len(track), len(real)) < 4 * REACH:
        return float("nan")

    def shifted(frames: int) -> float:
        return agreement(track[frames:], real) if frames >= 0 else agreement(track, real[-frames:])

    found = {frames: shifted(frames) for frames in sorted(range(-REACH, REACH + 1), key=abs)}
    best = max(found, key=lambda frames: (np.nan_to_num(found[frames], nan=-1.0), -abs(frames)))
    return float(best) if found[best] > 0 else float("nan")


def closures(visemes: np.ndarray) -> list[tuple[int, int]]:
    """Visemes [T, V] -> (first frame, frame after the last) of every p, b or m: a run of frames it fills partly."""
    some = np.concatenate([[False], visemes[:, _PP] > 0.1, [False]])
    edges = np.flatnonzero(some[1:] != some[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def closed_below(real: np.ndarray) -> float:
    """The gap up to which the lips of a person count as closed, from the real gaps [T] of a clip."""
    low, high = np.percentile(real, [5, 95])
    return float(low + CLOSED * (high - low))


def closed_where_due(gap: np.ndarray, visemes: np.ndarray, limit: float) -> dict[str, float]:
    """Lip gap [T] against the visemes [T, V] that are said; lips are closed where the gap is at most ``limit``.

    ``closure_recall``: share of p, b, m during which, or at most NEAR frames beside which, the lips are closed.
    ``false_closures``: share of other frames of speech, more than NEAR frames away from p, b, m, f, v and silence, in
    which they are closed. nan where there are none.
    """
    length = min(len(gap), len(visemes))
    shut, said = gap[:length] <= limit, visemes[:length]
    hits = [shut[max(0, first - NEAR) : end + NEAR].any() for first, end in closures(said)]
    may_close = said[:, [_PP, _SIL, _FF]].sum(1) > 0.1
    near = np.convolve(may_close, np.ones(2 * NEAR + 1), "same") > 0
    return {
        "closure_recall": float(np.mean(hits)) if hits else float("nan"),
        "false_closures": float(shut[~near].mean()) if (~near).any() else float("nan"),
    }
