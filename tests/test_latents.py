import json
import pickle

import numpy as np
import pytest
import torch
from fakes import fake_encode
from mini_corpus import disc_corpus

from tsd.data import dataset as dataset_module
from tsd.data.datamodule import ClipDataModule
from tsd.data.latent_cache import cache_latents
from tsd.data.latents import LatentCache, shard_bounds
from tsd.media.video import read_frames


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return disc_corpus(tmp_path_factory.mktemp("corpus"))


def _dataset(root, **changes):
    data = ClipDataModule(root, resolution=32, window=6, batch_size=4, **changes)
    data.setup("fit")
    return data


def test_cached_latents_are_those_of_the_frames_also_mirrored(root, tmp_path):
    plain = _dataset(root)
    for split in ("train", "val"):
        cache_latents(fake_encode, plain.datasets[split], tmp_path, split, "vae1", flip=True, batch_size=7)
    data = _dataset(root, latents=str(tmp_path), vae_hash="vae1", flip=True, p_mismatch=0.5)
    data.datasets["train"].pictures = True
    mirrored = set()
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.start = epoch * len(loader.dataset)
        clip = next(iter(loader)).in_unit()
        assert clip.latents.shape == (4, 6, 4, 8, 8) and clip.latents.dtype == torch.float32
        expected = fake_encode(clip.frames.flatten(0, 1)).unflatten(0, (4, 6))
        assert torch.allclose(clip.latents, expected, atol=2e-3)
        assert torch.allclose(clip.reference_latent, fake_encode(clip.reference), atol=2e-3)
        mirrored |= set((clip.motion[:, 0, 0] > 0.5).tolist())
    assert mirrored == {True, False}
    whole = data.datasets["val"].whole_clip(1)
    assert torch.allclose(whole.latents[0], fake_encode(whole.frames[0]), atol=2e-3)


def test_a_cache_that_fits_is_not_made_again(root, tmp_path):
    dataset, calls = _dataset(root).datasets["val"], []

    def encode(frames):
        calls.append(len(frames))
        return fake_encode(frames)

    cache_latents(encode, dataset, tmp_path, "val", "vae1")
    first = len(calls)
    assert sum(calls) == sum(e.frames for e in dataset.entries)
    cache_latents(encode, dataset, tmp_path, "val", "vae1")
    assert len(calls) == first
    cache_latents(encode, dataset, tmp_path, "val", "vae2")
    assert len(calls) == 2 * first


def test_an_interrupted_cache_is_no_cache_and_goes_on_shard_by_shard(root, tmp_path):
    dataset, seen = _dataset(root).datasets["train"], []

    def counted(frames):
        seen.append(len(frames))
        return fake_encode(frames)

    def stop_later(frames):
        if len(seen) == 5:  # two batches a clip: in the third one
            raise KeyboardInterrupt
        return counted(frames)

    with pytest.raises(KeyboardInterrupt):
        cache_latents(stop_later, dataset, tmp_path, "train", "vae1", shard_frames=60)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["00000.npy"]  # two clips a shard; the half one is gone
    with pytest.raises(FileNotFoundError, match="no latents of the train split"):
        LatentCache(tmp_path, "train", dataset.entries, 32)
    again = []
    cut = cache_latents(
        lambda x: again.append(len(x)) or fake_encode(x), dataset, tmp_path, "train", "vae1", shard_frames=60
    )
    assert sum(again) == 60 and sorted(path.name for path in folder.iterdir()) == ["00000.npy", "00001.npy"]
    whole = cache_latents(fake_encode, dataset, tmp_path / "whole", "train", "vae1")
    for clip in range(4):
        np.testing.assert_array_equal(cut.read(clip, [0, 7, 29]), whole.read(clip, [0, 7, 29]))


def test_half_a_cache_of_another_vae_is_not_continued(root, tmp_path):
    dataset = _dataset(root).datasets["val"]
    cache_latents(fake_encode, dataset, tmp_path, "val", "vae1", flip=True)
    cache_latents(lambda frames: 2 * fake_encode(frames), dataset, tmp_path, "val", "vae2")
    assert len(list(tmp_path.glob("val-*"))) == 1
    twice = LatentCache(tmp_path, "val", dataset.entries, 32, vae_hash="vae2").read(0, [3])
    expected = 2 * fake_encode(torch.from_numpy(dataset.frames(0, [3])).permute(0, 3, 1, 2) / 127.5 - 1).numpy()
    np.testing.assert_allclose(twice, expected, atol=4e-3)


def test_shards_hold_whole_clips():
    frames = np.array([50, 60, 10, 200, 30, 30])
    assert shard_bounds(frames, 100).tolist() == [0, 2, 4, 6]
    assert shard_bounds(frames, 10_000).tolist() == [0, 6] and shard_bounds(frames[:0]).tolist() == [0]


def test_training_on_latents_decodes_references_only(root, tmp_path, monkeypatch):
    cache_latents(fake_encode, _dataset(root).datasets["train"], tmp_path, "train", "vae1")
    cache_latents(fake_encode, _dataset(root).datasets["val"], tmp_path, "val", "vae1")
    data, plain = _dataset(root, latents=str(tmp_path), cache_mb=0), _dataset(root)
    asked = []
    monkeypatch.setattr(
        dataset_module,
        "read_frames",
        lambda v, n=None, *more, **options: asked.append(n) or read_frames(v, n, *more, **options),
    )
    clip, expected = next(iter(data.train_dataloader())), next(iter(plain.train_dataloader()))
    assert [len(numbers) for numbers in asked[:4]] == [1, 1, 1, 1]
    assert torch.equal(clip.reference, expected.reference) and torch.equal(clip.start, expected.start)
    assert clip.in_unit().frames.abs().max() < 0.01 and torch.equal(clip.motion, expected.motion)
    looking = _dataset(root, latents=str(tmp_path), pictures=True)
    assert torch.equal(next(iter(looking.train_dataloader())).frames, expected.frames)


def test_what_is_decoded_before_is_shared_and_not_decoded_again(root, tmp_path, monkeypatch):
    """A GPU's loader: workers find all clips decoded, and give what one that decodes for itself gives."""
    asked = []
    monkeypatch.setattr(
        dataset_module, "read_frames", lambda v, *more, **options: asked.append(v) or read_frames(v, *more, **options)
    )
    data = _dataset(root, preload=True, num_workers=2)
    clips = [clip for clip, _ in zip(data.train_dataloader(), range(3), strict=False)]
    count = sum(len(dataset.entries) for dataset in data.datasets.values())
    assert len(asked) == len(set(asked)) == count
    plain = [clip for clip, _ in zip(_dataset(root).train_dataloader(), range(3), strict=False)]
    for clip, expected in zip(clips, plain, strict=True):
        assert clip.frames.dtype == torch.uint8 and torch.equal(clip.frames, expected.frames)
    again = _dataset(root, preload=True, memory=data.memory)
    asked.clear()
    again.train_dataloader()
    assert not asked
    with pytest.raises(ValueError, match="data.preload=true: the train split takes .* data.cache_mb=0; raise it"):
        _dataset(root, preload=True, cache_mb=0).train_dataloader()


def test_caches_made_from_something_else_are_refused(root, tmp_path):
    dataset = _dataset(root).datasets["val"]
    entries = dataset.entries
    cache_latents(fake_encode, dataset, tmp_path, "val", "vae1")
    for arguments, words in (
        ((entries[:1], 32), "manifest"),
        ((entries, 64), "resolution 32 instead of 64"),
        ((entries, 32, False, "vae2"), "vae vae1 instead of vae2"),
        ((entries, 32, True), "no latents of mirrored frames"),
    ):
        with pytest.raises(ValueError, match=words):
            LatentCache(tmp_path, "val", *arguments)
    assert LatentCache(tmp_path, "val", entries, 32).vae_hash == "vae1"


def test_files_that_are_not_latents_are_named(root, tmp_path):
    dataset = _dataset(root).datasets["val"]
    cache = cache_latents(fake_encode, dataset, tmp_path, "val", "vae1")
    assert "_open" in vars(pickle.loads(pickle.dumps(cache)))
    (shard,) = tmp_path.glob("val-*/00000.npy")
    np.save(shard, np.zeros((3, 4, 8, 8), np.float16))
    with pytest.raises(ValueError, match=r"00000\.npy: is float16 \[3, 4, 8, 8\]"):
        LatentCache(tmp_path, "val", dataset.entries, 32).read(0, [0])
    np.save(shard, np.array([{"code": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"00000\.npy: cannot be read as an array"):
        LatentCache(tmp_path, "val", dataset.entries, 32).read(0, [0])
    (tmp_path / "val.json").write_text(json.dumps({"vae": "x"}))
    with pytest.raises(ValueError, match="not an index of latents"):
        LatentCache(tmp_path, "val", dataset.entries, 32)
