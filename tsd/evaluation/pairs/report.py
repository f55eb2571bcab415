"""What the scores of many pairs mean together: statistics, which metrics can be believed, the tables."""

import numpy as np

from tsd.evaluation.pairs.matching import LeftOut
from tsd.evaluation.report import Rows, add_frechet, number, summarise_rows, table, verdicts
from tsd.evaluation.report.expectations import check
from tsd.metrics import Summary, summarise
from tsd.metrics.pixels import MAX_PSNR

PARTS = {f"sharpness_{part}_ratio": f"sharpness_{part}" for part in ("start", "middle", "end")}
PARTS |= {"lips_amplitude_ratio": "lips_amplitude", "lips_opened_ratio": "lips_opened"}
"""Further ratios to the real video: name -> column."""

PIXELS = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "temporal_l1_ratio": "temporal L1 ratio",
    "flicker_std_ratio": "flicker std ratio",
    "flicker_mean_std_ratio": "flicker of the mean ratio",
    "warp_error_ratio": "warp error ratio",
    "motion_ratio": "motion ratio",
}
FACES = {
    "sharpness_ratio": "sharpness ratio",
    "sharpness_start_ratio": "at the start",
    "sharpness_middle_ratio": "in the middle",
    "sharpness_end_ratio": "at the end",
    "id_cosine": "identity",
    "id_cosine_p5": "identity p5",
    "id_cosine_slope": "identity slope/min",
    "mouth_r": "mouth r",
    "lips_width_r": "width r",
    "lips_amplitude_ratio": "lip amplitude ratio",
    "lips_opened_ratio": "lips open ratio",
    "lips_lag": "lips lag",
    "sync_offset": "sync offset",
    "sync_confidence": "sync confidence",
    "sync_distance": "sync distance",
    "sync_in_step": "in step",
    "fvd": "FVD",
}
"""Metric -> its heading in the tables."""

TITLES = {
    "generated": "generated",
    "real": "*real against itself*",
    "shifted": "*real, 3 frames late*",
    "frozen": "*first frame, frozen*",
    "blurred": "*real, blurred*",
    "swapped": "*another real video*",
    "loudness": "*lips by loudness alone*",
}

NOTES = (
    f"PSNR is capped at {MAX_PSNR:g} dB, which is what equal videos have.",
    "PSNR, SSIM, LPIPS, movement, warp error and motion are those of the whole picture, in the real video's size. "
    "Ratios are to the real video; ideal 1.",
    "Sharpness is that inside the box of the real video's first face; of the whole picture where none was found.",
    "Identity is the cosine with the real video's first frame; mouth r the correlation over time of the mouth opening "
    "measured in the generated video with that measured in the real one. Both look at the crop named with every pair.",
    "Width r: the same of the distance of the corners of the mouth, by landmarks; lip amplitude ratio: std over time "
    "of the lip gap over the real one's; lips lag in frames, positive where they are late. Lips by loudness alone: "
    "guessed from the real sound by a linear fit on recorded people (tsd/evaluation/wild/loudness.json).",
    "Sync: offset in frames, positive where the picture is late; in step: share of videos within one frame. The sound "
    "is the real video's.",
    "FVD compares mean and std over time of the embedder's vectors; values of other numbers of videos, or of another "
    "embedder, are not comparable.",
)

LISTED = 20
"""Files left out that the tables name; the JSON names all."""


def statistics_of(clips: list[Rows], features: list[dict[str, np.ndarray]], seed: int) -> dict[str, dict[str, Summary]]:
    """The rows of every pair -> {row: {metric: Summary}}. ``features``: {row: [D]} of every pair, for ``fvd``."""
    # Ratios of an ordinary report are to the reconstruction: here the real video stands in its place.
    found = summarise_rows([clip | {"recon": clip["real"]} for clip in clips], seed)
    del found["recon"]
    for name, summaries in found.items():
        having = [clip for clip in clips if name in clip]
        for ratio, column in PARTS.items():
            values = (np.array([clip[row].get(column, np.nan) for clip in having]) for row in (name, "real"))
            summaries[ratio] = summarise(*values, seed)
    add_frechet(found, features)
    return found


def judge_metrics(clips: list[Rows], statistics: dict[str, dict[str, Summary]], seed: int) -> dict[str, dict]:
    """``verdicts``; FVD, without a reconstruction, must have late videos nearer than blurred or frozen ones."""
    judged = verdicts(clips, statistics, seed)
    checks = []
    for row in ("blurred", "frozen"):
        sides = (np.array([statistics.get(side, {}).get("fvd", {"mean": np.nan})["mean"]]) for side in ("shifted", row))
        if done := check(("shifted", "<", row), *sides, seed):
            checks.append(done)
    if checks:
        judged["fvd"] = {"usable": all(done["holds"] for done in checks), "checks": checks}
    judged |= {ratio: judged["sharpness"] for ratio in PARTS if "sharpness" in judged}
    return judged


def left_out_part(left_out: list[LeftOut]) -> dict:
    """For the report: {"counts": {kind: n}, "files": [...]}, refused ones first."""
    order = {"refused": 0, "duplicate": 1, "unmatched": 2}
    files = sorted(left_out, key=lambda item: (order[item.kind], item.folder, item.file))
    counts = {kind: sum(item.kind == kind for item in files) for kind in order}
    return {"counts": counts, "files": [vars(item) for item in files]}


def to_markdown(report: dict) -> str:
    """Two tables with control rows, what is no evidence or not available, and what was left out."""
    statistics, judged, unavailable = report["statistics"], report["controls"], report["unavailable"]
    text = f"# {report['pairs']} generated videos against the real ones\n\n"
    for title, columns in (("Pictures", PIXELS), ("Faces", FACES)):
        text += f"## {title}\n\n{table(statistics, TITLES, columns, judged, unavailable)}\n\n"
    text += "Rows in italics are controls. Intervals of 95 % and n are in the JSON beside this file.\n\n"
    text += "".join(f"- {line}\n" for line in [*NOTES, *remarks(report)])
    left_out = report["left_out"]
    text += f"\n## Left out: {counted(left_out)}\n\n"
    listed = left_out["files"][:LISTED]
    text += "".join(f"- {item['folder']}: {item['file']}: {item['reason']}\n" for item in listed)
    more = len(left_out["files"]) - len(listed)
    return text + (f"- and {more} more, in the JSON\n" if more else "")


def remarks(report: dict) -> list[str]:
    """Networks by name, what could not be measured, what is no evidence."""
    lines = [f"{name}: {network}" for name, network in report["networks"].items()]
    lines += [f"{name}: {reason}" for name, reason in report["unavailable"].items()]
    for metric, verdict in report["controls"].items():
        for done in verdict["checks"]:
            if not done["holds"] and metric in PIXELS | FACES:
                found = ", ".join(number(metric, done[key]) for key in ("difference", "low", "high"))
                lines.append(f"{metric}: {done['expected']} does not hold (difference, low, high: {found})")
    return lines


def counted(left_out: dict) -> str:
    """2 refused, 1 unmatched."""
    return ", ".join(f"{n} {kind}" for kind, n in left_out["counts"].items() if n) or "nothing"
