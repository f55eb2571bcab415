"""The study of recognisers: what its figures mean."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from tsd.clip import VISEMES
from tsd.media.distortion import rms
from tsd.nets.visemes import VisemeNet

FILE = Path(__file__).parents[1] / "experiments" / "recogniser" / "recogniser.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("recogniser_study", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables(clear: np.ndarray) -> np.ndarray:
    return np.stack([clear, clear])


def test_scores_by_hand(study):
    clear = np.zeros((15, 15), int)
    clear[0, 0], clear[1, 1], clear[1, 10], clear[10, 10], clear[10, 1] = 50, 6, 2, 9, 3
    scores = study.scores([("a", tables(clear)), ("b", tables(clear))])
    assert scores["accuracy_speech"] == 0.75 == scores["accuracy_speech_low"] == scores["accuracy_speech_high"]
    assert scores["recall"]["PP"] == 0.75 and scores["precision"]["PP"] == pytest.approx(6 / 9, abs=1e-4)
    assert scores["recall"]["FF"] == 0 and (scores["frames"], scores["speakers"]) == (40, 2)


class Told:
    """A recogniser that answers what it is told."""

    def __init__(self, answers: np.ndarray):
        self.answers = torch.from_numpy(answers)[None]

    def __call__(self, mel):
        return self.answers[:, : mel.shape[1] // 4]


def test_clear_frames_alone_count(study):
    labels = np.eye(15, dtype=np.float32)[[1, 1, 0, 10]]
    labels[1] = 0.5 * (labels[1] + labels[3])
    asked = [study.Utterance("a", np.zeros(4 * 640, np.float32), labels)]
    ((speaker, table),) = study.counts(Told(labels), asked, study.as_it_is)
    assert speaker == "a" and np.trace(table[0]) == table[0].sum() == 3 and table[1].sum() == 4


def test_conditions_are_what_they_are_called(study):
    wave, rng = (0.1 * np.sin(np.arange(16_000) * 0.3)).astype(np.float32), np.random.default_rng(0)
    heard = {name: change(wave, np.random.default_rng(0)) for name, change in study.CONDITIONS.items()}
    assert np.array_equal(heard["heldout"], wave)
    for name, decibels in (("noise20", 20), ("noise10", 10), ("noise5", 5), ("pink10", 10)):
        assert 20 * np.log10(rms(wave) / rms(heard[name] - wave)) == pytest.approx(decibels, abs=0.1)
    assert np.abs(heard["quiet50"]).max() == pytest.approx(10**-2.5, rel=0.02)
    assert np.abs(heard["loud0"]).max() == pytest.approx(1, abs=1e-3)
    assert rng is not None and set(study.CONDITIONS) >= {"heldout", "noise10", "telephone"}


def test_cost_of_a_frame(study):
    cost = study.cost(VisemeNet(16, 2, look_ahead=4, any_level=True))
    assert cost["lookahead_ms"] == 160 and 0 < cost["gflop_per_frame"] < 0.03


def test_held_out_speakers_are_thirty_and_a_reader(study):
    lines = [line for line in study.HELD_OUT.read_text().splitlines() if line[0] != "#"]
    assert len(lines) == 31 and len(set(lines)) == 31 and "kathleen_en/arctic_b05*" in lines


def test_the_table_names_every_condition(study):
    scores = {
        "accuracy_speech": 0.5,
        "accuracy_speech_low": 0.4,
        "accuracy_speech_high": 0.6,
        "frames": 1,
        "speakers": 1,
    }
    scores |= {"accuracy_speech_unclear_too": 0.4}
    scores |= {kind: dict.fromkeys(VISEMES, 0.5) for kind in ("recall", "precision")}
    report = dict.fromkeys([*study.CONDITIONS, "native", "released", "shuffled"], scores)
    report |= {"lookahead_ms": 160.0, "gflop_per_frame": 0.004}
    table = study.table(report | {"hours_heard": 5.0, "speakers_heard": 200})
    assert table.count("| 0.500 |") == len(study.CONDITIONS) + 3 and "| recall | 0.50" in table
