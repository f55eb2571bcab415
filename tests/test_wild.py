"""Lips on real clips: what the numbers mean, what the controls are, and which clips are refused with a reason."""

import json

import numpy as np
import pytest

from tsd.clip import FPS, MELS, MELS_PER_FRAME, VISEMES
from tsd.evaluation.page import page
from tsd.evaluation.pairs.matching import LeftOut
from tsd.evaluation.wild import reading, run
from tsd.evaluation.wild.lips import RealLips
from tsd.evaluation.wild.loudness import SIDE, Loudness, features
from tsd.evaluation.wild.report import make_report, to_markdown
from tsd.media.faces import Landmarks
from tsd.media.heads import Head
from tsd.metrics.face_mesh import CORNERS, EYES, LOWER, POINTS, UPPER, gap_and_width
from tsd.metrics.lips import REACH, agreement, closed_below, closed_where_due, closures, delay


def talk(num_frames: int = 80, seed: int = 0) -> np.ndarray:
    """Lips [T, 2] that open and shut."""
    steps = np.random.default_rng(seed).normal(size=(num_frames + 4, 2))
    smooth = np.stack([np.convolve(column, np.ones(5) / 5, "valid") for column in steps.T], 1)
    return np.array([0.15, 0.8]) + np.array([0.1, 0.05]) * smooth


def test_points_are_measured_in_eyes():
    points = np.zeros((POINTS, 2))
    for (outer, inner), x in zip(EYES, (0.0, 40.0), strict=True):
        points[[outer, inner], 0] = x - 5, x + 5
    points[[UPPER, LOWER], 1] = 50, 60
    points[list(CORNERS), 0] = 5, 35
    assert gap_and_width(points) == pytest.approx((0.25, 0.75))
    assert gap_and_width(3 * points + 7) == pytest.approx((0.25, 0.75))


def test_agreement_is_pearsons_and_knows_no_scale():
    one, two = talk()[:, 0], talk(seed=1)[:, 0]
    assert agreement(one, two) == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert agreement(one, 3 * one + 1) == pytest.approx(1) and np.isnan(agreement(one, np.ones_like(one)))


@pytest.mark.parametrize("frames", range(-REACH, REACH + 1))
def test_the_delay_of_a_shifted_track_is_found(frames):
    real = talk(120)[:, 0]
    assert delay(np.roll(real, frames)[10:-10], real[10:-10]) == frames


def test_no_delay_where_nothing_agrees():
    assert np.isnan(delay(np.ones(80), talk()[:, 0])) and np.isnan(delay(np.arange(8.0), np.arange(8.0)))


def said(*events: tuple[str, int, int], num_frames: int = 40) -> np.ndarray:
    """Visemes [T, V]: vowels, but for (name, first frame, end)."""
    names = np.full(num_frames, VISEMES.index("aa"))
    for name, first, end in events:
        names[first:end] = VISEMES.index(name)
    return np.eye(len(VISEMES))[names]


def test_closures_count_within_a_frame():
    visemes = said(("PP", 10, 12), ("PP", 20, 21), ("PP", 30, 32))
    assert closures(visemes) == [(10, 12), (20, 21), (30, 32)]
    gap = np.full(40, 0.3)
    gap[9], gap[20], gap[35] = 0.0, 0.05, 0.0
    found = closed_where_due(gap, visemes, 0.05)
    assert found["closure_recall"] == pytest.approx(2 / 3)
    near = set(range(9, 13)) | set(range(19, 22)) | set(range(29, 33))
    assert found["false_closures"] == pytest.approx(1 / (40 - len(near)))


def test_closed_is_what_the_person_calls_closed():
    gap = talk(200)[:, 0]
    share = (gap <= closed_below(gap)).mean()
    assert 0.05 < share < 0.4 and closed_below(2 * gap + 1) == pytest.approx(2 * closed_below(gap) + 1)


def test_lips_may_close_in_silence_and_at_f():
    visemes = said(("sil", 0, 10), ("FF", 20, 22))
    gap = np.where(visemes[:, VISEMES.index("aa")] > 0, 0.3, 0.0)
    found = closed_where_due(gap, visemes, 0.05)
    assert found["false_closures"] == 0 and np.isnan(found["closure_recall"])


def sound(num_frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 4, (num_frames * MELS_PER_FRAME, MELS)).astype(np.float32)


def test_the_loudness_fit_finds_lips_that_follow_loudness():
    weights = np.random.default_rng(0).normal(size=((2 * SIDE + 1) * 3, 2))
    clips = [(mel, features(mel) @ weights + person) for person, mel in enumerate(sound(60, i) for i in range(6))]
    fitted = Loudness.fit(clips)
    mel = sound(60, 9)
    lips = features(mel) @ weights
    guess = fitted.guess(features(mel))
    assert agreement(guess[:, 0], lips[:, 0]) > 0.95 and agreement(guess[:, 1], lips[:, 1]) > 0.95
    louder = fitted.guess(features(mel + 1.0))
    assert agreement(louder[:, 0], guess[:, 0]) == pytest.approx(1), "the microphone's level does not count"


def test_the_stored_fit_says_whom_it_was_made_of():
    from tsd.evaluation.wild import fitting

    made = json.loads(fitting.FILE.read_text())["made"]
    assert made["clips"] > 0 and made["people"] and "loudness=" in made["command"]
    assert Loudness.stored().guess(features(sound(30, 0))).shape == (30, 2)


def head(first: int, end: int, size: float = 100, x: float = 0.0, nose: float = 0.5) -> Head:
    points = np.float32([[x + 0.3, 0.3], [x + 0.7, 0.3], [x + nose, 0.5], [x + 0.35, 0.7], [x + 0.65, 0.7]]) * size
    face = Landmarks(points, np.float32([x, 0, x + 1, 1]) * size, 1.0)
    return Head([first, end - 1], [face, face])


@pytest.mark.parametrize(
    "heads, reason",
    [
        ([], "no face is found"),
        ([head(0, FPS - 1)], "seen for 0.96 s at most"),
        ([head(0, 60), head(0, 60, x=2.0)], "two faces are seen at once"),
        ([head(0, 60, size=30)], "only 30 pixels across"),
        ([head(0, 60, nose=0.75)], "turned away in 100%"),
    ],
)
def test_a_clip_of_no_use_is_refused_with_its_reason(heads, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        reading.talking_head(tmp_path / "clip.mp4", heads)


def test_the_longest_stretch_is_taken():
    heads = [head(0, 30), head(30, 90), head(90, 120)]
    assert reading.talking_head("clip.mp4", heads) is heads[1]


def test_the_reference_is_the_first_face_that_looks_ahead():
    points = np.stack([head(0, 2, nose=nose).faces[0].points for nose in (0.75, 0.7, 0.55, 0.5)])
    assert reading.first_ahead(points) == 2 and reading.first_ahead(points[:1]) == 0


def part(name: str, seed: int, follows: float, text: bool) -> dict:
    truth = RealLips(talk(seed=seed), said(("PP", 10, 12), num_frames=80) if text else None)
    mean = truth.lips.mean(0)
    lips = {
        "k1": mean + follows * (truth.lips - mean),
        "real": truth.lips,
        "late": truth.late(),
        "loudness": talk(seed=99),
    }
    rows = {row: truth.row(track) for row, track in lips.items()}
    return {
        "name": name,
        "person": name,
        "stem": name,
        "frames": 80,
        "text": text,
        "lips": {"truth": truth.lips} | lips,
        "rows": rows,
        "gap": {"reference": 0.1, "silence": 0.05 + 0.01 * seed, "music": 0.2},
    }


def test_the_report_tells_a_timid_mouth_from_a_right_one():
    parts = [part(f"clip{i}", i, 0.5, i < 2) for i in range(5)]
    run.add_shuffled(parts)
    report = make_report(parts, [LeftOut("wild", "bad.mp4", "refused", "no face is found")], ["k1"], seed=0)
    assert report["clips"] == 5 and report["clips_with_text"] == 2
    assert report["k1"]["lips_r"] == pytest.approx(1) and report["k1"]["lag"] == 0
    assert report["k1"]["amplitude_ratio"] == pytest.approx(0.5) and report["k1"]["amplitude_off"] == pytest.approx(2)
    assert report["real"]["amplitude_ratio"] == pytest.approx(1) and report["late"]["lag"] == 3
    assert abs(report["k1"]["lips_r_shuffled"]) < 0.5 and report["late"]["lips_r"] < 0.9
    assert report["statistics"]["k1"]["closure_recall"]["n"] == 2
    summary = report["statistics"]["k1"]["lips_r"]
    assert {"n", "low", "high"} <= summary.keys() and summary["n"] == 5
    assert report["silence"]["opened_ratio"] == pytest.approx(0.7)
    assert report["music"]["opened_ratio"] == pytest.approx(2)
    text = to_markdown(report)
    assert "*loudness alone*" in text and "bad.mp4: no face is found" in text
    assert "Lips on real clips" in page(report | {"weights": {}, "settings": {}, "seconds": 1.0})


def test_people_are_folders():
    from pathlib import Path

    folder = Path("clips")
    assert run.person_of(folder, folder / "ann" / "1.mp4") == run.person_of(folder, folder / "ann" / "2.mp4") == "ann"
    assert run.person_of(folder, folder / "1.mp4") != run.person_of(folder, folder / "2.mp4")
