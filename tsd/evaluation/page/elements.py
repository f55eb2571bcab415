"""The parts of a page, by the templates beside this file, which escape every text. A page needs nothing else: no
network, no script, no other file."""

import base64
import math
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from tsd.evaluation.report import number
from tsd.evaluation.report.expectations import NOT_USABLE

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)
ELEMENTS = TEMPLATES.get_template("elements.html").module
CHARTS = TEMPLATES.get_template("charts.html").module

LONG = 48
"""Letters of a text in a table that is broken into lines."""

NOTHING = Markup()


def value(stored: float | None) -> float:
    """A number of a report that may have been read back from JSON, where nan is null."""
    return math.nan if stored is None else stored


def text_number(metric: str, stored: float | None) -> str:
    """A number of a report as people read it; a dash for null."""
    return number(metric, value(stored))


def finite(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def html_table(report: dict, rows: dict[str, str], columns: dict[str, str], controls: Iterable[str]) -> Markup:
    """Means of ``statistics``, with their intervals as tooltips. Columns that no row has are left out unless they are
    unavailable."""
    found, unavailable = report["statistics"], report.get("unavailable", {})
    shown = {name: title for name, title in rows.items() if name in found}
    known = [name for name in columns if name in unavailable or any(name in found[row] for row in shown)]

    def cell(row: str, metric: str) -> tuple[str, str]:
        if metric in unavailable:
            return "unavailable", unavailable[metric]
        if metric not in found[row]:
            return "–", ""
        mean, low, high = (text_number(metric, found[row][metric][key]) for key in ("mean", "low", "high"))
        return mean, f"95 %: {low} to {high}, n = {found[row][metric]['n']}"

    heads = [(columns[metric], doubt(report, metric)) for metric in known]
    kinds = {row: "control" if row in controls else "main" for row in shown}
    body = [(title, kinds[row], [cell(row, metric) for metric in known]) for row, title in shown.items()]
    return ELEMENTS.report_table(heads, body)


def plain_table(heads: list[str], rows: list[list[object]]) -> Markup:
    """A table of texts, set left, and numbers; what is None is a dash."""

    def cell(content: object) -> tuple[str, str]:
        kind = "number" if not isinstance(content, str) else "text long" if len(content) > LONG else "text"
        return number("", content) if isinstance(content, float) else "–" if content is None else str(content), kind

    return ELEMENTS.plain_table(heads, [map(cell, row) for row in rows])


def doubt(report: dict, metric: str) -> dict[str, str]:
    """The mark of a metric that does not rank its controls on this data; empty where it does."""
    verdict = report.get("controls", {}).get(metric, {"usable": True})
    if verdict["usable"]:
        return {}
    failed = "; ".join(check["expected"] for check in verdict["checks"] if not check["holds"])
    return {"mark": NOT_USABLE, "why": f"does not hold: {failed}"}


def items(lines: Iterable[str]) -> Markup:
    """A list of texts; empty without lines."""
    lines = list(lines)
    return ELEMENTS.items(lines) if lines else NOTHING


def paragraph(text: str, kind: str = "") -> Markup:
    return ELEMENTS.paragraph(text, kind)


def section(title: str, *parts: Markup) -> Markup:
    """A heading and the parts below it; empty where all of them are."""
    return ELEMENTS.section(title, parts) if any(parts) else NOTHING


def picture(image: Image.Image | None, caption: str) -> Markup:
    """The image inside the page, as a JPEG."""
    if image is None:
        return NOTHING
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=88)
    return ELEMENTS.picture(base64.b64encode(buffer.getvalue()).decode(), caption)


def figure(title: str, content: Markup, doubted: dict[str, str] | None = None) -> Markup:
    """A chart or picture with its caption; empty without content."""
    return ELEMENTS.figure(title, doubted or {}, content) if content else NOTHING


def figures(made: Iterable[Markup]) -> Markup:
    """Figures side by side."""
    made = [figure for figure in made if figure]
    return ELEMENTS.figures(made) if made else NOTHING


def document(title: str, lead: str, *sections: Markup) -> str:
    """The page, UTF-8; ``lead`` is text."""
    return TEMPLATES.get_template("page.html").render(title=title, lead=lead, sections=sections)
