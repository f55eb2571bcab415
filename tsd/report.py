"""From one row per clip to what is read: partial results, statistics, the JSON report, its tables, the sheet."""

import hashlib
import json
import math
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tsd.clip import FPS
from tsd.metrics import Summary, summarise
from tsd.prepare.manifests import write_atomic

RATIOS = {
    "temporal_l1_ratio": ("temporal_l1", "recon", "temporal_l1"),
    "flicker_std_ratio": ("flicker_std", "recon", "flicker_std"),
    "flicker_mean_std_ratio": ("flicker_mean_std", "recon", "flicker_mean_std"),
    "sharpness_ratio": ("sharpness", "recon", "sharpness"),
    "sharpness_ratio_end": ("sharpness_end", None, "sharpness_start"),
    "id_ratio_end": ("id_cosine_end", None, "id_cosine_start"),
}
"""Name -> (numerator column, row of the denominator or None for the same row, its column); ideal 1."""

MOVEMENT = {"temporal_l1": "temporal L1", "flicker_std": "flicker std", "flicker_mean_std": "flicker of the mean"}
DENOISE_COLUMNS = {"psnr_db": "PSNR dB", "psnr_gain_db": "gain dB"}
for _name, _title in MOVEMENT.items():
    DENOISE_COLUMNS |= {_name: _title, f"{_name}_ratio": "ratio"}
GENERATE_COLUMNS = {
    "mouth_r": "mouth r",
    "mouth_r_shuffled": "r, other speech",
    "id_cosine": "identity",
    "id_ratio_end": "identity end/start",
    "sharpness_ratio": "sharpness ratio",
    "sharpness_ratio_end": "sharpness end/start",
    **{f"{name}_ratio": f"{title} ratio" for name, title in MOVEMENT.items()},
    "fps": "fps",
}
"""Metric -> its heading in the Markdown tables."""

CONTROLS = ("real", "recon", "shifted", "frozen", "blurred")


def summarise_rows(clips: list[dict[str, dict[str, float]]], seed: int = 0) -> dict[str, dict[str, Summary]]:
    """The rows of every clip -> {row: {metric: Summary}}, columns and RATIOS; a row may be missing in some clips."""
    statistics = {}
    for name in dict.fromkeys(name for clip in clips for name in clip):
        having = [clip for clip in clips if name in clip]
        columns = dict.fromkeys(column for clip in having for column in clip[name])

        def values(row: str, column: str, having=having) -> np.ndarray:
            return np.array([clip[row].get(column, np.nan) for clip in having])

        summaries = {column: summarise(values(name, column), seed=seed) for column in columns}
        for ratio, (column, base, base_column) in RATIOS.items():
            if column in columns:
                summaries[ratio] = summarise(values(name, column), values(base or name, base_column), seed)
        statistics[name] = summaries
    return statistics


def nest(statistics: dict[str, dict[str, Summary]]) -> dict:
    """{"a.b": {metric: Summary}} -> {"a": {"b": {metric: mean}}}."""
    tree: dict = {}
    for name, summaries in statistics.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = {metric: summary["mean"] for metric, summary in summaries.items()}
    return tree


def to_json(report: dict) -> str:
    """JSON of every standard's reader: what is not defined (nan) is null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(report), indent=2, allow_nan=False) + "\n"


def number(metric: str, value: float) -> str:
    """dB with two decimals, anything else with three significant digits; a dash where nothing is known."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if metric.endswith("_db") else f"{value:#.3g}".rstrip(".")


def table(statistics: dict[str, dict[str, Summary]], rows: dict[str, str], columns: dict[str, str]) -> str:
    """A Markdown table of means; ``rows`` and ``columns`` map names to headings, missing rows are left out."""
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, title in rows.items():
        if name in statistics:
            known = {metric: number(metric, summary["mean"]) for metric, summary in statistics[name].items()}
            lines.append(f"| {title} | " + " | ".join(known.get(metric, "–") for metric in columns) + " |")
    return "\n".join(lines)


def to_markdown(report: dict) -> str:
    """The two tables: denoising (Table 1 of the paper) and speaking from noise, controls below."""
    statistics, strength = report["statistics"], report["denoise"]["strength"]
    steps = [name.removeprefix("denoise.student.") for name in statistics if name.startswith("denoise.student.")]
    denoise = {"denoise.noisy": "noisy", "denoise.teacher": "teacher"}
    denoise |= {f"denoise.student.{name}": f"student {name}" for name in steps}
    generated = {f"generate.{name}": f"student {name}" for name in steps}
    if n := statistics.get("generate.teacher", {}).get("temporal_l1", {}).get("n"):
        generated["generate.teacher"] = f"teacher, {n} clips"
    controls = {name: f"*{name}*" for name in CONTROLS}
    return (
        f"# Evaluation: {report['clips']} clips of {report['identities']} people, split {report['split']}\n\n"
        f"## Denoising, from noise of strength {strength:.3f}\n\n"
        f"{table(statistics, denoise | controls, DENOISE_COLUMNS)}\n\n"
        "Against reconstructions; ratios to theirs, ideal 1. Visemes are recognised from the sound.\n\n"
        "## Speaking, from pure noise\n\n"
        f"{table(statistics, generated | controls, GENERATE_COLUMNS)}\n\n"
        "mouth r: correlation over time of measured and true mouth opening; other speech: the visemes of another "
        "person's clip. Rows in italics are controls. Intervals of 95 % are in the JSON beside this file.\n"
    )


class Parts:
    """What is finished, one file per clip below ``<out stem>.parts/<key>/``: an interrupted evaluation goes on there.

    ``key`` stands for everything the numbers depend on, so parts of other weights or settings are never used.
    """

    def __init__(self, out: Path, depends_on: dict):
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
        self.root = out.with_suffix(".parts")
        self.folder = self.root / key

    def read(self, name: str) -> dict | None:
        """A finished part; None where it is missing or unreadable."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None

    def write(self, name: str, part: dict) -> None:
        write_atomic(self.folder / f"{name}.json", json.dumps(part).encode())

    def write_face(self, name: str, **arrays: np.ndarray) -> None:
        buffer = BytesIO()
        np.savez(buffer, **arrays)
        write_atomic(self.folder / f"{name}.npz", buffer.getvalue())

    def read_face(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


CELL, LABEL, GAP = 128, 20, 8
"""Pixels: side of a picture on the sheet, height of a line of text, space between faces."""


def moments(num_frames: int, count: int = 6) -> np.ndarray:
    """Frame numbers spread evenly over a clip, first and last included."""
    return np.linspace(0, num_frames - 1, count).round().astype(int)


def sheet(faces: list[dict], title: str) -> Image.Image:
    """Faces in two columns; of each the real moments above and the generated ones below.

    ``faces``: {"name": str, "numbers": [M] frame numbers, "real", "generated": uint8 [M, R, R, 3]}.
    """
    across = min(2, len(faces))
    down = -(-len(faces) // across)
    width = max(len(face["numbers"]) for face in faces) * CELL
    height = LABEL + 2 * CELL + GAP
    canvas = Image.new("RGB", (across * (width + GAP) - GAP, LABEL + down * height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((4, 2), title, "black", font)
    for i, face in enumerate(faces):
        left, top = (i % across) * (width + GAP), LABEL + (i // across) * height
        for m, n in enumerate(face["numbers"]):
            x, text = left + m * CELL, f"{n / FPS:.1f} s"
            draw.text((x + 4, top + 2), text if m else f"{face['name']}, {text}", "black", font)
            for row, kind in enumerate(("real", "generated")):
                cell = Image.fromarray(face[kind][m]).resize((CELL, CELL), Image.Resampling.BICUBIC)
                canvas.paste(cell, (x, top + LABEL + row * CELL))
    return canvas


def write_report(path: Path, report: dict, picture: Image.Image | None) -> None:
    """``path`` (JSON), the tables beside it (.md), and sheet.png; each file appears when it is complete."""
    if picture is not None:
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        write_atomic(path.with_name("sheet.png"), buffer.getvalue())
    write_atomic(path.with_suffix(".md"), to_markdown(report).encode())
    write_atomic(path, to_json(report).encode())
