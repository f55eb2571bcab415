"""What came out of a sweep: a row per job, as CSV and Markdown, and the exit code."""

import csv
import io
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tsd.evaluation.report import markdown_table
from tsd.media.atomic import write_file
from tsd.training import run_record
from tsd.weights import checkpoint


def row(folder: Path) -> dict[str, Any]:
    """Overrides, state and results of one job. "unfinished": killed, or still running; "failed": trained and not
    evaluated, too."""
    run = run_record.read(folder) or {}
    weights, error = folder / "weights.safetensors", run.get("error") or ""
    values: dict[str, Any] = {"job": folder.name, **run.get("overrides", {})}
    if weights.is_file():
        card = checkpoint.read_header(weights)["card"]
        values |= {"state": "finished", "steps": card["steps"], **card["metrics"], **run.get("report", {})}
    elif not error:
        values["state"] = "unfinished"
    return values | ({"state": "failed", "error": error} if error else {})


def rows(sweep: str | Path) -> list[dict[str, Any]]:
    """All jobs below a sweep's folder, by name."""
    return [row(path.parent) for path in sorted(Path(sweep).glob("*/run.json"))]


def columns(jobs: list[dict[str, Any]]) -> list[str]:
    """What differs between jobs or was measured, in the order of the first job that has it; losses of training not."""
    names = list(dict.fromkeys(name for job in jobs for name in job if not name.startswith("train/")))
    error = ["error"] if any(job.get("error") for job in jobs) else []
    return [name for name in names if name != "error"] + error


def as_csv(jobs: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(jobs), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(jobs)
    return text.getvalue()


def as_markdown(jobs: list[dict[str, Any]]) -> str:
    """The overrides that differ between jobs, and four digits of what was measured."""
    names = [n for n in columns(jobs) if n == "job" or len({str(job.get(n, "")) for job in jobs}) > 1 or not jobs[1:]]
    return markdown_table(names, ([cell(job.get(n, "")) for n in names] for job in jobs)) + "\n"


def cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")[:200]


def write(sweep: str | Path) -> list[dict[str, Any]]:
    """``jobs.csv`` and ``jobs.md`` in the sweep's folder; returns the rows."""
    jobs = rows(sweep)
    write_file(Path(sweep) / "jobs.csv", as_csv(jobs).encode())
    write_file(Path(sweep) / "jobs.md", as_markdown(jobs).encode())
    return jobs


class SweepTable(Callback):
    """Hydra's callback around a sweep: a table afterwards, and exit code 1 if a job of this start has not finished."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.begun = time.time()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        jobs = write(sweep)
        print(as_markdown(jobs))
        print(sweep / "jobs.md")
        touched = {path.parent.name for path in sweep.glob("*/run.json") if path.stat().st_mtime >= self.begun}
        wrong = [job["job"] for job in jobs if job["state"] != "finished" and job["job"] in touched]
        if wrong:
            print(
                f"{len(wrong)} of {len(jobs)} jobs have not finished; each one's train.log says why: {', '.join(wrong)}"
            )
            raise SystemExit(1)
