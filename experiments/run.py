"""Run the sweep of ``conf/experiment/<name>.yaml`` and write its table: ``make experiment NAME=steps``.

``experiments/<name>/`` gets jobs.csv, curve.png and, between two marker lines of README.md, the table. Finished jobs
are not trained again; what was killed goes on.
"""

import csv
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from tsd.evaluation.report import filled, markdown_table, markers
from tsd.evaluation.report.figure import figure_png
from tsd.media.atomic import write_file

REPO = Path(__file__).resolve().parent.parent
COMMAND = "make experiment"
SPLIT = re.compile(r"(\d+)")


def header(name: str) -> str:
    """The comment lines that begin an experiment's file: question, command, expected time, number."""
    lines = (REPO / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line)


def introduction(name: str) -> str:
    """The header as a page shows it: a paragraph for each of its parts."""
    paragraphs = re.split(r"^(\w+): +", header(name), flags=re.M)[1:]
    parts = zip(paragraphs[::2], paragraphs[1::2], strict=True)
    return "\n\n".join(f"**{part}:** {textwrap.fill(' '.join(text.split()), 110)}" for part, text in parts)


def named(name: str, columns: list[str]) -> list[str]:
    """The columns that an experiment's Number line names: in full ("cross_identity.k2.correct"), or, after such a one,
    by their last part ("id_cosine") in the same row."""
    line = header(name).split("Number:")[-1]
    found, row = [], "generate.k2."
    for word in re.findall(r"[\w./]+\w", line):
        column = word if word in columns else f"{row}{word}"
        if column in columns and re.search(r"[./]", column):  # not the overrides: "loss" is a column, too
            found.append(column)
            row = column[: column.rfind(".") + 1] or row
    return list(dict.fromkeys(found))


def table(name: str, jobs: list[dict[str, str]]) -> str:
    """A row per job: its state, and what the experiment is about."""
    heads = ["job", "state", *named(name, list(jobs[0]))]
    cells = [[short(job[head]) for head in heads] for job in jobs]
    return markdown_table(heads, cells) + "\n"


def short(cell: str) -> str:
    """Four digits of a number; anything else as it is."""
    try:
        return f"{float(cell):.4g}"
    except ValueError:
        return cell.replace("|", "\\|")


def titled(jobs: list[dict[str, str]]) -> list[dict[str, str]]:
    """The jobs in the order of the numbers in their names: the last words of the overrides in which they differ
    ("learns=[k2]"), their folders where they differ in none."""
    columns = list(jobs[0])
    differ = [column for column in columns[1 : columns.index("state")] if len({job[column] for job in jobs}) > 1]
    if differ:
        names = [",".join(f"{column.rpartition('.')[2]}={job[column]}" for column in differ) for job in jobs]
        jobs = [job | {"job": name} for job, name in zip(jobs, names, strict=True)]
    return sorted(jobs, key=lambda job: [int(part) if part.isdigit() else part for part in SPLIT.split(job["job"])])


def picture(name: str, jobs: list[dict[str, str]], path: Path) -> None:
    """A panel for each number that the experiment is about, a bar per job in it."""
    shown = [column for column in named(name, list(jobs[0])) or ["val/psnr"] if column in jobs[0]]
    figure, panels = plt.subplots(1, len(shown), sharey=True, figsize=(2.2 * len(shown) + 2, 0.35 * len(jobs) + 1.2))
    for axes, column in zip(np.atleast_1d(panels), shown, strict=True):
        values = [float(job[column] or "nan") for job in jobs]
        bars = axes.barh([job["job"][:60] for job in jobs], values, color="#4477aa")
        axes.bar_label(bars, fmt="%.3g", padding=2, fontsize=7)
        axes.set_title(column.replace(".", "\n", 1), fontsize=8)
        axes.margins(x=0.3)
        axes.tick_params(labelsize=7)
    np.atleast_1d(panels)[0].invert_yaxis()
    write_file(path, figure_png(figure, dpi=90, bbox_inches="tight"))


def write_study(name: str, sweep: Path, study: Path) -> None:
    """The table and picture of a sweep's folder into a study's folder."""
    study.mkdir(parents=True, exist_ok=True)
    with (sweep / "jobs.csv").open(newline="") as file:
        jobs = titled(list(csv.DictReader(file)))
    # Where something lay on the machine that measured is nobody's result.
    columns = [column for column in jobs[0] if not any(os.path.isabs(job[column]) for job in jobs)]
    with (study / "jobs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(jobs)
    picture(name, jobs, study / "curve.png")
    page = study / "README.md"
    if not page.exists():
        begin, end = markers(COMMAND)
        text = f"# {name}\n\n{introduction(name)}\n\n{begin}{end}\n"
        text += "Everything that was measured: [jobs.csv](jobs.csv).\n\n![The jobs](curve.png)\n\n**Verdict.**\n"
        page.write_text(text)
    write_file(page, filled(page.read_text(), COMMAND, table(name, jobs)).encode())


def main() -> None:
    if len(sys.argv) < 2 or not (REPO / "conf" / "experiment" / f"{sys.argv[1]}.yaml").is_file():
        known = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
        raise SystemExit(f"error: make experiment NAME=<one of {', '.join(known)}>")
    name, *overrides = sys.argv[1:]
    sweep = REPO / "outputs" / "sweeps" / name
    command = [sys.executable, "-m", "tsd.commands.train", "-m", f"experiment={name}", f"sweep={sweep}", *overrides]
    ended = subprocess.run(command, cwd=REPO).returncode
    if (sweep / "jobs.csv").is_file():
        write_study(name, sweep, REPO / "experiments" / name)
    raise SystemExit(ended)


if __name__ == "__main__":
    main()
