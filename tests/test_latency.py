"""The latency study's sums: keys by their words, the best backend, and what is asked against what was found."""

import importlib.util

import pytest
from fakes import CONF

from tsd.bench import training
from tsd.clip import Clip
from tsd.commands import bench_training
from tsd.commands.compose import composed

PATH = CONF.parent / "experiments" / "latency" / "latency.py"


@pytest.fixture(scope="module")
def latency():
    spec = importlib.util.spec_from_file_location("latency", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(backend: str, ms: float, **changes) -> dict:
    given = {"backend": backend, "mode": "e1", "steps": "k2", "chunk": 8, "ms": ms, "gemm_equivalent_gflop": ms / 5}
    return given | {"gflop": 0.6, "p95_ms": ms, "first_frame_ms": 210.0} | changes


def test_the_best_backend_of_a_setting_is_kept(latency):
    found = latency.best([row("torch", 4.0), row("auto", 1.0), row("openvino", 2.0), row("torch", 9.0, chunk=1)])
    assert found["e1.k2.chunk8"]["backend"] == "auto" and found["e1.k2.chunk1"]["ms"] == 9


def test_what_is_asked_is_held_against_what_was_found(latency):
    flat = {"e1.128.k2.chunk8": row("torch", 2.0), "e1.128.k2.chunk1": row("torch", 9.0, chunk=1)}
    lines = {line["figure"]: line for line in latency.verdicts(flat, {"import": {"seconds": 3.0}})}
    assert lines["e1.128.k2.chunk8.gemm_equivalent_gflop"]["holds"] is True
    assert lines["e1.128.k2.chunk1.p95_ms"]["holds"] is False and lines["import_seconds"]["holds"] is False
    assert lines["e1.256.k2.chunk8.ms"]["holds"] is None and lines["first_frame_ms"]["found"] == 210
    text = latency.summary({"asked": list(lines.values())})
    assert "not measured" in text and text.count("\n") == len(lines) + 1


def test_a_process_is_measured_alone(latency):
    own = b"x" * (512 << 20)  # what this process holds is not the other's
    spent = latency.run_often("-c", "x = bytearray(64 << 20)", times=1)
    assert 64 < spent["peak_mib"] < len(own) >> 20 and 0 < spent["seconds"] < 60
    with pytest.raises(SystemExit, match="failed with 3"):
        latency.run_often("-c", "raise SystemExit(3)", times=1)


def test_of_several_runs_the_middle_one_counts_and_the_most_memory(latency, monkeypatch):
    runs = iter([(6.6, 90.0), (5.3, 80.0), (5.4, 85.0)])
    monkeypatch.setattr(latency, "watched", lambda *_: next(runs))
    assert latency.run_often("-c", "pass") == {"seconds": 5.4, "each": [6.6, 5.3, 5.4], "peak_mib": 90.0}


def test_ways_of_training_take_a_step_on_a_made_up_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WAYS", training.WAYS[:2] + training.WAYS[4:5])
    small = ["model=tiny", "data.batch_size=2", "data.window=2", "rounds=1", "threads=1", f"out={tmp_path}"]
    report = bench_training.run(composed("bench/training", ["stage=teacher", "loss.identity=0", *small]))
    rows = report["devices"]["cpu"]
    assert [entry["way"] for entry in rows] == ["float32", "float32, fused", "bfloat16"] and rows[0]["speed_up"] == 1
    assert "| bfloat16 |" in (tmp_path / "training_teacher.md").read_text()
    with pytest.raises(ValueError, match="stage=mouth: must be vae or teacher"):
        bench_training.run(composed("bench/training", ["stage=mouth", *small]))
    assert isinstance(training.made_up_clip(2, 3, 16, (4, 2, 2)), Clip)
