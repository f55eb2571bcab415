"""Windows of sound for the recogniser: what is heard, how it is distorted, who gets which share of time."""

import json

import numpy as np
import pytest
import soundfile
import torch

from tsd.clip import PHONEMES, VISEMES
from tsd.data.datamodule import ClipDataModule
from tsd.data.dataset import collate
from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.sound import SoundDataset, stretched, time_shares
from tsd.evaluation.page.corpus import write_corpus_page
from tsd.media.distortion import (
    at_a_level,
    at_speed,
    coloured,
    distorted,
    in_a_room,
    mu_law,
    rms,
    telephone,
    with_noise,
)

SECONDS = {"a/one.flac": 1.2, "a/two.flac": 6.0, "b/three.flac": 2.4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three files of tones with labels that say which: file i is viseme i + 1 throughout."""
    root = tmp_path_factory.mktemp("speech")
    rows = []
    for i, (name, seconds) in enumerate(SECONDS.items()):
        path, frames = root / name, round(seconds * 25)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.2 * np.sin(np.arange(frames * 640) * 0.05 * (i + 1)), 16_000)
        labels = {"visemes": np.eye(15)[[i + 1] * frames], "phonemes": np.eye(len(PHONEMES))[[i + 1] * frames]}
        np.savez(path.with_suffix(".labels.npz"), **{k: v.astype(np.float16) for k, v in labels.items()})
        rows.append({"video": name, "identity": f"p{i}", "frames": frames, "pictures": False,
                     "visemes": str(path.with_suffix(".labels.npz").relative_to(root))})  # fmt: skip
    (root / "manifests").mkdir()
    for split in ("train", "val"):
        manifest_path(root, split).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def entries(corpus):
    return read_manifest(manifest_path(corpus, "train"), corpus)


def test_windows_are_filled_with_clip_after_clip(corpus):
    data = SoundDataset(entries(corpus), window=100, windows_per_clip=2, train=True)
    clip = collate([data[0, n] for n in range(len(data))])
    assert clip.mel.shape == (6, 400, 80) and clip.viseme_labels.shape == (6, 100, 15)
    assert torch.allclose(clip.viseme_labels.sum(-1), torch.ones(6, 100), atol=1e-3)
    assert clip.phoneme_labels.shape == (6, 100, len(PHONEMES))
    assert torch.equal(clip.viseme_labels.argmax(-1), clip.phoneme_labels.argmax(-1)), "both of the same moment"
    again = collate([SoundDataset(entries(corpus), window=100, windows_per_clip=2, train=True)[0, 3]])
    assert torch.equal(again.mel[0], clip.mel[3]), "the seed, the epoch and the item decide"
    assert not torch.equal(collate([data[1, 3]]).mel[0], clip.mel[3])


def test_sound_and_labels_stay_in_step(corpus):
    """Without distortion, silence in the labels is silence in the sound."""
    data = SoundDataset(entries(corpus), window=200, windows_per_clip=4, train=True, distort=False)
    for number in range(8):
        sample = data[0, number]
        loud = sample["mel"].reshape(200, 4, 80).max((1, 2)) > 0
        silent = sample["viseme_labels"][:, 0] > 0.5
        assert (loud == ~silent).mean() > 0.95


def test_validation_is_the_middle_as_it_is_and_silence_is_unknown(corpus):
    data = SoundDataset(entries(corpus), window=100)
    short, long = data[0], data[1]
    assert short["viseme_labels"][30:].sum() == 0 and (short["viseme_labels"][:30].argmax(1) == 1).all()
    assert long["start"] == 25 and (long["viseme_labels"].argmax(1) == 2).all()
    assert len(data) == 3 and np.array_equal(data[1]["mel"], long["mel"])


def test_shares_are_of_time(corpus):
    clips = entries(corpus)
    assert np.allclose(time_shares(clips, None), np.array([1.2, 6.0, 2.4]) / 9.6)
    assert np.allclose(time_shares(clips, {"b": 0.25}), [0.75 * 1.2 / 7.2, 0.75 * 6 / 7.2, 0.25])
    assert np.allclose(time_shares(clips, {"b": 0.25, "a": 0.75}).sum(), 1)
    for wrong, words in (({"z": 0.5}, "names z"), ({"b": 1.0}, "must be"), ({"a": 0.5, "b": 0.2}, "must be")):
        with pytest.raises(ValueError, match=words):
            time_shares(clips, wrong)
    data = SoundDataset(clips, window=25, train=True, shares={"b": 0.9})
    drawn = [data.drawn(np.random.default_rng(i)) for i in range(300)]
    assert 0.85 < np.mean([d == 2 for d in drawn]) < 0.95


def test_the_datamodule_listens_and_other_stages_refuse_files_of_sound(corpus):
    data = ClipDataModule(str(corpus), window=50, batch_size=2, val_batch_size=3, listen=True, shares={"b": 0.5})
    batch = next(iter(data.train_dataloader()))
    assert batch.mel.shape == (2, 200, 80) and batch.frames.shape == (2, 50, 3, 1, 1)
    assert next(iter(data.val_dataloader())).viseme_labels.shape == (3, 50, 15)
    with pytest.raises(ValueError, match=r"has no pictures: only stage=visemes with data\.listen=true"):
        ClipDataModule(str(corpus), window=20).setup("fit")
    with pytest.raises(ValueError, match="leave out data.stream"):
        ClipDataModule(str(corpus), stream="x", listen=True)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.21])
def test_labels_follow_the_speed(factor):
    labels = np.repeat(np.eye(3, dtype=np.float32), 20, 0)
    faster = stretched(labels, factor)
    assert len(faster) == int(60 / factor) and np.allclose(faster.sum(1), 1, atol=1e-5)
    assert np.abs(faster.sum(0) * factor - 20).max() < 1.5
    assert len(at_speed(np.zeros(60 * 640, np.float32), factor)) >= len(faster) * 640


WAVE = (0.3 * np.sin(np.arange(32_000) * 0.2)).astype(np.float32)


def test_noise_is_as_loud_as_it_says():
    rng = np.random.default_rng(0)
    for decibels in (0, 10, 20):
        added = with_noise(WAVE, coloured(rng, len(WAVE), 1), decibels) - WAVE
        assert 20 * np.log10(rms(WAVE) / rms(added)) == pytest.approx(decibels, abs=0.1)


def test_colours_fall_as_their_slope_says():
    for slope in (0, 1, 2):
        power = np.abs(np.fft.rfft(coloured(np.random.default_rng(0), 2**16, slope))) ** 2
        hertz = np.fft.rfftfreq(2**16, 1 / 16_000)
        low, high = (power[(hertz > f) & (hertz < 2 * f)].mean() for f in (200, 3200))
        assert np.log2(low / high) / 4 == pytest.approx(slope, abs=0.15)


def test_a_telephone_passes_its_band():
    for hertz, kept in ((100, 0.0), (1000, 1.0), (5000, 0.0)):
        tone = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32)
        assert rms(telephone(tone)) / rms(tone) == pytest.approx(kept, abs=0.03)
    assert np.abs(mu_law(WAVE) - WAVE).max() < 0.02


def test_levels_and_rooms():
    peaks = [np.abs(at_a_level(WAVE, np.random.default_rng(i))).max() for i in range(40)]
    assert 10 ** (-50 / 20) * 0.9 < min(peaks) < 0.02 and 0.3 < max(peaks) <= 1
    click = np.zeros(16_000, np.float32)
    click[0] = 1
    echo = in_a_room(click, np.random.default_rng(1))
    assert echo[0] == pytest.approx(1, abs=1e-3) and 0 < rms(echo[8000:]) < rms(echo[:4000])


def test_distorted_sound_is_finite_and_as_long():
    babble = lambda rng, length: rng.standard_normal(length).astype(np.float32)  # noqa: E731
    for seed in range(30):
        for wave in (WAVE, np.zeros_like(WAVE)):
            heard = distorted(wave, np.random.default_rng(seed), babble)
            assert heard.shape == wave.shape and heard.dtype == np.float32 and np.isfinite(heard).all()
            assert np.abs(heard).max() <= 1


def test_the_page_of_a_corpus_without_pictures(corpus):
    page = write_corpus_page(corpus).read_text()
    assert "Contact sheet" not in page and "a/two.flac" in page and "Ten clips" in page


def test_all_visemes_have_a_place():
    assert len(VISEMES) == 15 and PHONEMES[0] == "sil" and len(set(PHONEMES)) == len(PHONEMES) == 40
