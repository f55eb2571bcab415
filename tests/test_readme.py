"""The README's numbers are those of the committed report, and the targets it names exist."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from tsd.evaluation.report import filled

REPO = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("publish", REPO / "experiments" / "publish.py")
publish = importlib.util.module_from_spec(spec)
spec.loader.exec_module(publish)


def test_numbers_are_current():
    block = publish.numbers(json.loads((REPO / "experiments/demo/report.json").read_text()))
    for page in ("README.md", "experiments/demo/README.md"):
        text = (REPO / page).read_text()
        assert filled(text, "make readme", block) == text, "run `make readme`"


def test_only_what_stands_between_the_markers_is_replaced():
    page = "a\n<!-- numbers: x -->\n1\n<!-- /numbers -->\nb\n<!-- numbers: y -->\n2\n<!-- /numbers -->\n"
    assert filled(page, "x", "9\n") == page.replace("1\n", "9\n") and filled(page, "y", "") == page.replace("2\n", "")
    for broken in ("a\n", "a\n<!-- numbers: x -->\n1\n"):
        with pytest.raises(ValueError, match="numbers: x"):
            filled(broken, "x", "9\n")


def test_targets_and_files_exist():
    text = (REPO / "README.md").read_text()
    targets = set(re.findall(r"^([a-z_-]+):", (REPO / "Makefile").read_text(), re.M))
    targets |= {f"train-{stage.stem}" for stage in (REPO / "conf" / "stage").glob("*.yaml")}
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z_-]*)", text, re.M)) | set(re.findall(r"`(train-[a-z_]+)`", text))
    assert named - {"demo"} and named <= targets


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [
    "README.md",
    *sorted(str(page.relative_to(REPO)) for top in ("docs", "experiments") for page in (REPO / top).rglob("*.md")),
]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = REPO / name
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_decisions_are_all_in_their_index():
    text = (REPO / "docs/decisions.md").read_text()
    decisions, listed = re.findall(r"^## (.+)$", text, re.M), re.findall(r"^- \[(.+)\]\(#", text, re.M)
    assert decisions and sorted(listed) == sorted(decisions)
