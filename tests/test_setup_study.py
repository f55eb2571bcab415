"""The study of setup: parts are merged, sizes are those of the files, and what it measures is what is asked."""

import importlib.util
import json
import wave
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[1] / "experiments" / "setup" / "setup.py"
spec = importlib.util.spec_from_file_location("setup_study", STUDY)
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)


def test_a_part_is_merged_and_the_others_stay(tmp_path):
    report = tmp_path / "report.json"
    study.merge(report, {"test_minutes": 7.0, "talk_extra": {"mib_installed": 300}})
    study.merge(report, {"test_minutes": 6.0})
    assert json.loads(report.read_text()) == {"test_minutes": 6.0, "talk_extra": {"mib_installed": 300}}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_sizes_count_every_file_once(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a").write_bytes(bytes(2**20))
    (tmp_path / "b").hardlink_to(tmp_path / "inside" / "a")
    (tmp_path / "c").symlink_to(tmp_path / "inside")
    assert 1 <= study.size_mib(tmp_path) < 1.001


def test_speech_is_as_long_as_is_said(tmp_path):
    with wave.open(str(study.speech_of(10, tmp_path / "speech.wav"))) as made:
        assert made.getnframes() == 10 * made.getframerate()


def test_a_command_is_watched_and_its_failure_ends_the_study(tmp_path):
    seconds, peak = study.watched("python3", "-c", "x = b'x' * (50 * 2**20)", cwd=tmp_path)
    assert 0 < seconds < 60 and peak > 50
    with pytest.raises(SystemExit, match="failed with 3"):
        study.watched("python3", "-c", "raise SystemExit(3)", cwd=tmp_path)


def test_parts_are_run_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setitem(study.PARTS, "demo", lambda work: {"demo_minutes": 9.0})
    monkeypatch.setattr("sys.argv", ["setup.py", "demo", "--work", str(tmp_path / "w"), "--out", str(tmp_path)])
    study.main()
    assert json.loads((tmp_path / "report.json").read_text()) == {"demo_minutes": 9.0}
