"""The invisible mark: found with its payload after what happens to videos, never where there is none, and not seen."""

import cv2
import numpy as np
import pytest
from fakes import PAYLOAD, busy

from tsd.media.marking import code, detect, pattern
from tsd.media.marking.embed import PSNR, Mark


def looked_at(frames: np.ndarray, fps: float = 25):
    return detect.find((i / fps, frame) for i, frame in enumerate(frames))


@pytest.fixture(scope="module")
def marked() -> np.ndarray:
    return Mark(PAYLOAD)(busy())


ATTACKS = {
    "none": lambda f: f,
    "half and back": lambda f: np.stack([cv2.resize(cv2.resize(x, (64, 64), interpolation=3), (128, 128)) for x in f]),
    "half": lambda f: np.stack([cv2.resize(x, (64, 64), interpolation=cv2.INTER_AREA) for x in f]),
    "crop": lambda f: f[:, 13:-13, 13:-13],
    "crop of two sides": lambda f: f[:, 20:, 7:],
    "brighter": lambda f: np.clip(f * 1.2, 0, 255).astype(np.uint8),
    "less contrast": lambda f: np.clip(f * 0.8 + 25, 0, 255).astype(np.uint8),
    "a second": lambda f: f[13:38],
    "1.6 s": lambda f: f[:40],
    "noise": lambda f: np.clip(f + np.random.default_rng(0).normal(0, 6, f.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_payload_comes_back(marked, attack):
    found = looked_at(ATTACKS[attack](marked))
    assert found is not None and found.payload == PAYLOAD and found.chance < detect.FALSE_ALARM


def test_another_frame_rate(marked):
    assert looked_at(marked[np.arange(60) * 25 // 30], fps=30).payload == PAYLOAD


def test_windows_are_added_up_where_one_is_not_enough(monkeypatch):
    monkeypatch.setattr(detect, "WINDOW", 16)
    frames, rng = busy(80), np.random.default_rng(0)
    noisy = np.clip(Mark(PAYLOAD)(frames) + rng.normal(0, 70, frames.shape), 0, 255).astype(np.uint8)
    alone = [(i / 25, detect.small_luma(frame)) for i, frame in enumerate(noisy)]
    assert all(detect.find_in_window(alone[i : i + 16]) is None for i in range(0, 80, 16))
    found = looked_at(noisy)
    assert found is not None and found.payload == PAYLOAD and found.first_frame == 0


def test_no_mark_is_found_in_frames_without_one():
    for seed in range(3):
        assert looked_at(busy(25, seed=seed)) is None
    assert looked_at(np.zeros((25, 64, 64, 3), np.uint8)) is None and looked_at(busy(3)) is None
    assert detect.find([]) is None


def test_a_mark_is_found_in_a_part_that_is_generated_and_nothing_else_changes():
    before = busy(75, 192, 256)
    generated = before.copy()
    generated[:, 60:160, 90:220] = 255 - generated[:, 60:160, 90:220]
    marked = Mark(PAYLOAD, unit=0.8)(generated, before=before)
    same = (generated == before).all(-1)
    assert np.array_equal(marked[same], before[same]) and (marked[~same] != generated[~same]).any()
    assert looked_at(marked).payload == PAYLOAD


def test_flat_parts_stay_as_they_are_and_the_others_change_little(marked):
    frames = busy()
    assert np.array_equal(marked[:, :, :20], frames[:, :, :20])
    error = np.mean((marked.astype(np.float32) - frames) ** 2)
    assert PSNR + 1 > 10 * np.log10(255**2 / error) > 44
    flat = np.full((8, 64, 64, 3), 120, np.uint8)
    assert np.array_equal(Mark(PAYLOAD)(flat), flat)


def test_a_still_picture_flickers_little():
    frames = busy(1).repeat(40, 0)
    mark = Mark(PAYLOAD)(frames).astype(np.float32) - frames
    assert 0 < np.abs(np.diff(mark, axis=0)).mean() < 0.4 * np.abs(mark).mean(), "a sign of 0.16 s: 0.5"


def test_what_stands_still_adds_nothing_to_the_sum(marked):
    seconds = np.sort(np.random.default_rng(0).uniform(0, 3, 60))
    assert abs(detect.carrier(seconds).sum()) < 1e-4
    still = [(time, detect.small_luma(busy(1)[0])) for time in seconds]
    sums = detect.demodulate([(time, detect.small_luma(frame)) for time, frame in zip(seconds, marked, strict=False)])
    assert np.abs(detect.demodulate(still)[0]).max() < 1e-3 * np.abs(sums[0]).max()


def test_frames_of_a_stream_do_not_depend_on_how_it_is_cut(marked):
    mark, frames = Mark(PAYLOAD), busy()
    parts = [mark(frames[i : i + 7], first=i) for i in range(0, len(frames), 7)]
    assert np.array_equal(np.concatenate(parts), marked)


def test_the_code_corrects_ten_wrong_bits_of_each_half():
    rng, bits = np.random.default_rng(0), code.encode(PAYLOAD)
    rows = np.tile(bits, (20, 1))
    for row in rows:
        for half in range(code.BLOCKS):
            row[code.WORD_BITS * half + rng.choice(code.WORD_BITS, 10, replace=False)] *= -1
    assert code.decode(rows) == [PAYLOAD] * 20
    ones = (code.WORD_BITS - code.codebook().sum(1)) / 2
    assert np.sort(ones)[:2].tolist() == [0, 21], "in a linear code the smallest distance is the smallest weight"
    for payload in (-1, 1 << 32):
        with pytest.raises(ValueError, match="32 bits"):
            code.encode(payload)


def test_a_payload_is_certain_as_often_as_it_is_right():
    rng, bits, sure, right = np.random.default_rng(0), code.encode(PAYLOAD), [], []
    for strength in np.linspace(0.3, 1.0, 60):
        soft = strength * bits + rng.normal(size=bits.size)
        sure.append(code.certainty(soft))
        right.append(code.decode(soft[None]) == [PAYLOAD])
    sure, right = np.array(sure), np.array(right)
    assert abs(sure.mean() - right.mean()) < 0.1 and 0.3 < right.mean() < 0.8
    assert right[sure >= detect.READABLE].mean() > 0.95 and code.certainty(bits) == pytest.approx(1)


def test_a_mark_that_is_found_and_not_read_says_so(marked):
    """A video that was generated from a generated one has two marks, and their bits contradict each other."""
    found = looked_at(Mark(1)(marked))
    assert found.chance < detect.FALSE_ALARM and not found.readable
    assert looked_at(marked).readable


def unmarked_sum(kind: str, rng) -> np.ndarray:
    """complex64 [128, 128] such as ``demodulate`` gives: noise that moves at all moments or at one, or bars that do."""
    noise = rng.normal(size=(128, 128)) + 1j * rng.normal(size=(128, 128))
    if kind == "bars":
        noise = np.repeat(noise[:, ::8], 8, axis=1) * (rng.random(128) < 0.2)
    return (noise if kind == "noise" else noise.real * np.exp(1j)).astype(np.complex64)


@pytest.mark.parametrize("kind", ["noise", "at one moment", "bars"])
def test_the_chance_of_a_coherence_is_an_upper_bound(kind):
    """The theory that the threshold stands on, whatever the picture is: a pattern's phases are drawn at random."""
    rng, n, seen = np.random.default_rng(2), pattern.NUM_WAVES, []
    for _ in range(5):
        waves = detect.tile_waves(unmarked_sum(kind, rng), 1.0)
        both = waves[:, 0] + waves[:, 1].conj()
        along = (both * np.exp(-2j * np.pi * rng.random((4000, n)))).real.sum(1)
        seen.append(np.maximum(along, 0) ** 2 / (n * np.sum(np.abs(both) ** 2)))
    for tail in (0.3, 0.1, 0.01):
        share = np.mean(np.concatenate(seen) > -np.log(tail) / n)
        assert tail / 15 < share <= tail, "a bound, and not a wide one"
    assert detect.by_chance(60, 1) / detect.by_chance(50, 1) == pytest.approx(np.exp(-10))


def test_a_payload_is_paid_for_in_the_chance():
    """Of frames without a mark, the best of all payloads is nearly as coherent as theory lets 2 ** 32 of them be, and
    far from what is called a mark."""
    scores = []
    for seed in range(4):
        summed = unmarked_sum("noise", np.random.default_rng(seed))
        scores.append(detect.best_score(summed, detect.PLAIN, 1, np.arange(pattern.NUM_WAVES))[-1])
        assert detect.by_chance(scores[-1], 1) == 1
    assert 8 < np.median(scores) < np.log(detect.ANGLES * 2.0**code.PAYLOAD_BITS)


def test_every_wave_has_one_use():
    pilot, bits = pattern.shares()
    assert sorted([*pilot, *bits]) == list(range(pattern.NUM_WAVES))
    pairs = {tuple(k) for k in pattern.waves()} | {tuple(-k) for k in pattern.waves()}
    assert len(pairs) == 2 * pattern.NUM_WAVES and (0, 0) not in pairs
