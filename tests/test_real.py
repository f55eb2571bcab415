"""The study of recorded people: who reads whose lips, by person."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tsd.media.video import write_video

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "real"))
import instruments  # noqa: E402

FRAMES = 40


class Parrot:
    """Says what the clip says, ``late`` frames late."""

    vae = SimpleNamespace(resolution=32)

    def __init__(self, frames: np.ndarray, late: int = 0):
        self.frames, self.late = frames, late

    def set_reference(self, picture: np.ndarray) -> None:
        assert picture.shape == (32, 32, 3)

    def video(self, sound: np.ndarray, steps: str) -> np.ndarray:
        assert len(sound) == FRAMES * 640 and steps == "k1"
        return np.roll(self.frames, self.late, 0)[:-3]  # a little shorter than the clip


def brightness(frames: torch.Tensor) -> torch.Tensor:
    return frames.mean((1, 2, 3))


def test_every_talker_is_read_by_every_instrument(tmp_path):
    level = (100 + 80 * np.sin(np.arange(FRAMES) * 0.5)).astype(np.uint8)
    frames = np.tile(level[:, None, None, None], (1, 32, 32, 3))
    write_video(tmp_path / "clip.mp4", frames, 0.1 * np.ones(FRAMES * 640, np.float32), keyframe_every=12)
    talkers = [Parrot(frames), Parrot(frames, late=6)]
    entry = SimpleNamespace(video=tmp_path / "clip.mp4")
    same, same_blind, late, late_blind = instruments.agreements(
        entry, talkers, [brightness, lambda x: 0 * brightness(x)]
    )
    assert same > 0.99 and late < 0 and same_blind == late_blind == 0


def test_the_table_has_a_row_a_person_and_the_mean_over_clips():
    table = instruments.to_markdown({"one": [[1.0, 0.5]], "two": [[0.0, 0.5], [0.5, 0.2]]}, ["a", "b"])
    assert table.splitlines() == [
        *("| | clips | a | b |", "|---|---|---|---|"),
        *("| one | 1 | 1.00 | 0.50 |", "| two | 2 | 0.25 | 0.35 |", "| all | 3 | 0.50 | 0.40 |"),
    ]


def test_what_is_missing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["instruments.py", str(tmp_path), "--weights", "none", "--mouth", "none.safetensors"]
    )
    with pytest.raises(SystemExit, match="error: .*none.safetensors"):
        instruments.main()
