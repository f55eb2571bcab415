"""Every rate becomes 25 frames a second in step with its sound."""

from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest
from mini_corpus import disc_frames
from mixed_folder import NTSC, encode

from tsd.clip import FPS, SAMPLE_RATE
from tsd.media import audio, timeline
from tsd.media.audio import load_audio, speech_share
from tsd.media.shots import change, find_cuts, thumbnail
from tsd.media.timeline import frames_between, read_timeline, resampled_frames, rising, there_and_back
from tsd.media.video import write_video

SECONDS = 61
FLASHES = (1.0, 30.0, 60.0)


def _flash(time: float) -> np.ndarray:
    lit = any(flash <= time < flash + 0.2 for flash in FLASHES)
    return np.full((32, 32, 3), 250 if lit else 10, np.uint8)


def _beeps() -> np.ndarray:
    wave = np.zeros(SECONDS * SAMPLE_RATE, np.float32)
    for flash in FLASHES:
        begin = round(flash * SAMPLE_RATE)
        wave[begin : begin + 3200] = 0.5 * np.sin(np.arange(3200) * 2 * np.pi * 440 / SAMPLE_RATE)
    return wave


@pytest.mark.parametrize(
    "fps",
    [
        NTSC,
        60,
        Fraction(24000, 1001),
        "variable",
        *(pytest.param(fps, marks=pytest.mark.slow) for fps in (24, 30, 50)),
    ],
    ids=str,
)
def test_after_a_minute_sound_and_picture_are_within_one_frame(tmp_path, fps):
    if fps == "variable":
        stamps = np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12], 3000))
        stamps, rate = stamps[stamps < SECONDS] - stamps[0], 30
    else:
        stamps, rate = np.arange(int(SECONDS * fps)) / float(fps), fps
    frames = [_flash(time) for time in stamps]
    path = encode(tmp_path / "a.mp4", frames, _beeps(), rate, stamps=stamps if fps == "variable" else None)
    timeline = read_timeline(path)
    pictures = np.stack(list(resampled_frames(path, timeline)))
    wave = load_audio(path)
    write_video(tmp_path / "b.mp4", pictures, wave)  # as the clips are written
    made = read_timeline(tmp_path / "b.mp4")
    assert made.num_frames == len(pictures) == pytest.approx(SECONDS * FPS, abs=2) and made.fps == FPS
    lit = np.array([p.mean() for p in resampled_frames(tmp_path / "b.mp4", made)]) > 128
    loud = np.abs(load_audio(tmp_path / "b.mp4")) > 0.2
    for flash in FLASHES:
        seen = np.flatnonzero(lit[int(flash * FPS) - 10 :])[0] + int(flash * FPS) - 10
        heard = np.flatnonzero(loud[round((flash - 0.4) * SAMPLE_RATE) :])[0] / SAMPLE_RATE + flash - 0.4
        assert abs(seen / FPS - heard) <= 1.001 / FPS, f"{fps} at {flash} s: seen {seen / FPS:.3f}, heard {heard:.3f}"


def test_a_rotation_flag_is_followed_and_pixels_are_square(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = (250, 0, 0)  # red in the upper left corner of what was filmed upright
    for rotation in (90, -90, 180):
        stored = np.rot90(picture, -rotation // 90)
        path = encode(tmp_path / "a.mp4", [stored] * 5, rotation=rotation)
        timeline = read_timeline(path)
        shown = next(resampled_frames(path, timeline))
        assert shown.shape == picture.shape == (timeline.height, timeline.width, 3)
        assert shown[4, 4, 0] > 180 and shown[-4, 4, 0] < 60 and shown[4, -4, 0] < 60


def test_samples_that_a_recorder_dropped_are_silence(tmp_path):
    """The sound's time stamps jump by a second: what comes after must not come a second early."""
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        for number in range(50):
            tone = (8000 * np.sin(np.arange(640) * 0.3)).astype(np.int16) if number >= 25 else np.zeros(640, np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            frame.pts = number * 640 + (SAMPLE_RATE if number >= 25 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    begin = np.flatnonzero(np.abs(load_audio(tmp_path / "a.mkv")) > 0.05)[0] / SAMPLE_RATE
    assert abs(begin - 2.0) < 0.01


def test_speech_comes_and_goes():
    tone = np.sin(np.arange(3 * SAMPLE_RATE) * 0.1).astype(np.float32)
    assert speech_share(tone) == 0 and speech_share(np.zeros(0, np.float32)) == 0 and speech_share(0 * tone) == 0
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    assert speech_share(0.1 * noise) < 0.02
    syllables = tone * (np.arange(len(tone)) // 3200 % 2) + 0.001 * noise
    assert 0.4 < speech_share(syllables) < 0.6


def test_a_sound_longer_than_memory_allows_is_refused(tmp_path, monkeypatch):
    audio.write_wav(tmp_path / "a.wav", 0.1 * np.sin(np.arange(2 * SAMPLE_RATE)))
    monkeypatch.setattr(audio, "LONGEST", 1.0)
    with pytest.raises(ValueError, match=r"a\.wav: the sound is longer than 1 s"):
        load_audio(tmp_path / "a.wav")


def test_pictures_are_compared_when_a_flash_is_a_cut():
    rng = np.random.default_rng(0)
    walls = [cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (80, 60)) for _ in range(3)]
    noisy = [np.clip(wall + rng.normal(0, 4, wall.shape), 0, 255).astype(np.uint8) for wall in walls for _ in range(20)]
    small = [thumbnail(picture) for picture in noisy]
    changes = np.array([change(a, b) for a, b in zip(small, small[1:], strict=False)])
    assert find_cuts(changes) == [20, 40]
    shaking = 40 + rng.normal(0, 4, 60)  # every frame changes as much as a cut does
    assert find_cuts(shaking) == []


@pytest.mark.parametrize("repeats", [1, 2, 3, 5])
def test_repeats_of_a_frame_do_not_make_cuts(repeats):
    """A moving picture, each frame shown several times; a real cut in the middle; a call that stood still."""
    rng = np.random.default_rng(1)
    moves = rng.uniform(6, 12, 40)
    moves[20] = 80
    shown = np.zeros(40 * repeats)
    shown[::repeats] = moves
    shown += rng.uniform(0, 0.1, len(shown))  # what a codec makes of a repeat
    assert find_cuts(shown) == [20 * repeats + 1]
    still = np.concatenate([rng.uniform(2, 4, 20), np.zeros(100), [9.0], rng.uniform(2, 4, 20)])
    assert find_cuts(still) == []


@pytest.mark.parametrize("between", [1, 3, 20])
def test_where_nothing_moves_any_jump_is_a_cut(between):
    """A talker who hardly moves, a dark or other picture for some frames, and the talker or somebody else again."""
    rng = np.random.default_rng(2)
    still = rng.uniform(0, 0.15, (3, 30))
    changes = np.concatenate([still[0], [100.0], still[1, : between - 1], [103.0], still[2]])
    assert find_cuts(changes) == [31, 31 + between]


@pytest.mark.parametrize(
    ("name", "fps", "codec", "options"),
    [
        ("a.mp4", 30, "libx264", {"g": "20", "bf": "3"}),
        ("a.mkv", 60, "libx265", {"x265-params": "log-level=none:pools=1:keyint=15:open-gop=1"}),
        ("a.mpg", 25, "mpeg2video", {"g": "12", "bf": "2"}),
        ("a.avi", NTSC, "mpeg4", {"g": "12"}),
        ("a.webm", 24, "libvpx", {"deadline": "realtime", "g": "9"}),
        ("a.mp4", "variable", "libx264", {"g": "10", "bf": "2"}),
    ],
)
def test_a_stretch_is_what_reading_from_the_start_gives(tmp_path, name, fps, codec, options):
    frames, stamps = list(disc_frames(120)), None
    if fps == "variable":
        stamps = np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12], 120))
    path = encode(
        tmp_path / name, frames, fps=30 if stamps is not None else fps, codec=codec, options=options, stamps=stamps
    )
    times = read_timeline(path)
    whole = np.stack(list(resampled_frames(path, times)))
    assert len(np.unique(whole.reshape(len(whole), -1), axis=0)) > 40
    for first, end in ((0, 3), (7, 19), (len(whole) - 12, len(whole)), (30, 31)):
        assert np.array_equal(np.stack(frames_between(path, times, first, end)), whole[first:end]), (first, end)


def test_there_and_back_is_read_in_blocks_and_without_an_index(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", list(disc_frames(40)), options={"g": "9"})
    times = read_timeline(path)
    whole = np.stack(list(resampled_frames(path, times)))
    order = np.r_[0:30, 28:0:-1, 0:30, 28:20:-1]
    shown = np.stack(list(islice(there_and_back(path, times, 30), len(order))))
    assert np.array_equal(shown, whole[order])
    one = np.stack(list(islice(there_and_back(path, times, 1), 3)))
    assert np.array_equal(one, whole[[0, 0, 0]])
    read = timeline._read_from
    monkeypatch.setattr(timeline, "_read_from", lambda *args: {} if args[-1] else read(*args))
    assert np.array_equal(np.stack(frames_between(path, times, 20, 32)), whole[20:32])


def test_a_pause_is_no_fault(tmp_path):
    """A recording of a screen that stands still for 20 s."""
    stamps = [i / 25 for i in range(5)] + [20 + i / 25 for i in range(5)]
    read = read_timeline(encode(tmp_path / "a.mkv", list(disc_frames(10)), None, 25, stamps=stamps))
    assert read.num_frames == pytest.approx(505, abs=1) and read.numbers()[250] in (4, 5)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([3.0, 3.04, 3.04, 3.12, 3.16, 3.2, 3.24], [0, 0.04, 0.04, 0.12, 0.16, 0.2, 0.24]),
        ([0.0, 0.04, 0.08, 0.07, 0.16, 0.2, 0.24], [0, 0.04, 0.08, 0.08, 0.16, 0.2, 0.24]),
        ([5.0] * 6, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ([0.5, 0.4, 0.3, 0.6, 0.2], [0, 0.1, 0.2, 0.3, 0.4]),
        ([1.0], [0.0]),
    ],
)
def test_stamps_that_do_not_rise(times, expected):
    """Some frames stamped twice keep their place; stamps that say nothing are replaced by the usual distance."""
    made = rising(np.array(times), 0.1)
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert (np.diff(made) > 0).all()
