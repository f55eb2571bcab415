"""What a chain costs: counted by hand, timed in order, refused with reasons, and held to a budget."""

import json

import numpy as np
import pytest
import torch
from fake_talkers import files, talker
from hydra.utils import instantiate
from torch import nn

from tsd.bench import counting
from tsd.bench.boards import BOARDS, board_ms
from tsd.bench.counting import count_frame, count_parts, made_up_speaker
from tsd.bench.machine import Product, pinned
from tsd.bench.parts import time_parts
from tsd.bench.timing import Setting, Times, measure, run_once
from tsd.commands import bench
from tsd.commands.compose import composed
from tsd.diffusion import S_MAX, Schedule
from tsd.runtime.talker import Talker

pytestmark = pytest.mark.untraced

BUDGET_GFLOP = 1.0
"""Of a frame at 128 x 128 from sound to picture in two steps."""


def settled(*overrides: str):
    return composed("bench/chain", list(overrides))


def test_flops_of_the_decoder_are_those_of_its_convolutions_and_of_enlarging_two_pairs():
    t, seen = talker(), []
    speaker = made_up_speaker(t)
    hooks = [
        layer.register_forward_hook(lambda conv, _, out: seen.append(2 * out[0].numel() * conv.weight[0].numel()))
        for layer in t.vae.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    t.decode(torch.zeros(1, *speaker.latent.shape[1:]), speaker.appearance)
    for hook in hooks:
        hook.remove()
    side, small = t.vae.resolution, t.vae.resolution // 4
    seen.append(2 * 2 * (2 * side * small * small + side * 2 * small * 2 * side))  # flow and share, each of x and y
    assert count_parts(t)["decoder"] == pytest.approx(sum(seen) / 1e9, rel=1e-6)


def test_a_step_costs_the_same_in_every_schedule():
    t = talker()
    one = count_parts(t)["step"]
    t.schedules = {"k8": t.schedules["k8"]}
    assert count_parts(t)["step"] == pytest.approx(one, rel=1e-9) and one > 0


def test_a_frame_costs_its_parts():
    """In large chunks what is heard twice hardly counts."""
    t = talker()
    parts = count_parts(t)
    frame = {mode: count_frame(t, "k2", mode, 24) for mode in ("e1", "e2")}
    assert frame["e1"] - frame["e2"] == pytest.approx(parts["decoder"], rel=1e-6)
    assert 0 < frame["e2"] - 2 * parts["step"] - parts["frames"] < 3 * parts["recogniser"]


def model_at_128() -> Talker:
    model = composed("train", ["stage=student", "model=small"]).model
    assert model.resolution == 128
    nets = {name: instantiate(model[name], _convert_="all").eval() for name in ("vae", "student", "visemes")}
    return Talker(**nets, schedules={"k2": Schedule((S_MAX, 1.0))})


def test_a_frame_at_128_stays_in_its_budget(monkeypatch):
    """Sound to picture, one frame at a time (the dearest way) and eight. Over fewer frames than usual: each then bears
    more of what is done once."""
    monkeypatch.setattr(counting, "COUNTED_FRAMES", 8)
    t = model_at_128()
    for chunk in (1, 8):
        assert 0.1 < count_frame(t, "k2", "e1", chunk) <= BUDGET_GFLOP
    assert t.vae.latent_size <= 16


def test_nothing_at_full_size_is_wider_than_16_channels():
    t, wide = model_at_128(), []

    def note(layer, _, out):
        if out.shape[-1] == t.vae.resolution:
            wide.append(out.shape[1])

    for layer in t.vae.modules():
        if not list(layer.children()):
            layer.register_forward_hook(note)
    speaker = made_up_speaker(t)
    t.decode(torch.zeros(1, *speaker.latent.shape[1:]), speaker.appearance)
    assert max(wide, default=0) <= 16


def test_every_frame_of_every_setting_is_timed():
    t, made = talker(), []
    t.reference = made_up_speaker(t)
    changes = t.changes
    t.changes = lambda z, appearance: made.append(len(z)) or changes(z, appearance)
    t.met = {(8, "e1")}
    spent, counts, first = run_once(t, Setting("torch", "e1", "k2", 8), 20)
    assert counts == made and sum(made) == 20 and max(made) == 8 and len(spent) == len(counts)
    assert 0 < first <= spent[0], "what was done before there was sound delays no frame"
    run_once(t, Setting("torch", "e2", "k1", 1), 3)
    assert sum(made) == 20, "E2 decodes nothing"
    settings = [Setting("torch", "e2", "k1", 1), Setting("torch", "e2", "k2", 8)]
    rows, product = measure({"torch": t}, settings, frames=16, rounds=2, warmup=1)
    assert list(rows) == settings and product > 0
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] and row["rounds"] == 2
    assert rows[settings[1]]["first_frame_ms"] > 8 * 40 + t.look_ahead_ms > rows[settings[0]]["p50_ms"]


def test_a_row_by_hand():
    """Two rounds of 3 frames: 6 and 12 ms a frame, beside products of 100 and 50 GFLOP/s: the same work."""
    times = Times()
    times.add([0.012, 0.006], [2, 1], 0.010, 100)
    times.add([0.024, 0.012], [2, 1], 0.020, 50)
    row = times.row()
    assert row["ms"] == pytest.approx(9) and row["fps"] == pytest.approx(1000 / 9)
    assert row["gemm_equivalent_gflop"] == pytest.approx(0.6) and times.first == [10, 20]
    assert row["p50_ms"] == pytest.approx(9) and row["p99_ms"] <= 12


def test_every_part_is_timed():
    rows = time_parts({"torch": talker()}, [1, 4], rounds=1)
    assert {row["part"] for row in rows} >= {
        "log-mel",
        "recogniser",
        "frames, for all steps",
        "step",
        "decode",
        "compose",
    }
    assert len(rows) == 14 and all(row["ms"] > 0 for row in rows)


def test_threads_are_pinned_and_given_back():
    before = torch.get_num_threads()
    with pinned(1) as cores:
        assert torch.get_num_threads() == 1 and len(cores) <= 1
    assert torch.get_num_threads() == before and Product().gflops() > 0


def test_boards_are_flops_over_throughput():
    rows = [{"mode": "e1", "steps": "k2", "chunk": chunk, "gflop": 0.67 * chunk} for chunk in (1, 8)]
    assert board_ms(rows)["e1 k2"]["Raspberry Pi 5, ONNX Runtime"] == pytest.approx(10) and len(BOARDS) == 2


def test_the_report_and_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "COUNTED_FRAMES", 4)
    paths = files(tmp_path)
    weights = [f"weights.{stage}={paths[stage]}" for stage in ("vae", "visemes", "student")]
    small = ["frames=4", "rounds=1", "warmup=0", "threads=1", "schedules=[k2]", "chunks=[1,2]"]
    out = tmp_path / "bench.json"
    report = bench.run(settled(*weights, "weights.motion=null", *small, f"out={out}"))
    assert json.loads(out.read_text()) == report and torch.__version__.startswith(report["machine"]["torch"])
    assert [(row["mode"], row["chunk"]) for row in report["rows"]] == [("e1", 1), ("e1", 2), ("e2", 1), ("e2", 2)]
    assert all(np.isfinite(row["of_peak"]) and row["backend"] == "torch" for row in report["rows"])
    table = out.with_suffix(".md").read_text()
    assert "| torch | E1 | 2 | 1 |" in table and "estimated" in table and out.with_suffix(".png").stat().st_size > 1000


def test_all_mistakes_in_one_error():
    cfg = settled("frames=0", "chunks=[0]", "schedules=[]", "warmup=-1", "backends=[tensorflow]")
    with pytest.raises(ValueError) as error:
        bench.check(cfg)
    expected = ("frames=0", "chunks=[0]", "schedules=[]", "warmup=-1", "backend=tensorflow: no such backend")
    assert all(word in str(error.value) for word in expected)
