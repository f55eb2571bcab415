"""``tsd talk PHOTO VOICE`` from any folder, with released weights that are found; wrong words end with the usage."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tsd.media.audio import write_wav


def tsd(folder, *words: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "TSD_WEIGHTS"}  # set in this process
    command = [sys.executable, "-m", "tsd.commands", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--help",), 0), (("speak", "a.png"), 2), (("talk",), 2)])
def test_wrong_words_end_with_the_usage(tmp_path, words, code):
    run = tsd(tmp_path, *words)
    assert run.returncode == code and "usage: tsd talk PHOTO VOICE" in run.stderr and "Traceback" not in run.stderr


def test_what_is_missing_is_said_and_nothing_is_left(tmp_path):
    write_wav(tmp_path / "it's = (a) voice.wav", np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    run = tsd(tmp_path, "talk", "no such, photo.png", "it's = (a) voice.wav")
    assert run.returncode == 2 and run.stderr == "error: reference=no such, photo.png: no such file\n"
    Image.new("RGB", (200, 200)).save(tmp_path / "wall.png")
    run = tsd(tmp_path, "talk", "wall.png", "it's = (a) voice.wav")
    assert run.returncode == 2 and "wall.png: no face found" in run.stderr, "the released weights were found"
    run = tsd(tmp_path, "talk", "it's = (a) voice.wav", "wall.png")
    assert run.returncode == 2 and "wall.png: is a picture; give a video or sound" in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"it's = (a) voice.wav", "wall.png"}
