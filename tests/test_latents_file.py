"""Latents on disk: everything comes back, and a file that is not one is refused by name."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsd.media.light import Light
from tsd.runtime.canvas import Canvas
from tsd.runtime.latents_file import Latents

VAE = SimpleNamespace(latent_channels=4, latent_size=8, resolution=32)
GOOD, CROP = np.zeros((5, 4, 8, 8), np.float32), np.zeros((32, 32, 3), np.uint8)
PLACES = np.tile(np.eye(2, 3, dtype=np.float32), (5, 1, 1))


@pytest.fixture
def path(tmp_path) -> Path:
    whole = (0, 0, 64, 64)
    canvas = Canvas(np.zeros((64, 64, 3), np.uint8), np.eye(2, 3) / 64, np.zeros((5, 2), np.float32), whole, whole)
    latents = Latents(GOOD, CROP, PLACES, canvas, Light(1.5, 0.5), True, 0xFEDCBA98, "ab" * 32, "She agreed.")
    latents.save(tmp_path / "good.npz")
    return tmp_path / "good.npz"


def test_everything_comes_back(path):
    read = Latents.read(path, VAE)
    assert (read.payload, read.weights, read.consent) == (0xFEDCBA98, "ab" * 32, "She agreed.")
    assert read.still and read.light == Light(1.5, 0.5) and read.canvas.side == pytest.approx(64)
    assert np.array_equal(read.z, GOOD) and np.array_equal(read.maps, PLACES)


@pytest.mark.parametrize(
    "change",
    [
        {"latents": GOOD[0]},
        {"latents": np.zeros((5, 8, 8, 8), np.float32)},
        {"latents": GOOD.astype(np.int32)},
        {"latents": GOOD[:0]},
        {"latents": np.full_like(GOOD, np.nan)},
        {"latents": np.array([{"a": 1}], dtype=object)},
        {"reference": CROP[:8, :8]},
        {"maps": PLACES[:4]},
        {"maps": PLACES * np.nan},
        {"maps": PLACES.astype(float)},
        {"canvas_shown": np.array([0, 0, 65, 64])},
        {"light": np.array([0.0, 0.0])},
        {"payload": np.int64(1 << 32)},
        {"payload": np.zeros(2, np.uint32)},
        {"weights": np.array("none")},
        {"consent": np.array("a\nb")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_wrong_value_is_refused(path, change):
    np.savez(path, **dict(np.load(path)) | change)
    with pytest.raises(ValueError, match="good.npz"):
        Latents.read(path, VAE)


def test_one_missing_value_is_refused(path):
    complete = dict(np.load(path))
    for name in complete:
        np.savez(path, **{key: value for key, value in complete.items() if key != name})
        with pytest.raises(ValueError, match=f"good.npz: holds no latents.*{name.removeprefix('canvas_')}"):
            Latents.read(path, VAE)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("not an array")
    np.save(tmp_path / "bare.npy", GOOD)
    for name in ("text.npz", "bare.npy"):
        with pytest.raises(ValueError, match=f"{name}: holds no latents"):
            Latents.read(tmp_path / name, VAE)
