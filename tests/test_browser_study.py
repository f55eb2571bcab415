"""The study of the page without a server: what is counted, and what is made of minutes of readings."""

import importlib.util
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tsd.bench.processes import Reading
from tsd.bench.static_host import hosted

STUDY = Path(__file__).parents[1] / "experiments" / "browser" / "browser.py"
spec = importlib.util.spec_from_file_location("browser_study", STUDY)
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)


def test_a_host_counts_what_it_sends(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file.bin").write_bytes(bytes(1000))
    with hosted(tmp_path, "below/") as host:
        assert urllib.request.urlopen(f"{host.address}file.bin").read() == bytes(1000) and host.sizes == [1000]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{host.address}file.bin", timeout=5)


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="reads /proc, which only Linux has")
def test_a_program_is_read_with_what_it_started_and_others_apart():
    work = "x = bytearray(50 * 2**20)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", work]) as child:
        name = Path(f"/proc/{child.pid}/comm").read_text().strip()
        before = Reading.of(name)
        while (now := Reading.of(name)).own < before.own + 0.5 or now.resident < 50 * 2**20:
            assert child.poll() is None
        child.kill()
    found = now.since(before)
    assert 0 < found["own_cores"] < 1.5 and found["other_cores"] >= 0
    assert Reading.of(name).own < now.own


def test_minutes_of_readings_become_delay_drift_and_memory():
    seconds = np.arange(0, 181, 2.0)
    shown, left_out = 20 * seconds, 5 * seconds
    delay = np.where(seconds > 90, 300, 280)
    found = study.of_minutes(np.stack([seconds, delay, delay + 50, shown, left_out, 400 + seconds / 10], 1))
    assert found["minutes"] == 3 and found["drift_ms"] == 20 and found["delay_ms"]["p95_of_largest"] == 350
    assert found["shown_a_second"] == 20 and found["frames_a_second"] == 25 and found["left_out"] == 900
    assert found["mib"]["first_minute"] < 404 and found["mib"]["last_minute"] > 414


def test_what_the_page_says_is_understood():
    program = (study.REPO / "tsd" / "browser" / "program" / "src" / "page.ts").read_text()
    for words in ("ms after its sound (", "ms at most", "frames shown, ", " left out.", "frames a second."):
        assert words in program, words
    said = "Picture 291 ms after its sound (340 ms at most in two seconds), 90 frames shown, 7 left out."
    assert study.LIVE.search(said).groups() == ("291", "340", "90", "7")
    assert study.PACE.search("50 frames (2.0 s) with K = 1 in 2.5 s: 20.0 frames a second.")[1] == "20.0"


def test_a_part_is_merged_and_the_others_stay(tmp_path):
    report = tmp_path / "report.json"
    study.merge(report, {"visit": {"mb": 14.0}, "live": {"minutes": 3}})
    study.merge(report, {"visit": {"mb": 13.5}})
    assert json.loads(report.read_text()) == {"visit": {"mb": 13.5}, "live": {"minutes": 3}}


def test_its_report_holds_what_was_asked():
    report = json.loads((STUDY.parent / "report.json").read_text())
    assert set(report) == set(study.PARTS)
    assert report["visit"]["mb"] <= 15 and report["visit"]["console_errors"] == []
    assert max(report["speed"][steps]["largest_difference"] for steps in ("k1", "k2")) <= 2
    assert all(row["violations"] == [] for name, row in report["reach"].items() if name != "machine")
