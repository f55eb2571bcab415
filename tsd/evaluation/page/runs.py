"""An index of the evaluations below a folder, and two of them side by side: their figures, contact sheets and videos.

Unlike the page of one evaluation it has a small script, for two runs have to be chosen and their videos kept in step.
It needs no network and no server."""

import base64
import json
import math
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from tsd.evaluation.page.elements import TEMPLATES
from tsd.media.atomic import write_file

NAME = "runs.html"
VIDEOS = (".mp4", ".webm")
MOST_VIDEOS = 24
"""Videos of one run that can be chosen."""

SKIPPED = {"node_modules", "corpus"}
"""Folders in which no reports lie, but many files may."""


def write_runs(folder: Path) -> Path:
    """The index of every report below ``folder``, as ``runs.html`` in it. Raises ValueError where there is none."""
    found = [run for path in reports(folder) if (run := run_of(path, folder))]
    if not found:
        raise ValueError(f"runs={folder}: holds no report of `make evaluate`; give a folder above some")
    write_file(folder / NAME, runs_page(found).encode())
    return folder / NAME


def reports(folder: Path) -> Iterator[Path]:
    """JSON files that may be reports, in order of their names; hidden folders and links are not followed."""
    if not folder.is_dir():
        raise FileNotFoundError(f"runs={folder}: no such folder")
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        yield from (Path(place) / name for name in sorted(files) if name.endswith(".json"))


def run_of(path: Path, folder: Path) -> dict | None:
    """What the page shows of a report; None for a file that is none."""
    try:
        report = json.loads(path.read_text())
        statistics = report["statistics"]
        figures = {row: means(metrics) for row, metrics in statistics.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    beside = sorted(file for file in path.parent.rglob("*") if file.suffix in VIDEOS)[:MOST_VIDEOS]
    sheet, page = path.with_name("sheet.png"), path.with_suffix(".html")
    return {
        "name": path.relative_to(folder).as_posix(),
        "kind": str(report.get("kind", "chain")),
        "clips": str(report.get("clips", report.get("pairs", ""))),
        "figures": {row: metrics for row, metrics in figures.items() if metrics},
        "sheet": link(sheet, folder) if sheet.is_file() else None,
        "page": link(page, folder) if page.is_file() else None,
        "videos": [link(video, folder) for video in beside],
    }


def means(metrics: dict) -> dict[str, float]:
    """{metric: its mean}, those that are numbers."""
    found = {str(name): one.get("mean") for name, one in metrics.items()}
    return {name: mean for name, mean in found.items() if isinstance(mean, (int, float)) and math.isfinite(mean)}


def link(path: Path, folder: Path) -> str:
    """A relative address."""
    return quote(path.relative_to(folder).as_posix())


def runs_page(found: list[dict]) -> str:
    """The page of ``run_of`` descriptions. Its contents policy names the script by its hash."""
    script = TEMPLATES.loader.get_source(TEMPLATES, "runs.js")[0]
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    # A text that ends the element it stands in is told apart by its "<" alone.
    data = json.dumps(found).replace("<", "\\u003c")
    return TEMPLATES.get_template("runs.html").render(runs=found, script=script, digest=digest, data=data)
