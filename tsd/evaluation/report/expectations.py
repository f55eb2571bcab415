"""What every metric must say of the control rows, and whether it does on the data at hand.

A metric that does not rank its controls is no evidence there: the report prints it as NOT_USABLE.
"""

import math

import numpy as np

from tsd.evaluation.report.statistics import RATIOS, Rows, frechet
from tsd.metrics import Summary, summarise

NOT_USABLE = "not usable on this data"

Expectation = tuple[str, str, str | float]
FAULTY = ("shifted", "blurred", "noisy", "swapped")
MOVED: list[Expectation] = [("frozen", "=", 0.0), ("noisy", ">", "real")]
SAID: list[Expectation] = [("real", ">", row) for row in ("shifted", "swapped", "other_speech")]
EXPECTED: dict[str, list[Expectation]] = {
    # nearness to the reconstruction, frame by frame
    "psnr_db": [("real", ">", row) for row in FAULTY],
    "ssim": [("real", ">", row) for row in FAULTY],
    "lpips": [("real", "<", row) for row in FAULTY],
    # movement: nothing of it in a frozen video, too much in a noisy one
    "temporal_l1": MOVED,
    "flicker_std": MOVED,
    "flicker_mean_std": MOVED,
    "motion": MOVED,
    "warp_error": [("noisy", ">", "real"), ("swapped", ">", "real")],
    # sharpness: blur below, noise above
    "sharpness": [("blurred", "<", "real"), ("noisy", ">", "real")],
    "sharpness_ratio_end": [("real", ">", "fading")],
    # identity
    "id_cosine": [("real", ">", "swapped"), ("real", ">", "fading")],
    "id_cosine_p5": [("real", ">", "swapped"), ("real", ">", "fading")],
    "id_cosine_slope": [("real", ">", "fading")],
    "id_ratio_end": [("real", ">", "fading")],
    # speech
    "mouth_r": [*SAID, ("frozen", "=", 0.0)],
    "viseme_accuracy": [*SAID, ("real", ">", "frozen")],
    "sync_offset": [("real", "≈", 0.0), ("shifted", "≈", 3.0)],
    "sync_confidence": [("real", ">", "swapped"), ("real", ">", "frozen")],
    "sync_distance": [("real", "<", "swapped"), ("real", "<", "frozen")],
    # distance of two sets of clips
    "fvd": [("recon", "<", row) for row in ("blurred", "noisy", "fading", "frozen")],
}
"""Metric -> what must hold of its rows: one row more or less than another, equal to a number, or near it (≈)."""

STANDS_ON = {"psnr_gain_db": "psnr_db", "mouth_r_shuffled": "mouth_r"}
STANDS_ON |= {ratio: column for ratio, (column, base, _) in RATIOS.items() if base is not None}
STANDS_ON |= {"sharpness_end_to_recon": "sharpness", "sync_in_step": "sync_offset"}
"""Metrics that are as good as another: ratios to another row are as good as their numerator."""

EQUAL = 1e-3
"""What still counts as equal to a number. Our choice."""

NEAR, SHARE = 1.0, 0.9
"""What counts as near a number (frames of offset), and on which share of clips that must be so."""


def of_clip(clip: Rows, row: str, metric: str) -> float:
    """A metric of one clip: a column, or a ratio of two columns of one row; nan where unknown."""
    top, _, bottom = RATIOS.get(metric, (metric, None, None))
    columns = clip.get(row, {})
    value, base = columns.get(top, math.nan), columns.get(bottom, math.nan) if bottom else 1.0
    return value / base if base else math.nan


def check(
    expected: tuple[str, str, str | float], left: np.ndarray, right: np.ndarray | float, seed: int
) -> dict | None:
    """One expectation on the values per clip of its two sides; None where no clip has both.

    The mean difference must lie on the right side of 0 with its whole 95 % interval (with one clip: by itself).
    """
    row, relation, other = expected
    summary = summarise(left - right, seed=seed)
    if not summary["n"]:
        return None
    difference, low, high = (summary[key] for key in ("mean", "low", "high"))
    if relation == "=":
        holds = bool(np.nanmax(np.abs(left - right)) <= EQUAL)
    elif relation == "≈":
        apart = np.abs(left - right)
        holds = bool((apart[np.isfinite(apart)] <= NEAR).mean() >= SHARE)
    else:
        sign = 1 if relation == ">" else -1
        ends = (difference,) if summary["n"] == 1 else (low, high)
        holds = all(sign * end > 0 for end in ends)
    words = f"{row} {relation} {other:g}" if isinstance(other, float) else f"{row} {relation} {other}"
    found = {"n": summary["n"], "difference": difference, "low": low, "high": high}
    return {"expected": words, **found, "holds": holds}


def verdicts(
    clips: list[Rows],
    statistics: dict[str, dict[str, Summary]],
    seed: int = 0,
    features: list[dict[str, np.ndarray]] | None = None,
) -> dict[str, dict]:
    """{metric: {"usable": bool, "checks": [...]}} of every metric whose controls are there.

    ``fvd`` is one number of a set of clips, so two of them are compared without an interval: with ``features`` (see
    ``add_frechet``) those of the clips that have both rows, else those in ``statistics``.
    """

    def sides(metric: str, pair: tuple[str, str | float]) -> list[np.ndarray | float]:
        if metric != "fvd":
            return [s if isinstance(s, float) else np.array([of_clip(clip, s, metric) for clip in clips]) for s in pair]
        if features is None:
            return [np.array([statistics.get(row, {}).get("fvd", {"mean": math.nan})["mean"]]) for row in pair]
        both = [clip for clip in features if all(row in clip for row in pair)]
        return [np.array([frechet(both, row, "real")[0]]) for row in pair]

    found = {}
    for metric, expectations in EXPECTED.items():
        checks = []
        for expected in expectations:
            checks.append(check(expected, *sides(metric, (expected[0], expected[2])), seed))
        if checks := [done for done in checks if done is not None]:
            found[metric] = {"usable": all(done["holds"] for done in checks), "checks": checks}
    return found | {metric: found[other] for metric, other in STANDS_ON.items() if other in found}


def mark(metric: str, judged: dict[str, dict]) -> str:
    """What stands beside a metric's name: nothing, or NOT_USABLE in brackets."""
    return "" if judged.get(metric, {"usable": True})["usable"] else f" ({NOT_USABLE})"
