"""The paper's tables and its open figure from trained weights: ``make paper``.

Table 1 (denoising), Table 2 (latency on this processor), Table 3 (a board, estimated from counted FLOPs) and
Figure 4 (quality against latency), each beside what the paper prints, into this folder.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tsd.bench.boards import BOARDS
from tsd.evaluation.report import markdown_table, to_json
from tsd.evaluation.report.figure import figure_png
from tsd.media.atomic import write_file

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
STEPS = ("k1", "k2", "k4", "k8")
PAPER = {
    "psnr_db": {"noisy": 25.71, "teacher": 30.95, "student": 29.97},
    "cpu_ms": {"k2": (13.21, 16.58), "k4": (21.56, 25.28), "k8": (38.61, 43.11)},
    "board_ms": {("e1", "k2"): 260.88, ("e1", "k4"): 403.93, ("e2", "k2"): 172.05, ("e2", "k4"): 335.57},
}
"""Printed in arXiv 2603.06057: Table 1 (dB), Table 2 (x86, 128 x 128: mean and p95), Table 3 (Raspberry Pi 5, itself
estimated)."""
TEACHER_SAMPLES = 8
"""Clips that the teacher speaks, in 20 steps: slow, and one line in a figure."""


def table_1(report: dict) -> str:
    """Denoising at the paper's noise, in dB against reconstructions."""
    rows = {"noisy": report["denoise"]["noisy"], "teacher": report["denoise"]["teacher"]}
    rows |= {f"student K={name[1:]}": report["denoise"]["student"][name] for name in STEPS}
    printed = {"noisy": "25.71", "teacher": "30.95 (+5.24)", "student K=2": "29.97 (+4.26), K not said"}
    gains = {name: f"+{row['psnr_gain_db']:.2f}" if "psnr_gain_db" in row else "–" for name, row in rows.items()}
    cells = [(name, f"{row['psnr_db']:.2f}", gains[name], printed.get(name, "–")) for name, row in rows.items()]
    return markdown_table(["", "PSNR dB", "gain dB", "paper"], cells)


def one_by_one(costs: dict, mode: str) -> dict[str, dict]:
    """{schedule: row} of frames made one at a time."""
    return {row["steps"]: row for row in costs["rows"] if row["mode"] == mode and row["chunk"] == 1}


def table_2(costs: dict) -> str:
    """Milliseconds per frame, one frame at a time, frames out."""
    rows = []
    for name, row in one_by_one(costs, "e1").items():
        printed = [f"{value:.2f}" for value in PAPER["cpu_ms"].get(name, ())] or ["–", "–"]
        rows.append([name[1:], f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['fps']:.0f}", *printed])
    return markdown_table(["K", "p50 ms", "p95 ms", "fps", "paper mean ms", "paper p95 ms"], rows)


def table_3(estimates: dict) -> str:
    """Estimated milliseconds per frame on a board."""
    rows = []
    for name, row in estimates.items():
        mode, steps = name.split()
        printed = PAPER["board_ms"].get((mode, steps))
        rows.append([f"{mode.upper()} K={steps[1:]}", *(f"{row[board]:.1f}" for board in BOARDS), printed or "–"])
    return markdown_table(["", *BOARDS, "paper"], rows)


def figure_4(report: dict, costs: dict, path: Path) -> None:
    """Quality against latency, K = 1, 2, 4, 8; the teacher as the line above."""
    rows = one_by_one(costs, "e1")
    latency = [rows[name]["p50_ms"] for name in STEPS]
    figure, panes = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    contents = [
        (panes[0], "gain over noisy (dB)", report["denoise"]["student"], report["denoise"]["teacher"], "psnr_gain_db"),
        (panes[1], "mouth r, from noise", report["generate"], report["generate"].get("teacher", {}), "mouth_r"),
    ]
    for pane, title, student, teacher, key in contents:
        pane.plot(latency, [student[name][key] for name in STEPS], "o-", color="C0", label="student")
        for name, x in zip(STEPS, latency, strict=True):
            pane.annotate(f"K={name[1:]}", (x, student[name][key]), textcoords="offset points", xytext=(5, -12))
        if key in teacher:
            pane.axhline(teacher[key], color="C1", linestyle="--", label="teacher")
        pane.set(xlabel="milliseconds per frame, frames out (p50)", ylabel=title)
        pane.axvline(40, color="0.7", linewidth=1)
        pane.margins(x=0.15, y=0.25)
        pane.legend(frameon=False)
    panes[0].axhline(4.26, color="0.5", linestyle=":", linewidth=1)
    panes[0].annotate(
        "paper's student, other data", (1, 4.26), xycoords=("axes fraction", "data"), ha="right", va="top"
    )
    figure.suptitle(f"Figure 4: quality against latency, {report['clips']} held-out clips (grey: 25 fps)")
    write_file(path, figure_png(figure, dpi=130))


def to_markdown(report: dict, costs: dict, estimates: dict) -> str:
    side, threads = costs["resolution"], costs["threads"]
    return (
        f"# The paper's tables, from {report['clips']} held-out clips of {report['identities']} people\n\n"
        f"## Table 1: denoising from noise of strength {report['denoise']['strength']:.3f}\n\n{table_1(report)}\n\n"
        "The paper's figures are from 4 clips of other data.\n\n"
        f"## Table 2: latency at {side} x {side}, one frame at a time, {threads} threads\n\n{table_2(costs)}\n\n"
        "The paper's figures are at 128 x 128 on an x86 processor it does not name. Hearing costs "
        f"{costs['recogniser_ms']:.2f} ms a frame on top, the reference once per video.\n\n"
        f"## Table 3: milliseconds per frame on a board, **estimated**\n\n{table_3(estimates)}\n\n"
        "Counted GFLOP over published convolution throughput of the board, nothing measured on one. The paper's are "
        "estimates as well.\n\n"
        "## Figure 4\n\n![Quality against latency](figure4.png)\n"
    )


def told(command: str, out: Path, *overrides: str) -> dict:
    """The report that a command writes to ``out``; ends as the command does where it fails."""
    run = subprocess.run([sys.executable, "-m", f"tsd.commands.{command}", *overrides, f"out={out}"])
    if run.returncode:
        raise SystemExit(run.returncode)
    return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="weights=…, data.root=…, clips=…; the default is the demo's chain")
    given = parser.parse_args().overrides
    weights = [item for item in given if item.startswith("weights")] or ["weights=demo"]
    others = [item for item in given if not item.startswith("weights")]
    if not any(item.startswith("data.root=") for item in others):
        others.append(f"data.root={REPO / 'outputs/demo/corpus'}")
    out = REPO / "outputs" / "paper"
    report = told("evaluate", out / "eval_report.json", *weights, *others, f"teacher_samples={TEACHER_SAMPLES}")
    costs = told("bench", out / "bench.json", *weights)
    estimates = costs["board_ms_estimated"]
    figure_4(report, costs, STUDY / "figure4.png")
    kept = {"evaluation": report, "costs": costs, "board_ms_estimated": estimates}
    write_file(STUDY / "paper.md", to_markdown(report, costs, estimates).encode())
    write_file(STUDY / "paper.json", to_json(kept).encode())
    print((STUDY / "paper.md").read_text())


if __name__ == "__main__":
    main()
