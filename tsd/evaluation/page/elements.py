"""HTML that needs nothing else: no network, no script, no other file. Every text is escaped here."""

import base64
import math
from collections.abc import Iterable
from html import escape
from io import BytesIO

from PIL import Image

from tsd.evaluation.report import number
from tsd.evaluation.report.expectations import NOT_USABLE

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #667080; --line: #d5dae1; --ground: #ffffff; --panel: #f5f7f9;
  --main: #0b62c4; --control: #8b95a3; --warn: #b23c17; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b4; --line: #38404b; --ground: #14171b;
  --panel: #1d2127; --main: #6cb0ff; --control: #7d8896; --warn: #ff9470; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 84rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p.lead, .soft, caption { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { vertical-align: bottom; font-weight: 600; } thead th { white-space: normal; min-width: 5.5rem; }
th:first-child, td:first-child, td.text { text-align: left; }
td.long { white-space: normal; min-width: 26rem; overflow-wrap: anywhere; }
tr.control { color: var(--soft); } tr.control th { font-style: italic; font-weight: 400; }
.warn { color: var(--warn); } th .warn { display: block; font-weight: 400; font-size: .75rem; }
.charts { margin-top: 1rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; background: var(--panel); border-radius: 6px; }
figcaption { font-weight: 600; font-size: .875rem; margin-bottom: .35rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .row { fill: var(--ink); } svg .grid { stroke: var(--line); } 
svg .ideal { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .main { stroke: var(--main); fill: var(--main); } svg .control { stroke: var(--control); fill: var(--control); }
svg path.main, svg path.control { fill: none; stroke-width: 1.5; }
svg .each { fill-opacity: .3; stroke: none; } img { max-width: 100%; border-radius: 6px; background: #fff; }
ul { padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
"""


LONG = 48
"""Letters of a text in a table that is broken into lines."""


def tag(name: str, content: str, **attributes: object) -> str:
    """<name attribute="...">content</name>; ``class_`` is the attribute class. The content is HTML already."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for key, v in attributes.items())
    return f"<{name}{given}>{content}</{name}>"


def value(stored: float | None) -> float:
    """A number of a report that may have been read back from JSON, where nan is null."""
    return math.nan if stored is None else stored


def text_number(metric: str, stored: float | None) -> str:
    """A number of a report as people read it; a dash for null."""
    return number(metric, value(stored))


def finite(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def html_table(report: dict, rows: dict[str, str], columns: dict[str, str], controls: Iterable[str]) -> str:
    """Means of ``statistics``, their intervals on hovering; columns that no row has are left out
    unless they are unavailable."""
    found, unavailable = report["statistics"], report.get("unavailable", {})
    shown = {name: title for name, title in rows.items() if name in found}
    known = [name for name in columns if name in unavailable or any(name in found[row] for row in shown)]

    def cell(row: str, metric: str) -> str:
        if metric in unavailable:
            return tag("td", "unavailable", class_="soft", title=unavailable[metric])
        summary = found[row].get(metric)
        if summary is None:
            return tag("td", "–")
        low, high = (text_number(metric, summary[end]) for end in ("low", "high"))
        return tag("td", text_number(metric, summary["mean"]), title=f"95 %: {low} to {high}, n = {summary['n']}")

    heads = [tag("th", escape(columns[metric]) + doubt(report, metric)) for metric in known]
    body = [
        tag(
            "tr",
            tag("th", escape(title)) + "".join(cell(row, metric) for metric in known),
            class_="control" if row in controls else "main",
        )
        for row, title in shown.items()
    ]
    head = tag("thead", tag("tr", "<th></th>" + "".join(heads)))
    return tag("div", tag("table", head + tag("tbody", "".join(body))), class_="scroll")


def plain_table(heads: list[str], rows: list[list[object]]) -> str:
    """A table of texts, set left, and numbers; what is None is a dash."""

    def cell(content: object) -> str:
        kind = "number" if not isinstance(content, str) else "text long" if len(content) > LONG else "text"
        shown = number("", content) if isinstance(content, float) else "–" if content is None else str(content)
        return tag("td", escape(shown), class_=kind)

    head = tag("thead", tag("tr", "".join(tag("th", escape(head)) for head in heads)))
    body = tag("tbody", "".join(tag("tr", "".join(map(cell, row))) for row in rows))
    return tag("div", tag("table", head + body), class_="scroll")


def doubt(report: dict, metric: str) -> str:
    """The mark of a metric that does not rank its controls on this data; empty where it does."""
    verdict = report.get("controls", {}).get(metric, {"usable": True})
    if verdict["usable"]:
        return ""
    failed = "; ".join(check["expected"] for check in verdict["checks"] if not check["holds"])
    return tag("span", NOT_USABLE, class_="warn", title=f"does not hold: {failed}")


def items(lines: Iterable[str]) -> str:
    """A list of texts."""
    made = [tag("li", escape(line)) for line in lines]
    return tag("ul", "".join(made)) if made else ""


def section(title: str, *content: str) -> str:
    """A heading and what stands below it; nothing where that is empty."""
    body = "".join(content)
    return tag("section", tag("h2", escape(title)) + body) if body else ""


def picture(image: Image.Image | None, caption: str) -> str:
    """The image inside the page, as a JPEG."""
    if image is None:
        return ""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'


def document(title: str, lead: str, *sections: str) -> str:
    """The page, UTF-8; ``lead`` is text, the sections are HTML."""
    head = tag("meta", "", charset="utf-8").removesuffix("</meta>")
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    head += "style-src 'unsafe-inline'\">"
    head += tag("title", escape(title)) + tag("style", STYLE)
    body = tag("h1", escape(title)) + tag("p", escape(lead), class_="lead") + "".join(sections)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
