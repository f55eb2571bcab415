"""A bench report as Markdown and as a picture."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tsd.bench.boards import BOARDS
from tsd.evaluation.report.figure import figure_png


def to_markdown(report: dict) -> str:
    """What is counted, what is timed end to end and part by part, and what a board would need."""
    machine, side = report["machine"], report["resolution"]
    counted = "\n".join(f"| {part} | {value:.4f} |" for part, value in report["gflop"].items())
    return (
        f"# Cost at {side} x {side}, {report['threads']} threads\n\n"
        f"{machine['processor']}, cores {machine['cores']}, torch {machine['torch']}. "
        f"A large float32 matrix product: {report['product_gflops']:.0f} GFLOP/s (median of {report['rounds']} rounds, "
        f"taken beside every figure); the fastest float32 seen here (a convolution): {report['peak_gflops']:.0f}. "
        f'"As a product of": the GFLOP of a product that takes as long, in which noise of the machine cancels. '
        f"Look-ahead {report['look_ahead_ms']:.1f} ms, counted in the first frame.\n\n"
        f"| part | GFLOP a frame (reference: a video) |\n|---|---|\n{counted}\n\n"
        "From sound to picture (E1) or latent (E2); frames at a time are frames of one stream:\n\n"
        "| backend | | K | frames at a time | ms | p50 | p95 | p99 | fps | first frame ms | GFLOP | as a product of | "
        "of peak |\n" + "|---" * 13 + "|\n" + "\n".join(map(row_line, report["rows"])) + "\n\n"
        "Part by part, ms a frame:\n\n" + parts_table(report["parts"]) + "\n\n"
        "A board, one frame at a time, **estimated** from counted GFLOP and published throughput, ms a frame:\n\n"
        + boards_table(report["board_ms_estimated"])
        + "\n"
    )


def row_line(row: dict) -> str:
    names = f"{row['backend']} | {row['mode'].upper()} | {row['steps'][1:]} | {row['chunk']}"
    times = " | ".join(f"{row[key]:.2f}" for key in ("ms", "p50_ms", "p95_ms", "p99_ms"))
    return (
        f"| {names} | {times} | {row['fps']:.0f} | "
        f"{row['first_frame_ms']:.0f} | {row['gflop']:.3f} | {row['gemm_equivalent_gflop']:.2f} | "
        f"{100 * row['of_peak']:.0f} % |"
    )


def parts_table(parts: list[dict]) -> str:
    """Backends and chunks down, parts across."""
    names = list(dict.fromkeys(entry["part"] for entry in parts))
    found: dict[tuple, dict[str, float]] = {}
    for entry in parts:
        found.setdefault((entry["backend"], entry["chunk"]), {})[entry["part"]] = entry["ms"]
    lines = [
        f"| {b} | {c} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |" for (b, c), row in found.items()
    ]
    return "\n".join([f"| backend | frames at a time | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|", *lines])


def boards_table(estimates: dict[str, dict[str, float]]) -> str:
    lines = [f"| | {' | '.join(BOARDS)} |", "|---" * (len(BOARDS) + 1) + "|"]
    for name, row in estimates.items():
        mode, steps = name.split()
        lines.append(f"| {mode.upper()} K={steps[1:]} | " + " | ".join(f"{row[board]:.1f}" for board in BOARDS) + " |")
    return "\n".join(lines)


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
