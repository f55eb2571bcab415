"""The README's numbers are those of the committed report, and the targets it names exist."""

import importlib.util
import json
import re
from pathlib import Path

REPO = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("publish", REPO / "experiments" / "publish.py")
publish = importlib.util.module_from_spec(spec)
spec.loader.exec_module(publish)


def test_numbers_are_current():
    block = publish.numbers(json.loads((REPO / "experiments/demo/report.json").read_text()))
    for page in ("README.md", "experiments/demo/README.md"):
        text = (REPO / page).read_text()
        assert publish.fill(text, block) == text, "run `make readme`"


def test_targets_and_files_exist():
    text = (REPO / "README.md").read_text()
    targets = set(re.findall(r"^([a-z_-]+):", (REPO / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z_-]*)", text, re.M)) | set(re.findall(r"`(train-[a-z_]+)`", text))
    assert named - {"demo"} and named <= targets
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        assert (REPO / link).exists(), link
