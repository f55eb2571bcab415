"""What a chain costs: counted by hand, timed in order, refused with reasons."""

import pytest
import torch
from fakes import fake_denoiser, fake_vae
from hydra import compose, initialize_config_dir
from test_config import CONF
from torch import nn

from tsd.bench import __main__ as bench
from tsd.bench.__main__ import Setting
from tsd.diffusion import Schedule
from tsd.runtime.talker import Talker

SCHEDULES = {"k1": Schedule((80.0,)), "k2": Schedule((80.0, 1.0))}


def fake_talker() -> Talker:
    return Talker(fake_vae(), fake_denoiser(), schedules=SCHEDULES)


def test_flops_of_the_decoder_are_those_of_its_convolutions():
    talker, seen = fake_talker(), []
    vae = talker.vae

    def note(layer: nn.Conv2d, _, out):
        seen.append(2 * out[0].numel() * layer.weight[0].numel())

    speaker = bench.made_up_speaker(talker)
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    talker.decode(torch.zeros(1, *speaker.latent.shape[1:]), speaker.appearance)
    by_hand = sum(seen) / 1e9
    assert bench.count_gflop(talker)["decoder"] == pytest.approx(by_hand, rel=1e-6)


def test_a_step_costs_the_same_in_every_schedule():
    talker = fake_talker()
    one = bench.count_gflop(talker)["step"]
    talker.schedules = {"k2": SCHEDULES["k2"]}
    assert bench.count_gflop(talker)["step"] == pytest.approx(one, rel=1e-9) and one > 0


def test_every_frame_of_every_setting_is_timed():
    talker = fake_talker()
    speaker, made = bench.made_up_speaker(talker), []
    talker.decode = lambda z, appearance: made.append(len(z))
    spent, first = bench.run_once(talker, speaker, Setting("k2", "e1", 8), 20)
    assert made == [8, 8, 4] and len(spent) == 3 and first == pytest.approx(spent[0] * 8 / 1000)
    bench.run_once(talker, speaker, Setting("k1", "e2", 1), 3)
    assert made == [8, 8, 4], "E2 decodes nothing"
    settings = [Setting("k1", "e2", 1), Setting("k2", "e2", 8)]
    rows = bench.measure(talker, settings, frames=16, rounds=2, warmup=1)
    assert list(rows) == settings
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in rows.values())


def test_summary_by_hand():
    row = bench.summary([1.0] * 98 + [10.0, 20.0], [0.005, 0.007, 0.009])
    assert row["p50_ms"] == 1 and row["fps"] == 1000 and row["first_frame_ms"] == pytest.approx(7)
    assert 1 < row["p99_ms"] <= 20


def test_all_mistakes_in_one_error():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("bench", ["frames=0", "chunks=[0]", "schedules=[]", "warmup=-1"])
    with pytest.raises(ValueError) as error:
        bench.check(cfg)
    assert all(word in str(error.value) for word in ("frames=0", "chunks=[0]", "schedules=[]", "warmup=-1"))
