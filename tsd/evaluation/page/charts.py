"""Charts as SVG inside the page: intervals, and curves over time."""

from collections.abc import Iterable

from markupsafe import Markup

from tsd.evaluation.page.elements import CHARTS, NOTHING, finite
from tsd.evaluation.report import number
from tsd.metrics.pixels import MAX_PSNR

WIDTH, LABEL, LEFT, ROW = 340, 112, 58, 18
"""Units of a chart: its width, the part for names, that for the numbers of a curve, the height of a row."""


def scale(values: list[float], low: float, high: float):
    """A map of the range of ``values`` (which may be one point) to low..high, and its two ends."""
    least, most = min(values), max(values)
    if least == most:
        least, most = least - 0.5 * (abs(least) or 1), most + 0.5 * (abs(most) or 1)
    return (lambda v: round(low + (v - least) / (most - least) * (high - low), 1)), least, most


def interval_chart(report: dict, metric: str, rows: dict[str, str], controls: Iterable[str]) -> Markup:
    """Mean and 95 % interval of every row, and of pairs every generated video as a faint dot; empty without values.

    A PSNR at its cap is left out: it would press all others together.
    """
    found = {name: report["statistics"][name][metric] for name in rows if metric in report["statistics"].get(name, {})}
    found = {name: s for name, s in found.items() if finite([s["mean"]])}
    if metric == "psnr_db":
        found = {name: s for name, s in found.items() if s["mean"] < MAX_PSNR}
    each = finite(item["scores"].get(metric) for item in report.get("files", []))
    ideal = [1.0] if "ratio" in metric else []
    points = [v for s in found.values() for v in finite(s[key] for key in ("low", "mean", "high"))] + each + ideal
    if not found or len(points) < 2:
        return NOTHING
    x, least, most = scale(points, LABEL + 8, WIDTH - 10)
    bars = [
        {
            "title": rows[name],
            "kind": "control" if name in controls else "main",
            "y": ROW * (i + 0.5),
            "x": x(summary["mean"]),
            "mean": number(metric, summary["mean"]),
            "ends": list(map(x, finite((summary["low"], summary["high"])))),
            "each": list(map(x, each)) if name == "generated" else [],
        }
        for i, (name, summary) in enumerate(found.items())
    ]
    ends = [(x(v), number(metric, v), anchor) for v, anchor in ((least, "start"), (most, "end"))]
    return CHARTS.intervals(WIDTH, LABEL, ROW * len(found) + 4, map(x, ideal), bars, ends)


def line_chart(lines: dict[str, tuple[str, list[float | None]]], seconds: float) -> Markup:
    """Curves over ``seconds``: {name: (css class, values)}; gaps where a value is unknown.

    Long tracks are thinned to what can be seen.
    """
    points = [v for _, track in lines.values() for v in finite(track)]
    if len(points) < 2:
        return NOTHING
    y, least, most = scale(points, 90, 8)

    def path(track: list[float | None]) -> str:
        steps, pen = [], "M"
        for i in range(0, len(track), max(1, len(track) // WIDTH)):
            if not finite([track[i]]):
                pen = "M"
                continue
            steps.append(f"{pen}{LEFT + (WIDTH - LEFT - 4) * i / max(1, len(track) - 1):.1f} {y(track[i])}")
            pen = "L"
        return " ".join(steps)

    paths = [(name, kind, path(track)) for name, (kind, track) in lines.items()]
    return CHARTS.curves(WIDTH, LEFT, paths, [(y(v) + 4, number("", v)) for v in (least, most)], f"{seconds:g}")
