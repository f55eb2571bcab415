"""The report as people read it: Markdown tables, and JSON of every standard's reader."""

import json
import math
from collections.abc import Iterable, Sequence

from tsd.evaluation.report.expectations import EXPECTED, NOT_USABLE, mark
from tsd.metrics import Summary

MOVEMENT = {"temporal_l1": "temporal L1", "flicker_std": "flicker std", "flicker_mean_std": "flicker of the mean"}
DENOISE_COLUMNS = {"psnr_db": "PSNR dB", "psnr_gain_db": "gain dB", "ssim": "SSIM", "lpips": "LPIPS"}
for _name, _title in MOVEMENT.items():
    DENOISE_COLUMNS |= {_name: _title, f"{_name}_ratio": f"{_title} ratio"}
DENOISE_COLUMNS |= {"warp_error_ratio": "warp error ratio"}
FOLLOW_COLUMNS = {name: title for name, title in DENOISE_COLUMNS.items() if name != "psnr_gain_db"}
GENERATE_COLUMNS = {
    "mouth_r": "mouth r",
    "mouth_r_shuffled": "r, other speech",
    "viseme_accuracy": "viseme accuracy",
    "viseme_ratio": "viseme ratio",
    "id_cosine": "identity",
    "id_cosine_p5": "identity p5",
    "id_cosine_slope": "identity slope/min",
    "id_ratio_end": "identity end/start",
    "sharpness_ratio": "sharpness ratio",
    "sharpness_ratio_end": "sharpness end/start",
    "sharpness_end_to_recon": "sharpness ratio at the end",
    **{f"{name}_ratio": f"{title} ratio" for name, title in MOVEMENT.items()},
    "motion_ratio": "motion ratio",
    "sync_offset": "sync offset",
    "sync_in_step": "in step",
    "sync_confidence": "sync confidence",
    "sync_distance": "sync distance",
    "fvd": "FVD",
    "fps": "fps",
}
"""Metric -> its heading in the Markdown tables."""

CONTROLS = ("real", "recon", "shifted", "other_speech", "swapped", "frozen", "blurred", "noisy", "fading")

LONG_COLUMNS = {"second": "from s", "id_cosine": "identity", "sharpness": "sharpness", "flicker_std": "flicker std"}
LONG_COLUMNS |= {"motion": "motion px", "mouth_r": "mouth r"}


def to_json(report: dict) -> str:
    """JSON of every standard's reader: what is not defined (nan) is null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(report), indent=2, allow_nan=False) + "\n"


def number(metric: str, value: float) -> str:
    """dB with two decimals, anything else with three significant digits; a dash where nothing is known."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if metric.endswith("_db") else f"{value:#.3g}".rstrip(".")


def markdown_table(head: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table of cells that are text or plain numbers; it ends without a line break."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *rows)]
    return "\n".join([lines[0].replace("|  |", "| |"), "|---" * len(head) + "|", *lines[1:]])


def table(
    statistics: dict[str, dict[str, Summary]],
    rows: dict[str, str],
    columns: dict[str, str],
    judged: dict | None = None,
    unavailable: dict[str, str] | None = None,
) -> str:
    """A Markdown table of means; ``rows`` and ``columns`` map names to headings, missing rows are left out, and so are
    columns that no row has, unless they are ``unavailable``. Beside a heading stands what ``judged`` says of it."""
    unavailable, shown = unavailable or {}, {name: title for name, title in rows.items() if name in statistics}
    known = [name for name in columns if name in unavailable or any(name in statistics[row] for row in shown)]

    def cell(row: str, metric: str) -> str:
        if metric in unavailable:
            return "unavailable"
        return number(metric, statistics[row][metric]["mean"]) if metric in statistics[row] else "–"

    heads = ["", *(columns[metric] + mark(metric, judged or {}) for metric in known)]
    return markdown_table(heads, [[title, *(cell(row, metric) for metric in known)] for row, title in shown.items()])


def follow_text(report: dict, rows: dict[str, str]) -> str:
    """The table of heads that move as the clip's; empty where no head's motion is known."""
    if not rows:
        return ""
    judged, unavailable = report.get("controls", {}), report.get("unavailable", {})
    shown = table(report["statistics"], rows, FOLLOW_COLUMNS, judged, unavailable)
    return (
        f"## Speaking, from pure noise, the head as in the clip\n\n{shown}\n\n"
        "The middle fifth of every clip, frame by frame against its reconstruction.\n\n"
    )


def protocol_text(report: dict) -> str:
    """The optional protocols in words and a table; empty where none was asked for."""
    text = ""
    for name, row in report.get("cross_identity", {}).items():
        text += (
            f"Another's picture with this clip's speech, student {name}: nearer to the picture's person in "
            f"{row['correct']:.0%} of clips (cosine {number('', row['id_cosine'])}, with the speaker "
            f"{number('', row['id_cosine_speech'])}).\n\n"
        )
    for name, row in report.get("viseme_swap", {}).items():
        ratio = number("", row["ratio"])
        text += f"Other speech, student {name}: per pixel the mouth changes {ratio} times as much as the rest.\n\n"
    for name, run in report.get("long", {}).items():
        ends = ", ".join(f"{key.split('_')[0]} {number('', value)}" for key, value in run.items() if "ratio" in key)
        columns = {key: title for key, title in LONG_COLUMNS.items() if key in run["windows"][0]}
        rows = [["", *(number(key, window[key]) for key in columns)] for window in run["windows"]]
        text += f"{run['seconds']:g} s from one picture, student {name}; last 10 s over the first: {ends}.\n\n"
        text += markdown_table(["", *columns.values()], rows) + "\n\n"
    return text and f"## Exchanged speech and faces, and long runs\n\n{text}"


def control_text(report: dict) -> str:
    """What did not come out as it must, and what could not be measured."""
    judged, lines = report.get("controls", {}), []
    for metric in (metric for metric in EXPECTED if metric in judged):
        for check in (check for check in judged[metric]["checks"] if not check["holds"]):
            difference, low, high = (number(metric, check[key]) for key in ("difference", "low", "high"))
            found = f"{check['expected']} does not hold (difference {difference}, 95 % {low} to {high})"
            lines.append(f"- {metric}: {NOT_USABLE}: {found}")
    lines += [f"- {metric}: {reason}" for metric, reason in report.get("unavailable", {}).items()]
    usable = ", ".join(metric for metric, verdict in judged.items() if verdict["usable"]) or "none"
    return "## Controls\n\n" + f"Rank their controls as they must: {usable}.\n\n" + "\n".join(lines)


def mouth_truth(report: dict) -> str:
    """Where the mouth openings come from that the measured ones are compared with, and what measures."""
    seen = report.get("mouth_seen", 0)
    truth = "true" if not seen else f"true (in {seen} of {report['clips']} clips: seen in the real frames)"
    return f"measured (by {report['mouth_reader']}) and {truth}"


def to_markdown(report: dict) -> str:
    """Denoising (Table 1 of the paper), speaking from noise, controls below; then protocols and verdicts."""
    statistics, strength = report["statistics"], report["denoise"]["strength"]
    steps = [name.removeprefix("denoise.student.") for name in statistics if name.startswith("denoise.student.")]
    denoise = {"denoise.noisy": "noisy latents", "denoise.teacher": "teacher"}
    denoise |= {f"denoise.student.{name}": f"student {name}" for name in steps}
    denoise |= {"denoise.head_unknown.teacher": "teacher, head unknown"}
    denoise |= {f"denoise.head_unknown.{name}": f"student {name}, head unknown" for name in steps}
    generated = {f"generate.{name}": f"student {name}" for name in steps}
    generated |= {f"marked.{name}": f"student {name}, with the invisible mark" for name in steps}
    if n := statistics.get("generate.teacher", {}).get("temporal_l1", {}).get("n"):
        generated["generate.teacher"] = f"teacher, {n} clips"
    controls = {name: f"*{name.replace('_', ' ')}*" for name in CONTROLS}
    followed = {f"follow.{name}": f"student {name}" for name in steps if f"follow.{name}" in statistics}
    judged, unavailable = report.get("controls", {}), report.get("unavailable", {})
    same_pose = {name: title for name, title in controls.items() if name != "other_speech"}
    return (
        f"# Evaluation: {report['clips']} clips of {report['identities']} people, split {report['split']}\n\n"
        f"## Denoising, from noise of strength {strength:.3f}\n\n"
        f"{table(statistics, denoise | same_pose, DENOISE_COLUMNS, judged, unavailable)}\n\n"
        "The middle fifth of every clip (controls: the whole) against reconstructions; ratios to theirs, ideal 1. "
        "Visemes are recognised from the sound.\n\n"
        "## Speaking, from pure noise\n\n"
        f"{table(statistics, generated | controls, GENERATE_COLUMNS, judged, unavailable)}\n\n"
        f"mouth r: correlation over time of {mouth_truth(report)} mouth opening; other speech: the same mouths beside "
        "what all other people of these clips say, on average. Rows in italics are controls. FVD: against the real "
        f"clips; its features are {report.get('features', 'named in the JSON')}. Intervals of 95 % and n are in the "
        "JSON beside this file.\n\n"
        f"{follow_text(report, followed)}{protocol_text(report)}{control_text(report)}\n"
    )
