"""Lips on real clips: ``python experiments/wild/wild.py <report.json> ...`` after ``make evaluate ARGS="wild=…"``.

Each report is a row of the study, named by its file. Writes report.json (numbers alone) and the table in README.md. No
picture of a clip is kept here.
"""

import argparse
import json
from pathlib import Path

from tsd.evaluation.report import filled, markdown_table, number, to_json
from tsd.evaluation.wild.report import COLUMNS, TITLES
from tsd.media.atomic import write_file

STUDY = Path(__file__).resolve().parent
CONTROLS = {row: title for row, title in TITLES.items() if title.startswith("*")}
OTHERS = {"live": "as live", "aligned": "visemes of the text"}
LEFT_OUT = ("opened_ratio", "in_step")
"""Of the report's columns, for a narrow table."""


def read(path: Path) -> dict:
    """A report of ``wild=``. ValueError for any other file."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["kind"] == "wild"
    except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
        raise ValueError(f'{path}: is no report of `make evaluate ARGS="wild=<folder>"`') from error
    return report


def rows_of(reports: dict[str, dict]) -> dict[str, dict]:
    """Title -> {metric: Summary}: what the nets make of every report, then the last one's controls."""
    rows = {}
    for name, report in reports.items():
        rows |= {f"{name}, {k}": report["statistics"][k] for k in report["schedules"]}
        rows |= {
            f"{name}, {title}": report["statistics"][k] for k, title in OTHERS.items() if k in report["statistics"]
        }
    last = list(reports.values())[-1]["statistics"]
    return rows | {title: last[row] for row, title in CONTROLS.items() if row in last}


def table(rows: dict[str, dict]) -> str:
    """Means with the interval of ``lips_r``, and clips."""

    def cell(summary: dict | None, metric: str) -> str:
        if not summary or summary["mean"] is None:
            return "–"
        mean = number(metric, summary["mean"])
        return mean if metric != "lips_r" else f"{mean} ({number('', summary['low'])} to {number('', summary['high'])})"

    shown = {metric: title for metric, title in COLUMNS.items() if metric not in LEFT_OUT}
    cells = [
        [title, found["lips_r"]["n"], *(cell(found.get(metric), metric) for metric in shown)]
        for title, found in rows.items()
    ]
    return markdown_table(["", "clips", *shown.values()], cells)


def numbers(reports: dict[str, dict]) -> dict:
    """Plain means of the last report by row, and of all reports by their names."""

    def means(report: dict) -> dict:
        rows = [*report["schedules"], *OTHERS, *CONTROLS, "silence", "music"]
        found = {row: {m: s["mean"] for m, s in report["statistics"].get(row, {}).items()} for row in rows}
        return {"clips": report["clips"], "clips_with_text": report["clips_with_text"]} | found

    return means(list(reports.values())[-1]) | {"before": {name: means(r) for name, r in list(reports.items())[:-1]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "reports", type=Path, nargs="+", help="the last one is the study's figure, others stood before it"
    )
    try:
        reports = {path.stem: read(path) for path in parser.parse_args().reports}
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    shown = table(rows_of(reports)) + "\n"
    page = STUDY / "README.md"
    write_file(page, filled(page.read_text(encoding="utf-8"), "python experiments/wild/wild.py", shown).encode())
    write_file(STUDY / "report.json", to_json(numbers(reports)).encode())
    print(shown)


if __name__ == "__main__":
    main()
