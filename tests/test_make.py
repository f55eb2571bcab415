"""What a user types behind make reaches the commands as it is: neither make nor a shell takes it for code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tsd.commands.compose import composed, override, readable
from tsd.media.audio import write_wav

REPO = Path(__file__).parents[1]
TEXTS = [
    'it\'s "a" $(touch pwned);.png',
    "$(shell touch pwned)`touch pwned`",
    "${out} \\${out} $$x",
    "a\nb; touch pwned",
    "a\\' && touch pwned #",
    "[a,b]={c: d}",
    "李明 100% a@b.c *#~!.png",
]
OF_ANOTHER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS")
"""What `make test ARGS=…` leaves in the environment of these tests, and a make started here would take for its own."""
RECORD = """
import json, os, sys
names = ("REF", "AUDIO", "VIDEOS", "NAME", "WEIGHTS")
print(json.dumps({"argv": sys.argv[1:], "environment": {name: os.environ[name] for name in names}}))
"""


def make(*arguments: str, program: str = sys.executable) -> subprocess.CompletedProcess:
    """``make arguments`` in the repository, with ``program`` for Python and nothing to install."""
    argv = ["make", "--silent", "INSTALLED=", "TALKS=", f"PY={program}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_MAKE}
    environment["PYTHONPATH"] = str(REPO)
    run = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, env=environment)
    assert not (REPO / "pwned").exists(), "text was run as code"
    return run


@pytest.fixture
def recorded(tmp_path):
    """A function of make's arguments: argv and environment of the command that make starts."""
    (tmp_path / "record.py").write_text(RECORD)

    def run(*arguments: str) -> dict:
        return json.loads(make(*arguments, program=f"{sys.executable} {tmp_path / 'record.py'}").stdout)

    return run


@pytest.mark.parametrize("text", TEXTS)
def test_text_reaches_the_configuration_as_it_is(recorded, monkeypatch, text):
    said = recorded("talk", f"REF={text}", f"AUDIO=other {text}", f"WEIGHTS={text}")
    assert said["environment"]["REF"] == text and said["environment"]["AUDIO"] == f"other {text}"
    assert said["argv"][2] == f"weights={text}"
    for name, value in said["environment"].items():
        monkeypatch.setenv(name, value)
    cfg = composed("sample", said["argv"][3:])
    assert cfg.reference == text and cfg.audio == f"other {text}"
    said = recorded("chain", "NAME=real", f"VIDEOS={text}")
    assert said["argv"][2:4] == ["--config-name", "chain/real"]
    monkeypatch.setenv("VIDEOS", said["environment"]["VIDEOS"])
    cfg = composed("chain/real", said["argv"][4:])
    videos = next(item for item in cfg.corpora.parts.people if item.startswith("videos="))
    assert cfg.videos == text and composed("prepare", [videos]).videos == text


@pytest.mark.parametrize("text", [*TEXTS, "", "\\", "'", "\\\\'", "\\${", " a ", "a\\"])
def test_overrides_hold_any_text(text):
    assert composed("sample", [override("reference", text)]).reference == text


NAMES = [
    "it's me.png",
    "a=b.png",
    "photo (1).jpg",
    "Jörg.png",
    "李明.png",
    "a#b!c&d.png",
    "a;b.png",
    "a’b.png",
    "~a.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_line_takes_names_as_they_are(name):
    """What a shell passes on of `reference='…'`."""
    assert composed("sample", [readable(f"reference={name}")]).reference == name


@pytest.mark.parametrize("name", ["a,b.png", "[x].png", "{a}.png", '"q".png'])
def test_a_file_that_is_there_is_no_list(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert composed("sample", [readable(f"reference={name}")]).reference == name


def test_what_hydra_reads_is_left_to_it():
    for argument in (
        "stage=vae,student",
        "loss={a: 1}",
        "x=[1,2]",
        "x={a: 1",
        "x='it\\'s'",
        "--multirun",
        "~a",
        "+a=null",
        "seed=1",
        "hydra.run.dir=outputs/${now:%H}",
    ):
        assert readable(argument) == argument


def test_every_command_takes_them():
    for path in (REPO / "tsd/commands").glob("*.py"):
        text = path.read_text()
        if path.stem == "train":  # judges its command line before Hydra begins
            assert "\n@file_names\ndef main" in text
        elif "hydra" in text and "def main" in text:
            assert re.search(r'^@command_line\("[\w/]+"\)\ndef main', text, re.M), path


def test_a_face_of_any_name_speaks(tmp_path):
    picture, sound = tmp_path / TEXTS[0], tmp_path / 'it\'s; "b" ${out}.wav'
    picture.write_bytes((REPO / "experiments/quality/face.png").read_bytes())
    write_wav(sound, np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32))
    run = make("talk", f"REF={picture}", f"AUDIO={sound}", f"ARGS=mode=e2 steps=k1 name=x out={tmp_path}")
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "x" / "sample.json").read_text())["reference"] == str(picture)


def test_what_is_missing_or_unknown_is_one_sentence():
    expected = {
        ("talk", "REF=a.png"): "error: make talk REF=photo.jpg AUDIO=voice.wav",
        ("sample", "AUDIO=a.wav"): "error: make sample REF=face.png AUDIO=speech.wav",
        (
            "chain",
            f"NAME={TEXTS[0]}",
        ): "error: make chain NAME=<one of demo longer real recogniser release release256 window>",
        ("train-vea",): "no stage is called vea: make train-<one of identity lipreader mouth",
        (f"train-vae;{TEXTS[1]}",): "no stage is called ",
    }
    for arguments, words in expected.items():
        run = make(*arguments, program="false")
        assert run.returncode == 2 and words in run.stdout + run.stderr


def test_one_rule_trains_every_stage(recorded):
    for stage in (path.stem for path in (REPO / "conf" / "stage").glob("*.yaml")):
        assert recorded(f"train-{stage}", "ARGS=seed=1 'out=a b'")["argv"][2:] == [
            f"stage={stage}",
            "seed=1",
            "out=a b",
        ]


def test_help_lists_every_target_and_each_runs_a_command_that_there_is():
    text, listed = (REPO / "Makefile").read_text(), make("help").stdout
    targets = re.findall(r"^([a-z][a-z%_-]*):", text, re.M)
    assert targets and all(re.search(rf"  make {re.escape(target)} +\S", listed) for target in targets)
    for module in re.findall(r"-m (tsd\.[\w.]+)", text):
        assert (REPO / f"{module.replace('.', '/')}.py").is_file(), module
