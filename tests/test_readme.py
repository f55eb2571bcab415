"""The pages agree with the code: numbers are those of the committed reports, targets, links and settings exist."""

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


@pytest.mark.parametrize(
    ("page", "block"), [("README.md", publish.in_short), ("experiments/demo/README.md", publish.numbers)]
)
def test_numbers_are_current(page, block):
    report = json.loads((REPO / "experiments/demo/report.json").read_text())
    text = (REPO / page).read_text()
    assert filled(text, "make readme", block(report)) == text, "run `make readme`"


def test_only_what_stands_between_the_markers_is_replaced():
    page = "a\n<!-- numbers: x -->\n1\n<!-- /numbers -->\nb\n<!-- numbers: y -->\n2\n<!-- /numbers -->\n"
    assert filled(page, "x", "9\n") == page.replace("1\n", "9\n") and filled(page, "y", "") == page.replace("2\n", "")
    for broken in ("a\n", "a\n<!-- numbers: x -->\n1\n"):
        with pytest.raises(ValueError, match="numbers: x"):
            filled(broken, "x", "9\n")


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [
    "README.md",
    *sorted(str(page.relative_to(REPO)) for top in ("docs", "experiments") for page in (REPO / top).rglob("*.md")),
]
DESIGN = sorted((REPO / "docs/design").glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = REPO / name
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_targets_that_pages_name_exist():
    makefile = (REPO / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z_-]+):", makefile, re.M))
    assert re.search(r"^train-%:", makefile, re.M)
    targets |= {f"train-{stage.stem}" for stage in (REPO / "conf/stage").glob("*.yaml")}
    for name in PAGES:
        text = (REPO / name).read_text()
        calls = re.findall(r"(?:`|^|\d )make ([a-z_ -]+)", text, re.M)
        named = {target for call in calls for target in call.split()} | set(re.findall(r"`(train-[a-z_]+)`", text))
        assert named <= targets, f"{name}: {named - targets}"


def test_every_target_is_in_the_table_of_commands():
    targets = set(re.findall(r"^([a-z][a-z_-]*):.*##", (REPO / "Makefile").read_text(), re.M)) - {"help"}
    named = set(re.findall(r"make ([a-z][a-z_-]*)", (REPO / "docs/commands.md").read_text()))
    assert targets and targets <= named | {"test"}


def test_programs_and_settings_that_the_table_of_commands_names_exist():
    text = (REPO / "docs/commands.md").read_text()
    modules = re.findall(r"-m (tsd(?:\.\w+)+)(?!\.<|\w)", text)
    assert modules and all((REPO / f"{module.replace('.', '/')}.py").is_file() for module in modules)
    groups = {"loss": r"\b(?:loss=)?((?:no|with)_\w+)", "p_mismatch": r"\b(p\d\d+)\b", "model": r"model=(\w+)"}
    for group, pattern in groups.items():
        names = set(re.findall(pattern, text))
        assert names and all((REPO / "conf" / group / f"{name}.yaml").is_file() for name in names), group


def test_the_readme_is_short_and_begins_with_what_to_type():
    text = (REPO / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    first, second = re.findall(r"^make (\w+)", text, re.M)[:2]
    assert (first, second) == ("talk", "test")


@pytest.mark.parametrize("page", DESIGN, ids=lambda page: page.stem)
def test_design_pages_are_listed_and_short(page):
    """Two screens: 100 lines of 120 columns; rows of tables may be wider."""
    lines = page.read_text().splitlines()
    assert len(lines) <= 100 and all(len(line) <= 120 for line in lines if not line.startswith("|"))
    index = (REPO / "docs/design/README.md").read_text()
    assert page.name == "README.md" or f"[{lines[0].removeprefix('# ')}]({page.name})" in index
