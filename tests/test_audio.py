import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile
from mini_corpus import write_disc

from tsd.clip import MEL_AUDIBLE
from tsd.data import features
from tsd.media.audio import FLOOR, LOG_MEAN, LOG_STD, load_audio, log_mel, mel_filters, mix, write_flac


def _speechlike(seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(2 * np.pi * 4 * t)) / 2).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_any_format_rate_and_channels(tmp_path, suffix):
    stereo = np.stack([_speechlike(rate=44100)] * 2, 1)
    soundfile.write(tmp_path / f"a.{suffix}", stereo, 44100)
    wave, expected = load_audio(tmp_path / f"a.{suffix}"), _speechlike()
    assert wave.dtype == np.float32 and abs(len(wave) - 16000) <= 1200 and np.abs(wave).max() <= 1
    n = min(len(wave), len(expected))
    assert np.corrcoef(wave[:n], expected[:n])[0, 1] > 0.98


def test_sound_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not sound")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    write_disc(tmp_path / "mute.mp4", 5, sound=False)
    for name, words in (
        ("empty.wav", "empty"),
        ("text.wav", "not a readable"),
        ("silent.wav", "silent"),
        ("none.wav", "empty|not a readable|no sound"),
        ("mute.mp4", "holds no sound"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            load_audio(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        load_audio(tmp_path / "gone.wav")
    assert len(load_audio(tmp_path / "silent.wav", silent_ok=True)) == 16000


@pytest.mark.parametrize("level, said", [(-48, False), (-52, True), (-70, True)])
def test_what_is_too_quiet_is_said(tmp_path, caplog, level, said):
    wave = _speechlike()
    soundfile.write(tmp_path / "q.wav", wave * 10 ** (level / 20) / np.abs(wave).max(), 16000, subtype="FLOAT")
    load_audio(tmp_path / "q.wav")
    assert ("very quiet" in caplog.text) == said and ("q.wav" in caplog.text) == said


def test_flac_holds_the_samples(tmp_path):
    wave = _speechlike(0.7)[:10_001]
    write_flac(tmp_path / "a.flac", wave)
    assert np.abs(load_audio(tmp_path / "a.flac") - wave).max() < 1e-4
    first = (tmp_path / "a.flac").read_bytes()
    write_flac(tmp_path / "a.flac", wave)
    assert (tmp_path / "a.flac").read_bytes() == first


def test_a_gain_is_one_constant_in_the_log_mel():
    """Down to -50 dB of its peak nothing of speech falls below the floor."""
    wave = _speechlike(0.5) + 1e-2 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    quiet = log_mel(wave * np.float32(10 ** (-50 / 20)))
    loud = log_mel(wave)
    heard = loud > (np.log10(FLOOR) + 5 - LOG_MEAN) / LOG_STD
    np.testing.assert_allclose((quiet - loud)[heard], -5 / LOG_STD, atol=2e-3)
    assert heard.mean() > 0.95


def ticks(rate: int) -> np.ndarray:
    """float32 [2 s]: three short tones at moments that have no common distance."""
    wave, tone = np.zeros(2 * rate, np.float32), np.arange(int(0.03 * rate)) / rate
    for second in (0.5, 1.1, 1.6):
        wave[int(second * rate) :][: len(tone)] = 0.8 * np.sin(2 * np.pi * 800 * tone) * np.hanning(len(tone))
    return wave


def encode(path: Path, tracks: list[np.ndarray], codec: str, rate: int, default: int | None = None) -> Path:
    """A file of sound tracks [channels, N]; ``default`` marks one of them."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, wave in enumerate(tracks):
            stream = container.add_stream(codec, rate=rate, layout="stereo" if len(wave) == 2 else "mono")
            if default is not None:
                stream.disposition = av.stream.Disposition.default if number == default else 0
            streams.append(stream)
        for stream, wave in zip(streams, tracks, strict=True):
            context = stream.codec_context
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32), format="fltp", layout=context.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            size = context.frame_size or None
            sized = av.AudioResampler(context.format.name, context.layout.name, rate, size)
            for part in [*sized.resample(frame), *sized.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    return path


CONTAINERS = {
    "aac": ("aac", "ts", "flv", "m4a", "mkv", "asf", "nut"),
    "mp2": ("mp2", "ts", "mpg", "avi"),
    "mp3": ("mp3", "ts", "mpg", "avi", "mov", "asf", "wav", "nut"),
    "libopus": ("ogg",),
    "flac": ("flac",),
}
"""{codec: suffixes of files that hold it}"""


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [(suffix, codec, rate) for codec, names in CONTAINERS.items() for suffix in names for rate in (16_000, 48_000)]
    + [("flv", "mp3", 22_050)],
)
def test_no_container_is_late(tmp_path, suffix, codec, rate):
    heard = load_audio(encode(tmp_path / f"a.{suffix}", [ticks(rate)[None]], codec, rate))
    true = ticks(16_000)
    size = 2 * max(len(heard), len(true))
    both = np.fft.irfft(np.fft.rfft(np.abs(heard), size) * np.conj(np.fft.rfft(np.abs(true), size)))
    late = (int(both.argmax()) + size // 2) % size - size // 2
    assert abs(late) <= 0.02 * 16_000


def test_channels_that_cancel_each_other_are_not_mixed(tmp_path):
    wave = ticks(16_000)
    for second, factor in ((-wave, 1), (-0.9 * wave, 1), (0 * wave, 0.5), (wave, 1), (0.5 * wave, 0.75)):
        heard = load_audio(encode(tmp_path / "a.wav", [np.stack([wave, second])], "pcm_s16le", 16_000))
        assert np.abs(heard - factor * wave).max() < 1e-3
    assert np.array_equal(mix(np.stack([wave, -wave])), wave)


def test_the_default_track_is_heard_and_a_silent_one_passed_over(tmp_path):
    one, two, nothing = ticks(16_000)[None], ticks(16_000)[None, ::-1], np.zeros((1, 32_000), np.float32)
    path = tmp_path / "a.mkv"
    for tracks, default, heard in (
        ([one, two], None, one),
        ([one, two], 1, two),
        ([nothing, two], None, two),
        ([nothing, one, two], 0, one),
        ([two, nothing], 1, two),
    ):
        assert np.abs(load_audio(encode(path, tracks, "flac", 16_000, default)) - heard[0]).max() < 1e-3
    with pytest.raises(ValueError, match="silent"):
        load_audio(encode(path, [nothing, nothing], "flac", 16_000))


def test_what_lies_between_the_frames_of_an_mp3_is_passed_over(tmp_path):
    """Tags, joined files, some damage; what is mostly damaged is refused with the time."""
    whole = encode(tmp_path / "a.mp3", [np.tile(ticks(16_000), 2)[None]], "mp3", 16_000).read_bytes()
    half, junk = len(whole) // 2, np.random.default_rng(0).bytes(900)
    expected = load_audio(tmp_path / "a.mp3")
    for damaged, seconds in (
        (junk[:700] + whole, 4),
        (whole[:half] + junk + whole[half:], 4),
        (whole + junk, 4),
        (whole + whole, 8),
        (whole[:half], 2),
    ):
        (tmp_path / "b.mp3").write_bytes(damaged)
        heard = load_audio(tmp_path / "b.mp3")
        assert len(heard) / 16_000 == pytest.approx(seconds, abs=0.2) and np.abs(heard).max() > 0.3
        if damaged.startswith(whole[:half]):
            assert np.corrcoef(heard[2000:24_000], expected[2000:24_000])[0, 1] > 0.99
    holes = bytearray(whole)
    for begin in range(2000, len(holes) - 500, 300):
        holes[begin : begin + 200] = junk[:200]
    (tmp_path / "b.mp3").write_bytes(holes)
    with pytest.raises(ValueError, match=r"b\.mp3: the sound is broken: \d+ of \d+ parts .* at \d\.\d\d s"):
        load_audio(tmp_path / "b.mp3")


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"])
def test_any_width_of_samples(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", _speechlike(), 16_000, subtype=subtype)
    heard, expected = load_audio(tmp_path / "a.wav"), _speechlike()
    assert np.corrcoef(heard[: len(expected)], expected[: len(heard)])[0, 1] > 0.99


@pytest.mark.untraced
def test_columns_of_a_stream_equal_librosas_features():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16001).astype(np.float32)
    speech = load_audio(Path(__file__).parents[1] / "experiments" / "quality" / "speech.wav")
    for wave in (_speechlike(0.4), noise, speech, np.zeros(1000, np.float32), np.zeros(0, np.float32)):
        ours, theirs = log_mel(wave), features.log_mel(wave)
        np.testing.assert_allclose(ours.clip(MEL_AUDIBLE), theirs.clip(MEL_AUDIBLE), atol=1e-5)
        np.testing.assert_allclose(ours, theirs, atol=0.1)  # far below, the transforms round otherwise
    mel = librosa.feature.melspectrogram(
        y=np.pad(speech, 120), sr=16000, n_fft=400, hop_length=160, n_mels=80, fmin=0, fmax=8000, center=False
    )
    expected = (np.log10(np.maximum(mel.T, FLOOR)) - LOG_MEAN) / LOG_STD
    np.testing.assert_allclose(features.log_mel(speech)[: len(expected)], expected, atol=1e-4)
    np.testing.assert_allclose(mel_filters(), librosa.filters.mel(sr=16000, n_fft=400, n_mels=80).T, atol=1e-8)


def test_columns_of_pieces_equal_those_of_the_whole():
    wave = _speechlike(1.0) + 0.01 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    whole = log_mel(wave)
    assert whole.shape == (100, 80)
    first = 10 * 640  # a piece that starts at frame 10 and knows two frames of the past
    piece = log_mel(wave[first - 1280 : first + 3200])
    np.testing.assert_allclose(piece[8:-1], whole[40 : 40 + 19], atol=1e-5)


def test_a_column_hears_nothing_beyond_its_25_ms():
    silent = log_mel(np.zeros(6400, np.float32))
    click = np.zeros(6400, np.float32)
    click[3240] = 1.0
    changed = np.flatnonzero((log_mel(click) != silent).any(1))
    centres = (changed + 0.5) * 160
    assert len(changed) and np.abs(centres - 3240).max() <= 200


@pytest.mark.parametrize(("num_samples", "columns"), [(0, 0), (1, 4), (640, 4), (641, 8)])
def test_four_columns_for_every_begun_frame(num_samples, columns):
    assert log_mel(np.ones(num_samples, np.float32)).shape == (columns, 80)


def test_no_other_thread_is_kept_busy():
    """Between the pieces of a stream nothing may spin: the nets need the cores."""
    code = """
import time, numpy as np, torch
from tsd.media.audio import log_mel
torch.set_num_threads(1)
wave = np.zeros(16000, np.float32)
log_mel(wave)
time.sleep(0.3)  # threads that an import started come to rest
all_threads, this_thread = time.process_time(), time.thread_time()
while time.thread_time() - this_thread < 0.2:  # on a busy machine that takes longer
    log_mel(wave)
print(time.process_time() - all_threads, time.thread_time() - this_thread)
"""
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    all_threads, this_thread = map(float, seen.stdout.split())
    assert all_threads < 1.3 * this_thread
