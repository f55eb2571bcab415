"""From one row per clip to one number with its interval: means, ratios, Fréchet video distances."""

from typing import Any

import numpy as np
import torch

from tsd.metrics import Summary, frechet_distance, gaussian, summarise

RATIOS = {
    "temporal_l1_ratio": ("temporal_l1", "recon", "temporal_l1"),
    "flicker_std_ratio": ("flicker_std", "recon", "flicker_std"),
    "flicker_mean_std_ratio": ("flicker_mean_std", "recon", "flicker_mean_std"),
    "warp_error_ratio": ("warp_error", "recon", "warp_error"),
    "motion_ratio": ("motion", "real", "motion"),
    "viseme_ratio": ("viseme_accuracy", "real", "viseme_accuracy"),
    "sharpness_ratio": ("sharpness", "recon", "sharpness"),
    "sharpness_ratio_end": ("sharpness_end", None, "sharpness_start"),
    "sharpness_end_to_recon": ("sharpness_end", "recon", "sharpness_end"),
    "id_ratio_end": ("id_cosine_end", None, "id_cosine_start"),
}
"""Name -> (numerator column, row of the denominator or None for the same row, its column); ideal 1. Rows of a
protocol stand against its own ``<protocol>.recon`` where it has one: that of the same frames."""

Rows = dict[str, dict[str, float]]
"""{row: {column: value}} of one clip."""


def summarise_rows(clips: list[Rows], seed: int = 0) -> dict[str, dict[str, Summary]]:
    """The rows of every clip -> {row: {metric: Summary}}, columns and RATIOS; a row may be missing in some clips."""
    statistics = {}
    for name in dict.fromkeys(name for clip in clips for name in clip):
        having = [clip for clip in clips if name in clip]
        columns = dict.fromkeys(column for clip in having for column in clip[name])

        def values(row: str, column: str, having=having) -> np.ndarray:
            return np.array([clip.get(row, {}).get(column, np.nan) for clip in having])

        summaries = {column: summarise(values(name, column), seed=seed) for column in columns}
        for ratio, (column, base, base_column) in RATIOS.items():
            own = f"{name.split('.')[0]}.{base}"
            base = own if any(own in clip for clip in having) else base
            if column in columns:
                summaries[ratio] = summarise(values(name, column), values(base or name, base_column), seed)
        statistics[name] = summaries
    return statistics


def add_frechet(statistics: dict[str, dict[str, Summary]], features: list[dict[str, np.ndarray]]) -> None:
    """Adds ``fvd`` to every row: its distance from the row ``real`` of the same clips.

    ``features``: {row: [D]} of each clip. nan below 2 clips; without an interval, see ``frechet_distance``.
    Values of different features or numbers of clips are not comparable.
    """
    for name in statistics:
        value, n = frechet(features, name, "real")
        if name != "real" and n:
            unknown = {"left_out": 0, "std": np.nan, "low": np.nan, "high": np.nan}
            statistics[name]["fvd"] = Summary(n=n, mean=value, **unknown)


def frechet(features: list[dict[str, np.ndarray]], row: str, other: str) -> tuple[float, int]:
    """Fréchet distance of two rows over the clips that have both, and how many those are; nan below 2."""
    having = [clip for clip in features if row in clip and other in clip]
    if len(having) < 2:
        return np.nan, len(having)
    sets = (torch.from_numpy(np.stack([clip[name] for clip in having])) for name in (row, other))
    one, two = (gaussian(rows) for rows in sets)
    return float(frechet_distance(*one, *two)), len(having)


def nest(statistics: dict[str, dict[str, Summary]]) -> dict:
    """{"a.b": {metric: Summary}} -> {"a": {"b": {metric: mean}}}."""
    return tree_of({name: {m: summary["mean"] for m, summary in rows.items()} for name, rows in statistics.items()})


def tree_of(flat: dict[str, Any]) -> dict:
    """{"a.b": value} -> {"a": {"b": value}}."""
    tree: dict = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree
