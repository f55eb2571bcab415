"""Speech without pictures as a corpus: layouts, who speaks, what is refused and why."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tsd.clip import PHONEMES, VISEMES
from tsd.data.manifest import read_manifest
from tsd.data.tracks import load_phonemes, load_tracks
from tsd.prepare import labels, work
from tsd.prepare.alignment import Alignment, Unfit, fitted
from tsd.prepare.reading import Spoken, readings, spoken_words
from tsd.prepare.recording import Recording
from tsd.prepare.settings import Settings
from tsd.prepare.sources import speech
from tsd.prepare.work import prepare_recording


def talk(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """A hum that comes and goes as speech does."""
    t = np.arange(int(seconds * rate)) / rate
    hum = np.sin(2 * np.pi * 180 * t) * np.sin(2 * np.pi * 400 * t) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (0.3 * hum + 1e-3 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def put(path: Path, wave: np.ndarray | None = None, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, talk() if wave is None else wave, rate)
    return path


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def described(root: Path, **options) -> dict[str, tuple]:
    return {r.name: (r.identity, r.text, r.fault.partition(";")[0]) for r in speech.find(root, **options)}


def test_every_layout_names_its_speakers_and_texts(tmp_path):
    put(tmp_path / "libri/84/121123/84-121123-0000.flac")
    write(tmp_path / "libri/84/121123/84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR", "84-121123-0001 GONE")
    put(tmp_path / "vctk/wav48_silence_trimmed/p225/p225_001_mic1.flac")
    put(tmp_path / "vctk/wav48_silence_trimmed/p225/p225_001_mic2.flac")
    write(tmp_path / "vctk/txt/p225/p225_001.txt", "Please call Stella.")
    put(tmp_path / "cv/clips/common_voice_en_1.wav")
    write(tmp_path / "cv/validated.tsv", "client_id\tpath\tsentence", 'abc\tcommon_voice_en_1.wav\tShe said "no".')
    put(tmp_path / "kaldi/deep/u1.wav")
    write(tmp_path / "kaldi/text", "u1 plain words", "u2 nobody has it")
    write(tmp_path / "kaldi/utt2spk", "u1 anna", "u2 anna")
    put(tmp_path / "mine/bert/one.ogg")
    write(tmp_path / "mine/bert/one.txt", "my own words")
    put(tmp_path / "mine/bert/two.ogg")
    assert described(tmp_path) == {
        "libri/84/121123/84-121123-0000.flac": ("84", "GO DO YOU HEAR", ""),
        "libri/84/121123/84-121123-0001": ("84", "GONE", "has a text but no file of sound"),
        "vctk/wav48_silence_trimmed/p225/p225_001_mic1.flac": ("p225", "Please call Stella.", ""),
        "cv/clips/common_voice_en_1.wav": ("abc", 'She said "no".', ""),
        "kaldi/deep/u1.wav": ("anna", "plain words", ""),
        "kaldi/u2": ("anna", "nobody has it", "has a text but no file of sound"),
        "mine/bert/one.ogg": ("mine-bert", "my own words", ""),
        "mine/bert/two.ogg": ("mine-bert", "", ""),
    }


def test_wav_scp_names_files_inside_and_runs_nothing(tmp_path):
    inside, outside = put(tmp_path / "in/a.wav"), put(tmp_path / "outside.wav")
    write(tmp_path / "in/text", "a one", "b two", "c three", "d four")
    write(tmp_path / "in/utt2spk", "a s", "b s", "c s")
    scp = [f"a {inside}", f"b {outside}", f"c touch {tmp_path / 'ran'} |", "d a.wav"]
    write(tmp_path / "in/wav.scp", *scp)
    faults = {r.text: r.fault for r in speech.find(tmp_path / "in")}
    assert faults["one"] == "" and "outside the folder" in faults["two"] and "command" in faults["three"]
    assert not (tmp_path / "ran").exists()
    write(tmp_path / "in/segments", "a a 0 1")
    assert all("segments" in r.fault for r in speech.find(tmp_path / "in"))


def test_links_are_refused_and_listed(tmp_path):
    target = put(tmp_path / "secret.wav")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.wav").symlink_to(target)
    write(tmp_path / "in" / "x.txt", "words")
    (found,) = speech.find(tmp_path / "in")
    assert found.fault == "is a link; put the file itself there"
    result = prepare_recording(found, Settings(root=tmp_path / "out"))
    assert result["rejected"] == [{"video": "x.wav", "reason": found.fault}] and not result["clips"]


def test_patterns_choose_and_leave_out(tmp_path):
    for name in ("a/1.wav", "a/2.wav", "b/1.wav"):
        put(tmp_path / "in" / name)
    write(tmp_path / "held.txt", "# remark", "a/1*")
    kept = described(tmp_path / "in", only=["a/*"], without=str(tmp_path / "held.txt"))
    assert list(kept) == ["a/2.wav"]
    with pytest.raises(ValueError, match="leave no sound"):
        speech.find(tmp_path / "in", only=["z*"])
    with pytest.raises(FileNotFoundError, match="no such file of patterns"):
        speech.find(tmp_path / "in", without="gone.txt")
    with pytest.raises(ValueError, match="holds no sound"):
        speech.find(tmp_path / "out" if (tmp_path / "out").mkdir() else tmp_path / "out")


def utterance(tmp_path, wave=None, rate=16_000, text="some words", **changes) -> Recording:
    path = put(tmp_path / "in/u.wav", wave, rate)
    return Recording(path, "u.wav", "p", text, framing="sound", **changes)


def prepared(tmp_path, recording: Recording, monkeypatch=None, found=None, **settings) -> dict:
    if monkeypatch is not None:
        monkeypatch.setattr(labels, "can_align", lambda language: True)
        monkeypatch.setattr(labels, "fitted", found)
    return prepare_recording(recording, Settings(root=tmp_path / "out", **settings))


def reason(result: dict) -> str:
    assert not result["clips"] and len(result["rejected"]) == 1
    return result["rejected"][0]["reason"]


@pytest.mark.parametrize("rate, channels", [(8_000, 1), (44_100, 2), (16_000, 1)])
def test_any_rate_and_channels_become_16_khz_mono_with_labels(tmp_path, monkeypatch, rate, channels):
    wave = np.stack([talk(2.0, rate)] * channels, 1)
    found = Alignment([(0.0, 1.0, ""), (1.0, 1.5, "B"), (1.5, 2.0, "AA")], (("ba", 1.0, 2.0),), -10.0)
    heard = []
    result = prepared(
        tmp_path, utterance(tmp_path, wave, rate), monkeypatch, lambda wave, *_: heard.append(len(wave)) or found
    )
    (line,) = result["clips"]
    assert line["pictures"] is False and line["viseme_source"] == "aligned" and line["frames"] == 50
    assert abs(heard[0] - 32_000) < 40
    (tmp_path / "out/manifests").mkdir()
    write(tmp_path / "out/manifests/m.jsonl", json.dumps(line))
    (entry,) = read_manifest(tmp_path / "out/manifests/m.jsonl", tmp_path / "out")
    assert not entry.pictures and soundfile.info(entry.video).samplerate == 16_000
    visemes, phonemes = load_tracks(entry).labels, load_phonemes(entry)
    assert (visemes.argmax(1) == np.repeat([0, VISEMES.index("PP"), VISEMES.index("aa")], [25, 12, 13])).mean() > 0.97
    assert phonemes[30, PHONEMES.index("B")] == 1 and np.allclose(phonemes.sum(1), 1, atol=1e-3)


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path, monkeypatch):
    def unfit(*_):
        raise Unfit("the text does not fit what is said (score -60)")

    assert "does not fit" in reason(prepared(tmp_path, utterance(tmp_path), monkeypatch, unfit))
    assert "no text" in reason(prepared(tmp_path, utterance(tmp_path, text="")))
    empty = utterance(tmp_path, text="", beside=(put(tmp_path / "in/u.wav"),))
    assert reason(prepared(tmp_path, empty)) == "has an empty text"
    hiss = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert "no speech" in reason(prepared(tmp_path, utterance(tmp_path, hiss)))
    assert "fewer than min_frames" in reason(prepared(tmp_path, utterance(tmp_path, talk(0.2))))
    path = put(tmp_path / "in/broken.wav")
    path.write_bytes(b"RIFF" + b"\0" * 40)
    assert reason(prepared(tmp_path, Recording(path, "broken.wav", "p", "words", framing="sound")))


def test_texts_are_refused_before_anything_is_aligned():
    wave = talk(1.0)
    for text, words in (("", "empty text"), (" … ?!", "no word that can be said")):
        with pytest.raises(Unfit, match=words):
            fitted(wave, text)
    with pytest.raises(Unfit, match="longer than 60 s"):
        fitted(np.zeros(16_000 * 61, np.float32), "words")
    with pytest.raises(Unfit, match="no sound"):
        fitted(wave[:0], "words")


def test_a_text_that_is_not_said_is_noticed():
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    with pytest.raises(Unfit, match="does not fit"):
        fitted(noise, "she had your dark suit in greasy wash water")


def test_numbers_signs_and_abbreviations_have_readings():
    words = {word.written: word.said for word in spoken_words("In 1984 Dr. Who paid $5 or 35% of 007, twenty-five.")}
    assert words["1984"][0] == "19 84" and "1984" in words["1984"] and "1 9 8 4" in words["1984"]
    assert words["dr"] == ("doctor", "drive") and words["$5"] == ("5 dollars",) and words["35%"] == ("35 percent",)
    assert "0 0 7" in words["007"] and words["twenty"] == words["five"] == () and "in" in words
    assert spoken_words("the BBC said so")[1] == Spoken("bbc", ("bbc", "b b c"))
    assert spoken_words("IT WAS SO")[0] == Spoken("it") and spoken_words("... -- !") == []
    assert all(readings(word, "en") for word in spoken_words("In 1984 it cost 3.50"))


def test_hours_of_music_with_a_text_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "load_audio", lambda *_, **__: np.tile(talk(10.0), 360))
    assert "longer than 60 s" in reason(prepared(tmp_path, utterance(tmp_path)))
