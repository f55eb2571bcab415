"""From one row per clip to what is read: partial results, statistics, verdicts on metrics, tables, the sheet."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from tsd.evaluation.report.expectations import NOT_USABLE, verdicts
from tsd.evaluation.report.marked import filled, markers
from tsd.evaluation.report.parts import Parts
from tsd.evaluation.report.sheet import moments, sheet
from tsd.evaluation.report.statistics import RATIOS, Rows, add_frechet, nest, summarise_rows, tree_of
from tsd.evaluation.report.tables import (
    CONTROLS,
    DENOISE_COLUMNS,
    GENERATE_COLUMNS,
    markdown_table,
    number,
    table,
    to_json,
    to_markdown,
)
from tsd.media.atomic import write_file


def write_report(
    path: Path, report: dict, picture: Image.Image | None, markdown: Callable[[dict], str] = to_markdown
) -> None:
    """``path`` (JSON), the tables beside it (.md), and sheet.png; each file appears when it is complete."""
    if picture is not None:
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        write_file(path.with_name("sheet.png"), buffer.getvalue())
    write_file(path.with_suffix(".md"), markdown(report).encode())
    write_file(path, to_json(report).encode())
