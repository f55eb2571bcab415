"""Charts as SVG inside the page: intervals, and curves over time."""

from collections.abc import Iterable
from html import escape

from tsd.evaluation.page.elements import finite, tag
from tsd.evaluation.report import number
from tsd.metrics.pixels import MAX_PSNR

WIDTH, LABEL, LEFT, ROW = 340, 112, 58, 18
"""Units of a chart: its width, the part for names, that for the numbers of a curve, the height of a row."""


def scale(values: list[float], low: float, high: float):
    """A map of the range of ``values`` (which may be one point) to low..high, and its two ends."""
    least, most = min(values), max(values)
    if least == most:
        least, most = least - 0.5 * (abs(least) or 1), most + 0.5 * (abs(most) or 1)
    return (lambda v: low + (v - least) / (most - least) * (high - low)), least, most


def interval_chart(report: dict, metric: str, rows: dict[str, str], controls: Iterable[str]) -> str:
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
        return ""
    x, least, most = scale(points, LABEL + 8, WIDTH - 10)
    bottom = ROW * len(found) + 4
    parts = [f'<line class="grid" x1="{LABEL}" x2="{WIDTH}" y1="{bottom}" y2="{bottom}"/>']
    parts += [f'<line class="ideal" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="0" y2="{bottom}"/>' for v in ideal]
    for i, (name, summary) in enumerate(found.items()):
        y, kind = ROW * (i + 0.5), "control" if name in controls else "main"
        parts.append(tag("text", escape(rows[name]), x=0, y=f"{y + 4:.1f}", class_="row"))
        if name == "generated":
            parts += [f'<circle class="main each" cx="{x(v):.1f}" cy="{y:.1f}" r="2.5"/>' for v in each]
        if ends := finite((summary["low"], summary["high"])):
            a, b = x(ends[0]), x(ends[-1])
            parts.append(f'<line class="{kind}" stroke-width="2" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        shown = tag("title", f"{escape(rows[name])}: {number(metric, summary['mean'])}")
        parts.append(tag("circle", shown, class_=kind, cx=f"{x(summary['mean']):.1f}", cy=f"{y:.1f}", r=4))
    for v, anchor in ((least, "start"), (most, "end")):
        parts.append(tag("text", number(metric, v), x=f"{x(v):.1f}", y=bottom + 13, text_anchor=anchor))
    return tag("svg", "".join(parts), viewBox=f"0 0 {WIDTH} {bottom + 18}", role="img")


def line_chart(lines: dict[str, tuple[str, list[float | None]]], seconds: float) -> str:
    """Curves over ``seconds``: {name: (css class, values)}; gaps where a value is unknown.

    Long tracks are thinned to what can be seen.
    """
    points = [v for _, track in lines.values() for v in finite(track)]
    if len(points) < 2:
        return ""
    y, least, most = scale(points, 90, 8)
    parts = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="94" y2="94"/>']
    for name, (kind, track) in lines.items():
        step, path, pen = max(1, len(track) // WIDTH), [], "M"
        for i in range(0, len(track), step):
            if not finite([track[i]]):
                pen = "M"
                continue
            path.append(f"{pen}{LEFT + (WIDTH - LEFT - 4) * i / max(1, len(track) - 1):.1f} {y(track[i]):.1f}")
            pen = "L"
        parts.append(tag("path", tag("title", escape(name)), class_=kind, d=" ".join(path)))
    for v in (least, most):
        parts.append(tag("text", number("", v), x=LEFT - 4, y=f"{y(v) + 4:.1f}", text_anchor="end"))
    parts.append(tag("text", "0 s", x=LEFT, y=108))
    parts.append(tag("text", f"{seconds:g} s", x=WIDTH - 4, y=108, text_anchor="end"))
    return tag("svg", "".join(parts), viewBox=f"0 0 {WIDTH} 112", role="img")


def figures(charts: dict[str, str]) -> str:
    """Charts {caption: SVG} side by side; captions are HTML already."""
    made = [tag("figure", tag("figcaption", title) + svg) for title, svg in charts.items() if svg]
    return tag("div", "".join(made), class_="charts") if made else ""
