"""A bench report as Markdown and as a picture."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tsd.bench.boards import BOARDS
from tsd.evaluation.report import markdown_table
from tsd.evaluation.report.figure import figure_png


def to_markdown(report: dict) -> str:
    """What is counted, what is timed end to end and part by part, and what a board would need."""
    machine, side = report["machine"], report["resolution"]
    counted = [(part, f"{value:.4f}") for part, value in report["gflop"].items()]
    costs = ("backend", "", "K", "frames at a time", "ms", "p50", "p95", "p99", "fps", "first frame ms", "GFLOP")
    costs += ("as a product of", "of peak")
    return (
        f"# Cost at {side} x {side}, {report['threads']} threads\n\n"
        f"{machine['processor']}, cores {machine['cores']}, torch {machine['torch']}. "
        f"A large float32 matrix product: {report['product_gflops']:.0f} GFLOP/s (median of {report['rounds']} rounds, "
        f"taken beside every figure); the fastest float32 seen here (a convolution): {report['peak_gflops']:.0f}. "
        f'"As a product of": the GFLOP of a product that takes as long, in which noise of the machine cancels. '
        f"Look-ahead {report['look_ahead_ms']:.1f} ms, counted in the first frame.\n\n"
        f"{markdown_table(['part', 'GFLOP a frame (reference: a video)'], counted)}\n\n"
        "From sound to picture (E1) or latent (E2); frames at a time are frames of one stream:\n\n"
        f"{markdown_table(costs, map(cost_cells, report['rows']))}\n\n"
        "Part by part, ms a frame:\n\n" + parts_table(report["parts"]) + "\n\n"
        "A board, one frame at a time, **estimated** from counted GFLOP and published throughput, ms a frame:\n\n"
        + boards_table(report["board_ms_estimated"])
        + "\n"
    )


def cost_cells(row: dict) -> list[object]:
    times = [f"{row[key]:.2f}" for key in ("ms", "p50_ms", "p95_ms", "p99_ms")]
    names = [row["backend"], row["mode"].upper(), row["steps"][1:], row["chunk"]]
    rates = [f"{row['fps']:.0f}", f"{row['first_frame_ms']:.0f}", f"{row['gflop']:.3f}"]
    return [*names, *times, *rates, f"{row['gemm_equivalent_gflop']:.2f}", f"{100 * row['of_peak']:.0f} %"]


def parts_table(parts: list[dict]) -> str:
    """Backends and chunks down, parts across."""
    names = list(dict.fromkeys(entry["part"] for entry in parts))
    found: dict[tuple, dict[str, float]] = {}
    for entry in parts:
        found.setdefault((entry["backend"], entry["chunk"]), {})[entry["part"]] = entry["ms"]
    rows = [[*key, *(f"{row[name]:.3f}" for name in names)] for key, row in found.items()]
    return markdown_table(["backend", "frames at a time", *names], rows)


def boards_table(estimates: dict[str, dict[str, float]]) -> str:
    names = {name: "{} K={}".format(*name.upper().split(" K")) for name in estimates}
    rows = [[names[name], *(f"{row[board]:.1f}" for board in BOARDS)] for name, row in estimates.items()]
    return markdown_table(["", *BOARDS], rows)


def draw(report: dict) -> bytes:
    """A PNG of milliseconds a frame over K, a line per backend, chunks side by side."""
    chunks = sorted({row["chunk"] for row in report["rows"]})
    figure, axes = plt.subplots(1, len(chunks), figsize=(5 * len(chunks), 4), sharey=True, squeeze=False)
    for axis, chunk in zip(axes[0], chunks, strict=True):
        rows = [row for row in report["rows"] if row["chunk"] == chunk and row["mode"] == "e1"]
        for backend in dict.fromkeys(row["backend"] for row in rows):
            mine = [row for row in rows if row["backend"] == backend]
            axis.plot([row["steps"][1:] for row in mine], [row["ms"] for row in mine], marker="o", label=backend)
        axis.set(xlabel="steps K", ylabel="ms a frame, sound to picture", title=f"{chunk} at a time", ylim=(0, None))
        axis.axhline(40, color="grey", linestyle=":", label="25 fps")
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{report['resolution']} x {report['resolution']}, {report['threads']} threads")
    figure.tight_layout()
    return figure_png(figure, dpi=110)
