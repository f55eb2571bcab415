"""``tsd talk PHOTO VOICE`` from any folder, with released weights that are found; wrong words end with the usage."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tsd.media.audio import write_wav

REPO = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path_factory) -> Path:
    """A folder of packages as the wheel fills it: configuration and released weights lie inside the package."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(REPO / "tsd", folder / "tsd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "conf", folder / "tsd" / "conf")
    (folder / "tsd" / "released").symlink_to(REPO / "weights")
    return folder


def tsd(folder, *words: str, packages: Path = REPO) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "TSD_WEIGHTS"}  # set in this process
    environment["PYTHONPATH"] = str(packages)
    command = [sys.executable, "-m", "tsd.commands", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--help",), 0), (("speak", "a.png"), 2), (("talk",), 2)])
def test_wrong_words_end_with_the_usage(tmp_path, words, code):
    run = tsd(tmp_path, *words)
    assert run.returncode == code and "usage: tsd talk PHOTO VOICE" in run.stderr and "Traceback" not in run.stderr


def test_what_is_missing_is_said_and_nothing_is_left(tmp_path, installed):
    """In a folder that has weights of something else, from the repository and from what is installed."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "yolo.pt").touch()
    write_wav(tmp_path / "it's = (a) voice.wav", np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    run = tsd(tmp_path, "talk", "no such, photo.png", "it's = (a) voice.wav")
    assert run.returncode == 2 and run.stderr == "error: reference=no such, photo.png: no such file\n"
    Image.new("RGB", (200, 200)).save(tmp_path / "wall.png")
    run = tsd(tmp_path, "talk", "wall.png", "it's = (a) voice.wav", packages=installed)
    assert run.returncode == 2 and "wall.png: no face found" in run.stderr, "the released weights were found"
    run = tsd(tmp_path, "talk", "it's = (a) voice.wav", "wall.png")
    assert run.returncode == 2 and run.stderr.endswith("is no picture and audio=wall.png is one: swap them\n")
    assert {path.name for path in tmp_path.iterdir()} == {"it's = (a) voice.wav", "wall.png", "weights"}
