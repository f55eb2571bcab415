"""Run the sweep of ``conf/experiment/<name>.yaml`` and write its table: ``make experiment NAME=steps``.

``experiments/<name>/`` gets jobs.csv, curve.png and, between two marker lines of README.md, the table. Finished jobs
are not trained again; what was killed goes on.
"""

import csv
import re
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tsd.prepare.manifests import write_atomic
from tsd.report import filled, markers

REPO = Path(__file__).resolve().parent.parent
COMMAND = "make experiment"
SHOWN = ("generate.k2.mouth_r", "val/psnr")
"""What the picture shows: the first of these that the table has."""


def header(name: str) -> str:
    """The comment lines that begin an experiment's file: question, command, expected time, number."""
    lines = (REPO / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line)


def named(name: str, columns: list[str]) -> list[str]:
    """The columns that an experiment's Number line names: in full ("cross_identity.k2.correct"), or, after such a one,
    by their last part ("id_cosine") in the same row."""
    line = header(name).split("Number:")[-1]
    found, row = [], "generate.k2."
    for word in re.findall(r"[\w./]+\w", line):
        column = word if word in columns else f"{row}{word}"
        if column in columns:
            found.append(column)
            row = column[: column.rfind(".") + 1] or row
    return list(dict.fromkeys(found))


def table(name: str, jobs: list[dict[str, str]]) -> str:
    """A row per job: its state, and what the experiment is about."""
    heads = ["job", "state", *named(name, list(jobs[0]))]
    cells = [[short(job[head]) for head in heads] for job in jobs]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *cells]) + "\n"


def short(cell: str) -> str:
    """Four digits of a number; anything else as it is."""
    try:
        return f"{float(cell):.4g}"
    except ValueError:
        return cell.replace("|", "\\|")


def picture(jobs: list[dict[str, str]], path: Path) -> None:
    """One bar per job."""
    shown = next(name for name in SHOWN if name in jobs[0])
    values = [float(job[shown] or "nan") for job in jobs]
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(jobs) + 1))
    axes.barh([job["job"][:60] for job in jobs], values, color="#4477aa")
    axes.set_xlabel(shown)
    axes.invert_yaxis()
    figure.savefig(path, dpi=90, bbox_inches="tight")


def write_study(name: str, sweep: Path, study: Path) -> None:
    """The table and picture of a sweep's folder into a study's folder."""
    study.mkdir(parents=True, exist_ok=True)
    (study / "jobs.csv").write_text((sweep / "jobs.csv").read_text())
    with (study / "jobs.csv").open(newline="") as file:
        jobs = list(csv.DictReader(file))
    picture(jobs, study / "curve.png")
    page = study / "README.md"
    if not page.exists():
        begin, end = markers(COMMAND)
        text = f"# {name}\n\n{header(name)}\n\n{begin}{end}\nEverything that was measured: [jobs.csv](jobs.csv).\n\n"
        page.write_text(f"{text}![The jobs](curve.png)\n\n**Verdict.**\n")
    write_atomic(page, filled(page.read_text(), COMMAND, table(name, jobs)).encode())


def main() -> None:
    if len(sys.argv) < 2 or not (REPO / "conf" / "experiment" / f"{sys.argv[1]}.yaml").is_file():
        known = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
        raise SystemExit(f"error: make experiment NAME=<one of {', '.join(known)}>")
    name, *overrides = sys.argv[1:]
    sweep = REPO / "outputs" / "sweeps" / name
    command = [sys.executable, "-m", "tsd.train", "-m", f"experiment={name}", f"sweep={sweep}", *overrides]
    ended = subprocess.run(command, cwd=REPO).returncode
    if (sweep / "jobs.csv").is_file():
        write_study(name, sweep, REPO / "experiments" / name)
    raise SystemExit(ended)


if __name__ == "__main__":
    main()
