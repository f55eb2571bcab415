"""The invisible mark: found with its payload after what happens to videos, never where there is none, and not seen."""

import cv2
import numpy as np
import pytest

from tsd.media.marking import code, detect, pattern
from tsd.media.marking.embed import PSNR, Mark

PAYLOAD = 0xA1B2C3D4


def busy(num_frames: int = 50, height: int = 128, width: int = 128, seed: int = 0) -> np.ndarray:
    """uint8 [T, H, W, 3]: blurred noise that drifts, beside a flat strip on the left."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height + 16, width + 16)).astype(np.float32), (0, 0), height / 100)
    noise = 128 + 30 * noise / noise.std()
    noise[:, : width // 4] = 90
    shifts = np.rint(4 * np.sin(np.arange(num_frames) / 12)).astype(int) + 8
    frames = [noise[s : s + height, :width] for s in shifts]
    return np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8)[..., None].repeat(3, 3)


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
    "noise": lambda f: np.clip(f + np.random.default_rng(0).normal(0, 6, f.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_payload_comes_back(marked, attack):
    found = looked_at(ATTACKS[attack](marked))
    assert found is not None and found.payload == PAYLOAD and found.chance < detect.FALSE_ALARM


def test_another_frame_rate(marked):
    assert looked_at(marked[np.arange(60) * 25 // 30], fps=30).payload == PAYLOAD


def test_no_mark_is_found_in_frames_without_one():
    for seed in range(3):
        assert looked_at(busy(25, seed=seed)) is None
    assert looked_at(np.zeros((25, 64, 64, 3), np.uint8)) is None and looked_at(busy(3)) is None
    assert detect.find([]) is None


def test_a_mark_is_found_in_a_part_that_is_generated_and_nothing_else_changes():
    before = busy(75, 192, 256)
    generated = before.copy()
    generated[:, 60:160, 90:220] = 255 - generated[:, 60:160, 90:220]
    marked = Mark(PAYLOAD, unit=1.2)(generated, before=before)
    same = (generated == before).all(-1)
    assert np.array_equal(marked[same], before[same]) and (marked[~same] != generated[~same]).any()
    assert looked_at(marked).payload == PAYLOAD


def test_flat_parts_stay_as_they_are_and_the_others_change_little(marked):
    frames = busy()
    assert np.array_equal(marked[:, :, :20], frames[:, :, :20])
    error = np.mean((marked.astype(np.float32) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > PSNR - 1 > 43.9
    flat = np.full((8, 64, 64, 3), 120, np.uint8)
    assert np.array_equal(Mark(PAYLOAD)(flat), flat)


def test_frames_of_a_stream_do_not_depend_on_how_it_is_cut(marked):
    mark, frames = Mark(PAYLOAD), busy()
    parts = [mark(frames[i : i + 7], first=i) for i in range(0, len(frames), 7)]
    assert np.array_equal(np.concatenate(parts), marked)


def test_the_code_corrects_three_wrong_bits_of_each_block():
    rng, bits = np.random.default_rng(0), code.encode(PAYLOAD)
    assert code.decode(bits) == PAYLOAD
    for _ in range(20):
        wrong = bits.copy()
        for block in range(code.BLOCKS):
            wrong[24 * block + rng.choice(24, 3, replace=False)] *= -1
        assert code.decode(wrong) == PAYLOAD
    book = code.codebook()
    distance = (24 - book @ book[:64].T) / 2
    assert set(np.unique(distance)) == {0, 8, 12, 16, 24}
    for payload in (-1, 1 << 32):
        with pytest.raises(ValueError, match="32 bits"):
            code.encode(payload)


def test_noise_is_decoded_as_often_as_the_check_sum_lets_it():
    rng, tries = np.random.default_rng(1), 4000
    assert sum(code.decode(row) is not None for row in rng.normal(size=(tries, code.CODE_BITS))) <= 2


@pytest.mark.parametrize("at_one_moment", [False, True])
def test_the_chance_of_a_coherence_is_an_upper_bound(at_one_moment):
    """The theory that the threshold stands on, for 200 sums of noise that moves at all moments, or at one."""
    rng, fields = np.random.default_rng(2), []
    for _ in range(200):
        noise = rng.normal(size=(128, 128)) + 1j * rng.normal(size=(128, 128))
        noise = noise.real * np.exp(1j) if at_one_moment else noise
        fields.append(detect.pilot_field(detect.tile_waves(noise.astype(np.complex64), 1.0))[0].ravel())
    coherence = np.concatenate(fields)
    for bound in (0.05, 0.1, 0.15):
        seen = np.mean(coherence > bound)
        assert seen <= detect.by_chance(bound)
        assert not at_one_moment or seen > detect.by_chance(bound) / 10, "a bound, and not a wide one"


def test_every_wave_has_one_use():
    pilot, bits = pattern.shares()
    assert sorted([*pilot, *bits.ravel()]) == list(range(pattern.NUM_WAVES))
    pairs = {tuple(k) for k in pattern.waves()} | {tuple(-k) for k in pattern.waves()}
    assert len(pairs) == 2 * pattern.NUM_WAVES and (0, 0) not in pairs
