"""The study of recorded people: who reads whose lips, by person."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tsd.clip import to_frames
from tsd.media.video import write_video

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "real"))
import eyes  # noqa: E402
import instruments  # noqa: E402
import said  # noqa: E402
import whose_face  # noqa: E402

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


@pytest.fixture
def clip(tmp_path) -> tuple[SimpleNamespace, np.ndarray]:
    """A clip whose brightness rises and falls, and its frames."""
    level = (100 + 80 * np.sin(np.arange(FRAMES) * 0.5)).astype(np.uint8)
    frames = np.tile(level[:, None, None, None], (1, 32, 32, 3))
    write_video(tmp_path / "clip.mp4", frames, 0.1 * np.ones(FRAMES * 640, np.float32), keyframe_every=12)
    return SimpleNamespace(video=tmp_path / "clip.mp4"), frames


def test_every_talker_is_read_by_every_instrument(clip):
    entry, frames = clip
    talkers = [Parrot(frames), Parrot(frames, late=6)]
    same, same_blind, late, late_blind = instruments.agreements(
        entry, talkers, [brightness, lambda x: 0 * brightness(x)], aligned=False
    )
    assert same > 0.99 and late < 0 and same_blind == late_blind == 0


class Puppet(Parrot):
    """Is as bright as its first viseme is likely."""

    def set_reference(self, picture: np.ndarray) -> SimpleNamespace:
        return self.speaker(picture, torch.zeros(7).numpy())

    def speaker(self, picture: np.ndarray, motion: np.ndarray) -> SimpleNamespace:
        appearance = SimpleNamespace(picture=to_frames(picture)[None])
        return SimpleNamespace(appearance=appearance, motion=torch.from_numpy(motion), along=lambda motion: motion)

    def motion(self, speaker, num_frames: int, seed: int) -> torch.Tensor:
        return torch.zeros(num_frames, 7)

    def schedule(self, steps: str) -> str:
        return steps

    def latents(self, speaker, visemes: torch.Tensor, motion: torch.Tensor, schedule: str, seed: int, chunk: int):
        assert schedule == "k1"
        return visemes.split(chunk)

    def decode(self, z: torch.Tensor, appearance: torch.Tensor) -> np.ndarray:
        assert len(z) == len(appearance)
        return np.tile((255 * z[:, :1].numpy()).astype(np.uint8)[..., None, None], (1, 32, 32, 3))


def test_aligned_visemes_take_the_place_of_heard_ones(clip, monkeypatch):
    entry, frames = clip
    talker, labels = Puppet(frames, late=6), frames[:, 0, 0] / np.float32(255)
    monkeypatch.setattr(instruments, "load_tracks", lambda given: SimpleNamespace(labels=labels))
    assert instruments.agreements(entry, [talker], [brightness], aligned=False)[0] < 0
    assert instruments.agreements(entry, [talker], [brightness], aligned=True)[0] > 0.99


def test_the_table_has_a_row_a_person_and_the_mean_over_clips():
    table = instruments.to_markdown({"one": [[1.0, 0.5]], "two": [[0.0, 0.5], [0.5, 0.2]]}, ["a", "b"])
    assert table.splitlines() == [
        *("| | clips | a | b |", "|---|---|---|---|"),
        *("| one | 1 | 1.00 | 0.50 |", "| two | 2 | 0.25 | 0.35 |", "| all | 3 | 0.50 | 0.40 |"),
    ]


def test_an_instrument_agrees_with_what_is_said_or_not():
    torch.manual_seed(0)
    shows, people = torch.randn(106), {}
    for person in ("one", "two", "three"):
        visemes = [torch.cat([torch.rand(60, 105), torch.ones(60, 1)], 1) for _ in range(4)]
        people[person] = [(windows, [windows @ shows, torch.randn(60)]) for windows in visemes]
    assert said.agreement(people, "two", 0) > 0.9 and abs(said.agreement(people, "two", 1)) < 0.25
    assert said.to_markdown(people, ["a", "b"]).splitlines()[-1].startswith("| mean of people | 12 | 0.9")
    people["two"] = [(windows, [-opening, noise]) for windows, (opening, noise) in people["two"]]
    assert said.agreement(people, "two", 0) < -0.9, "fitted on others alone"


def test_each_eye_is_compared_by_itself():
    real = np.full((30, 2), 0.2)
    real[10:13] = 0.6  # both shut
    follows, unequal, off = eyes.compare(real, real)
    assert follows == pytest.approx(1) and unequal == off == 0
    wink = real.copy()
    wink[:10, 0] += 0.08  # a tenth of the way from an open eye to skin, in ten of 27 frames, one eye
    follows, unequal, off = eyes.compare(wink, real)
    assert 0.5 < follows < 1 and unequal == pytest.approx(0.1 * 10 / 27) and off == pytest.approx(unequal / 2)
    assert np.isnan(eyes.compare(real, np.full((30, 2), 0.2))[0]), "nobody blinked"


def test_eyes_are_looked_at_where_the_motion_says():
    video, motion = torch.full((4, 3, 128, 128), 0.5), torch.zeros(4, 7)
    motion[:, :4] = torch.tensor([0.35, 0.4, 0.65, 0.4])
    for frame, eye in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)):  # the right one is shut in frame 1
        x = int(128 * (0.35, 0.65)[eye])
        video[frame, :, 47:55, x - 4 : x + 4] = -1.0
    level = eyes.seen(video, motion)
    assert level.shape == (4, 2) and level[1, 1] > 0.9 and np.delete(level.flatten(), 3).max() < 0.5


def test_what_is_missing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["instruments.py", str(tmp_path), "--weights", "none", "--mouth", "none.safetensors"]
    )
    with pytest.raises(SystemExit, match="error: .*none.safetensors"):
        instruments.main()


class Echo(Parrot):
    """Is as bright as what it says is loud; a face of its own adds a swing to it."""

    def __init__(self, swing: float):
        self.swing = swing

    def set_reference(self, picture: np.ndarray) -> None:
        self.face = float(picture.mean())

    def video(self, sound: np.ndarray, steps: str) -> np.ndarray:
        loud = 500 * np.abs(sound.reshape(-1, 640)).mean(1) + self.swing * self.face * (np.arange(FRAMES) % 2)
        return np.tile(loud.clip(0, 255).astype(np.uint8)[:, None, None, None], (1, 32, 32, 3))


def test_whose_face_says_the_wrong_sentence_matters_only_where_faces_speak_differently(tmp_path):
    rng, entries = np.random.default_rng(0), []
    for number in range(3):
        level = rng.uniform(20, 200, FRAMES)
        sound = (np.repeat(level, 640) / 1000 * np.tile([1, -1], FRAMES * 320)).astype(np.float32)
        frames = np.tile(level.astype(np.uint8)[:, None, None, None], (1, 32, 32, 3))
        frames[0] = 60 * number + 40
        write_video(tmp_path / f"{number}.mp4", frames, sound, keyframe_every=12)
        entries.append(SimpleNamespace(video=tmp_path / f"{number}.mp4", identity=str(number)))
    own, theirs, its = whose_face.compare(entries, Echo(0.0), brightness, 2).T
    assert (own > 0.9).all() and np.abs(theirs).max() < 0.5 and theirs == pytest.approx(its, abs=1e-6)
    _, theirs, its = whose_face.compare(entries, Echo(1.0), brightness, 2).T
    assert np.abs(theirs - its).max() > 0.05
