import json
import pickle

import numpy as np
import pytest
import torch
from mini_corpus import disc_corpus

from tsd.data.datamodule import ClipDataModule
from tsd.data.latents import LatentCache
from tsd.prepare.latents import cache_latents


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return disc_corpus(tmp_path_factory.mktemp("corpus"))


def _encode(frames: torch.Tensor) -> torch.Tensor:
    """A linear stand-in for a VAE that is not symmetric under mirroring: [n, 3, 32, 32] -> [n, 4, 8, 8]."""
    pooled = torch.nn.functional.avg_pool2d(frames, 4)
    return torch.cat([pooled, pooled[:, :1] * torch.linspace(0, 1, 8)], 1)


def _dataset(root, **changes):
    data = ClipDataModule(root, resolution=32, window=6, batch_size=4, **changes)
    data.setup("fit")
    return data


def test_cached_latents_are_those_of_the_frames_also_mirrored(root, tmp_path):
    plain = _dataset(root)
    for split in ("train", "val"):
        cache_latents(_encode, plain.datasets[split], tmp_path, split, "vae1", flip=True, batch_size=7)
    data = _dataset(root, latents=str(tmp_path), vae_hash="vae1", flip=True, p_mismatch=0.5)
    mirrored = set()
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.start = epoch * len(loader.dataset)
        clip = next(iter(loader))
        assert clip.latents.shape == (4, 6, 4, 8, 8) and clip.latents.dtype == torch.float32
        expected = _encode(clip.frames.flatten(0, 1)).unflatten(0, (4, 6))
        assert torch.allclose(clip.latents, expected, atol=2e-3)
        assert torch.allclose(clip.reference_latent, _encode(clip.reference), atol=2e-3)
        mirrored |= set((clip.motion[:, 0, 0] > 0.5).tolist())
    assert mirrored == {True, False}
    whole = data.datasets["val"].whole_clip(1)
    assert torch.allclose(whole.latents[0], _encode(whole.frames[0]), atol=2e-3)


def test_a_cache_that_fits_is_not_made_again(root, tmp_path):
    dataset, calls = _dataset(root).datasets["val"], []

    def encode(frames):
        calls.append(len(frames))
        return _encode(frames)

    cache_latents(encode, dataset, tmp_path, "val", "vae1")
    first = len(calls)
    assert sum(calls) == sum(e.frames for e in dataset.entries)
    cache_latents(encode, dataset, tmp_path, "val", "vae1")
    assert len(calls) == first
    cache_latents(encode, dataset, tmp_path, "val", "vae2")
    assert len(calls) == 2 * first


def test_an_interrupted_cache_is_no_cache(root, tmp_path):
    dataset, calls = _dataset(root).datasets["val"], []

    def stop_later(frames):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return _encode(frames)

    with pytest.raises(KeyboardInterrupt):
        cache_latents(stop_later, dataset, tmp_path, "val", "vae1", batch_size=8)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="no latents of the val split"):
        LatentCache(tmp_path, "val", dataset.entries, 32)


def test_an_old_cache_is_gone_once_its_files_are_replaced(root, tmp_path):
    dataset = _dataset(root).datasets["val"]
    cache_latents(_encode, dataset, tmp_path, "val", "vae1", flip=True)
    frames_left = sum(e.frames for e in dataset.entries)

    def stop_in_second_half(frames):
        nonlocal frames_left
        if frames_left <= 0:
            raise KeyboardInterrupt
        frames_left -= len(frames)
        return 2 * _encode(frames)

    with pytest.raises(KeyboardInterrupt):
        cache_latents(stop_in_second_half, dataset, tmp_path, "val", "vae2", flip=True)
    with pytest.raises(FileNotFoundError, match="no latents of the val split"):
        LatentCache(tmp_path, "val", dataset.entries, 32, vae_hash="vae1")


def test_caches_made_from_something_else_are_refused(root, tmp_path):
    dataset = _dataset(root).datasets["val"]
    entries = dataset.entries
    cache_latents(_encode, dataset, tmp_path, "val", "vae1")
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
    cache = cache_latents(_encode, dataset, tmp_path, "val", "vae1")
    assert "_open" in vars(pickle.loads(pickle.dumps(cache)))
    np.save(tmp_path / "val.npy", np.zeros((3, 4, 8, 8), np.float16))
    with pytest.raises(ValueError, match=r"val\.npy: is float16 \[3, 4, 8, 8\]"):
        LatentCache(tmp_path, "val", dataset.entries, 32).read(0, [0])
    np.save(tmp_path / "val.npy", np.array([{"code": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"val\.npy: cannot be read as an array"):
        LatentCache(tmp_path, "val", dataset.entries, 32).read(0, [0])
    (tmp_path / "val.json").write_text(json.dumps({"vae": "x"}))
    with pytest.raises(ValueError, match="not an index of latents"):
        LatentCache(tmp_path, "val", dataset.entries, 32)
