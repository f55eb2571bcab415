"""The index of evaluations finds reports alone, and what they say reaches the page as text."""

import base64
import json
import re
from hashlib import sha256

import pytest

from tsd.evaluation.page.runs import run_of, write_runs

HOSTILE = "</script><script>alert(1)</script>"


def report(folder, value: float, row: str = "generate.student.k2"):
    folder.mkdir(parents=True)
    figures = {"mouth_r": {"mean": value, "low": 0, "high": 1, "n": 3}, "psnr_db": {"mean": None}}
    (folder / "eval_report.json").write_text(json.dumps({"clips": 3, "statistics": {row: figures}}))


def test_reports_are_listed_with_what_lies_beside_them(tmp_path):
    report(tmp_path / "a b", 0.5)
    report(tmp_path / "c", 0.75, HOSTILE)
    (tmp_path / "c" / "broken.json").write_text("{")
    (tmp_path / "c" / "other.json").write_text("[1]")
    for name in ("sheet.png", "eval_report.html", "k2.mp4"):
        (tmp_path / "a b" / name).write_bytes(b"x")
    text = write_runs(tmp_path).read_text()
    runs = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert [run["name"] for run in runs] == ["a b/eval_report.json", "c/eval_report.json"]
    assert runs[0]["figures"] == {"generate.student.k2": {"mouth_r": 0.5}} and runs[0]["clips"] == "3"
    assert (runs[0]["sheet"], runs[0]["videos"], runs[1]["sheet"]) == ("a%20b/sheet.png", ["a%20b/k2.mp4"], None)
    assert 'href="a%20b/eval_report.html"' in text and HOSTILE not in text and HOSTILE in runs[1]["figures"]


def test_the_policy_allows_the_script_that_the_page_has(tmp_path):
    report(tmp_path / "a", 1.0)
    text = write_runs(tmp_path).read_text()
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1 and f"script-src 'sha256-{digest}'" in text.replace("&#39;", "'")


def test_what_holds_no_report_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no report"):
        write_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_runs(tmp_path / "none")
    (tmp_path / "a.json").write_text('{"statistics": [1]}')
    assert run_of(tmp_path / "a.json", tmp_path) is None
