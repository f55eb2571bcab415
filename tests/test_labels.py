"""Visemes from the best source there is."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tsd.clip import PHONEMES, VISEMES
from tsd.nets.visemes import VisemeNet
from tsd.prepare import alignment, labels
from tsd.prepare.alignment import Alignment, Unfit, can_align, fitted
from tsd.prepare.labels import label
from tsd.prepare.pronunciation import IPA_TO_ARPABET, english_dictionary, pronounce, to_arpabet
from tsd.prepare.recording import Recording
from tsd.prepare.visemes import PHONEME_TO_VISEME, phoneme_visemes
from tsd.weights import checkpoint

RECORDED = os.environ.get("TSD_RECORDED_SPEECH")
"""A folder of recorded English clips with word times in the form of LRS3, for who has one."""
WAVE = (0.1 * np.sin(np.arange(25 * 640) * 0.2)).astype(np.float32)


def _recording(tmp_path, **changes) -> Recording:
    (tmp_path / "a.mp4").touch()
    return Recording(tmp_path / "a.mp4", "a.mp4", "p", **changes)


def test_the_best_source_wins(tmp_path, monkeypatch):
    weights = tmp_path / "visemes.safetensors"
    torch.manual_seed(0)
    checkpoint.save(weights, "visemes", VisemeNet(channels=8, blocks=1), {"channels": 8, "blocks": 1}, {})
    found = Alignment([(0.0, 0.5, "M"), (0.5, 1.0, "AA")], (("ma", 0.0, 1.0),))
    monkeypatch.setattr(labels, "can_align", lambda language: language == "en")
    monkeypatch.setattr(labels, "fitted", lambda wave, text, language: found)
    np.save(tmp_path / "a.npy", np.full(25, 3))
    given = _recording(tmp_path, text="ma", words=(("ma", 0.0, 1.0),), beside=(tmp_path / "a.npy",))
    best = label(given, WAVE, 25, "en", str(weights))
    assert best.source == "npy" and (best.visemes[:, 3] == 1).all()
    np.save(tmp_path / "a.npy", np.full(25, 99))  # not visemes: the next source
    assert label(given, WAVE, 25, "en", str(weights)).source == "transcript"
    text = _recording(tmp_path, text="ma")
    aligned = label(text, WAVE, 25, "en", str(weights))
    assert aligned.source == "aligned" and aligned.words == found.words
    assert aligned.visemes[:12].argmax(1).tolist() == [VISEMES.index("PP")] * 12
    recognised = label(text, WAVE, 30, "de", str(weights))
    assert recognised.source == "recognised" and recognised.visemes.shape == (30, 15)
    np.testing.assert_allclose(recognised.visemes.sum(1), 1, atol=1e-5)
    assert (recognised.visemes[25:, 0] == 1).all()  # rest where the sound is over
    assert (
        label(text, WAVE, 25, "de").source == "none" and label(text, WAVE[:0], 25, "de", str(weights)).visemes is None
    )


def test_english_words_come_from_the_dictionary_and_others_are_spelt():
    assert pronounce(["Blue,", "by"]) == [["B", "L", "UW"], ["B", "AY"]]
    made_up = pronounce(["zyxwvut"])[0]
    assert made_up and all(phone in IPA_TO_ARPABET for phone in to_arpabet(made_up))
    german = pronounce(["blau"], "de")[0]
    assert german != pronounce(["blau"], "en")[0] and all(phoneme_visemes(phoneme) for phoneme in german)
    assert set(PHONEMES[1:]) == set(IPA_TO_ARPABET)
    assert to_arpabet(["ø", "ç"], nearest=True) == ["ER", "SH"] and to_arpabet(["ø", "ç"]) == []
    phones = {phone for word in list(english_dictionary().values())[::50] for phone in word}
    assert phones <= set(IPA_TO_ARPABET) and set(IPA_TO_ARPABET) <= set(PHONEME_TO_VISEME)


def test_text_that_is_not_said_is_not_aligned():
    noise = 0.05 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    many = "a very long sentence that nobody could say in one second of time whatever they tried"
    endless = np.zeros(int(16000 * (alignment.LONGEST + 1)), np.float32)
    for wave, text in ((noise, ""), (noise[:0], "word"), (noise, many), (endless, "word")):
        with pytest.raises(Unfit):
            fitted(wave, text)
    assert can_align("de") and can_align("en-gb")


@pytest.mark.skipif(not RECORDED, reason="TSD_RECORDED_SPEECH names no folder of recorded clips")
def test_recorded_sentences_are_aligned_to_within_frames():
    from tsd.media.audio import load_audio
    from tsd.prepare.transcript import read_transcript

    errors = []
    for video in sorted(Path(RECORDED).glob("*.mp4"))[:6]:
        transcript = read_transcript(video.with_suffix(".txt"))
        found = fitted(load_audio(video), transcript.text)
        assert [word.upper() for word, _, _ in found.words] == transcript.text.split()
        errors += [abs(a - b) for (_, a, _), (_, b, _) in zip(found.words, transcript.words, strict=True)]
        times = [edge for start, end, _ in found.phonemes for edge in (start, end)]
        assert times == sorted(times)
    assert np.median(errors) <= 0.04
