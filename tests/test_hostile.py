"""A hundred configurations and checkpoints from strangers, hostile or broken: refused with a message, nothing run,
nothing written."""

import io
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tsd.commands import compose
from tsd.nets.mouth import MouthNet
from tsd.training import resume
from tsd.weights import checkpoint

pytestmark = pytest.mark.untraced

RUN = "touch it_ran"
TARGET = "{_target_: os.system, command: '" + RUN + "'}"
WALKS = (
    "lightning.pytorch.callbacks.model_checkpoint.os.system",
    "lightning.pytorch.callbacks.lambda_function.LambdaCallback.__init__",
    "subprocess.Popen",
    "builtins.eval",
    "importlib.import_module",
    "tsd.commands.chain.Chain",
    "tsd.training.callbacks.write_video",
    "os.system",
)
PLACES = ("data", "loss", "steps", "optimizer", "trainer", "callbacks.evil", "logger.evil", "stage.net", "stage.module")
PLACES += ("stage.module.schedule", "model.vae", "model.evil", "weights.vae", "seed", "evil")

FILES = {
    # A file for the group `experiment`, and the word of it that the message must name.
    **{f"os.system at {place}": (f"{place}._target_", place, TARGET) for place in PLACES},
    "a loader of code as optimiser": (
        "optimizer._target_",
        "optimizer",
        "{_target_: torch.hub.load, repo_or_dir: a/b}",
    ),
    "a function of the right package": ("optimizer._target_", "optimizer", "{_target_: torch.optim.sgd.sgd}"),
    "a call inside an argument": (
        "trainer.profiler._target_",
        "trainer.profiler",
        TARGET,
    ),
    "a call inside a callback": ("callbacks.ema.avg_fn", "callbacks.ema.avg_fn", TARGET),
    "a callback of Hydra": ("hydra.callbacks.evil._target_", "hydra.callbacks.evil", TARGET),
    "a launcher": ("experiment=strange", "hydra.launcher", TARGET),
    "a sweeper": ("experiment=strange", "hydra.sweeper", TARGET),
    "a handler of logs": (
        "hydra.job_logging.handlers.evil.class",
        "hydra.job_logging.handlers.evil",
        "{class: logging.handlers.SocketHandler, host: evil, port: 1}",
    ),
    "a factory of logs": (
        "hydra.job_logging.handlers.evil.()",
        "hydra.job_logging.handlers.evil",
        "{'()': os.system, command: touch it_ran}",
    ),
    "a preloaded library": ("hydra.job.env_set", "hydra.job.env_set", "{LD_PRELOAD: ./evil.so}"),
    "a group that is none": ("loss=5", "loss", "5"),
    "data that are none": ("data=null", "data", "null"),
    "stages that are none": ("stage.needs", "stage.needs", "[motion, ../../etc]"),
    "a list for a number": ("trainer.max_steps", "trainer.max_steps", "[1]"),
    "a dictionary for a number": ("seed", "seed", "{a: 1}"),
    "a file that is no YAML": ("", "optimizer.lr", "???"),
    "a path with a NUL": ("out=", "out", '"a\\0b"'),
    "an interpolation of nothing": ("no_such", "out", "${no_such.key}"),
    "an interpolation of itself": ("", "seed", "${seed}"),
}

OVERRIDES = {
    "stage.module.log_normal=[0,0]": "stage.module.log_normal=[0, 0]: must be two numbers, the mean and the",
    "loss.sharpnes=1": "sharpnes",
    "+loss.sharpnes=1": "loss.sharpnes=1: unknown key; known are",
    "+data.windw=3": "did you mean window?",
    "+trainer.max_step=3": "did you mean max_steps?",
    "+stage.nedes=[]": "did you mean needs?",
    "+evil=1": "evil=1: unknown key",
    "loss=no_such": "no_such",
    "steps=k3": "k3",
    "seed=-1": "seed=-1: must be a whole number",
    "seed=1.5": "seed=1.5",
    "seed=true": "seed=true",
    "optimizer.lr=fast": "optimizer.lr=fast: must be a number above 0",
    "optimizer.lr=0": "optimizer.lr=0",
    "optimizer.lr=nan": "optimizer.lr=nan",
    "optimizer.lr=inf": "optimizer.lr=inf",
    "optimizer.betas=[0.9]": "two numbers",
    "data.p_mismatch=1.5": "data.p_mismatch=1.5: must be a number of 0 to 1",
    "data.window=0": "data.window=0",
    "data.batch_size=1000000000000": "data.batch_size",
    "data.people=nobody": "one of all, even, odd",
    "data.num_workers=-1": "data.num_workers",
    "trainer.max_steps=-1": "trainer.max_steps=-1",
    "trainer.max_epochs=5": "trainer.max_epochs=5: must be -1, for one epoch has no end; trainer.max_steps is",
    "trainer.precision=13-bit": "trainer.precision",
    "loss.identity=-0.1": "loss.identity",
    "loss.identity=.inf": "loss.identity",
    "steps.strengths=[]": "schedule of K falling noise strengths",
    "steps.strengths=[1,2]": "must fall",
    "steps.strengths=[80,fast]": "schedule",
    "model.teacher.latent_size=7": "its latents are 8 x 7 x 7",
    "model.teacher.channels=[1000000000]": "model.teacher",
    "model.teacher.blocks=1000000000": "model.teacher",
    "model.vae.latent_channels=0": "model.vae",
    "model.resolution=1000000": "model.resolution",
    "data.resolution=32": "needs model.resolution",
    "data.flow=false": "loss.temporal is above 0",
    "weights.identity=null": "weights.identity=null",
    "loss.sync=0.1": "data.mel=false: loss.sync is above 0",
    "optimizer.lr=???": "optimizer.lr: missing",
    "overwrite=perhaps": "overwrite",
    "checkpoint_every=0": "checkpoint_every",
    "a b c": "a b c",
    "=": "=",
}


TOGETHER = [
    ["stage.module.log_normal=[0,0]", "seed=-1", "optimizer.lr=fast", "optimizer.betas=[0.9]", "data.p_mismatch=1.5"]
    + ["data.window=0", "data.batch_size=1000000000000", "data.people=nobody", "data.num_workers=-1"]
    + ["trainer.max_steps=-1", "trainer.max_epochs=5", "trainer.precision=13-bit", "loss.identity=-0.1"]
    + ["model.vae.latent_channels=0", "model.resolution=1000000", "overwrite=perhaps", "checkpoint_every=0"],
    ["seed=1.5", "optimizer.lr=0", "loss.identity=.inf"],
    ["seed=true", "optimizer.lr=nan"],
]
"""Of ``OVERRIDES``: what is wrong whatever the others are. One command line for many, since composing takes longest."""
ALONE = [override for override in OVERRIDES if override not in sum(TOGETHER, [])]


def message_of(argv: list[str], monkeypatch, capsys) -> str:
    """What ``python -m tsd.commands.train argv`` says before it ends with 2."""
    monkeypatch.setattr(sys, "argv", ["train", *argv])
    with pytest.raises(SystemExit) as end:
        compose.judge("train")
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to be in, where nothing must appear."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_files_from_strangers(place, monkeypatch, capsys, name):
    words, key, value = FILES[name]
    text = value
    for part in reversed(key.split(".")):
        text = f"{{{part}: {text}}}"
    (place / "conf" / "experiment").mkdir(parents=True)
    (place / "conf" / "experiment" / "strange.yaml").write_text(f"# @package _global_\n{text[1:-1]}\n")
    folder = ["--config-dir", str(place / "conf")]
    message = message_of([*folder, "experiment=strange", "stage=teacher"], monkeypatch, capsys)
    assert message.startswith("error: ") and words in message, message


def test_every_callback_from_a_stranger_is_named(place, monkeypatch, capsys):
    (place / "conf" / "experiment").mkdir(parents=True)
    evil = [f"  evil{number}: {{_target_: {walk}}}\n" for number, walk in enumerate(WALKS)]
    (place / "conf" / "experiment" / "strange.yaml").write_text("# @package _global_\ncallbacks:\n" + "".join(evil))
    folder = ["--config-dir", str(place / "conf")]
    message = message_of([*folder, "experiment=strange", "stage=teacher"], monkeypatch, capsys)
    assert message.startswith(f"error: {len(WALKS)} faults"), message
    for number, walk in enumerate(WALKS):
        assert f"callbacks.evil{number}._target_={walk[:40]}" in message, message


@pytest.mark.parametrize("overrides", TOGETHER, ids=" ".join)
def test_values_that_are_wrong_are_all_said(place, monkeypatch, capsys, overrides):
    message = message_of(["stage=teacher", *overrides], monkeypatch, capsys)
    assert message.startswith("error: ") and len(message) < 3000, message
    said = [line.strip() for line in message.splitlines()]
    for override in overrides:
        key = override.partition("=")[0]
        assert any(line.startswith(f"{key}=") and OVERRIDES[override] in line for line in said), (override, message)


@pytest.mark.parametrize("override", ALONE)
def test_overrides_that_are_wrong(place, monkeypatch, capsys, override):
    message = message_of(["stage=teacher", override], monkeypatch, capsys)
    assert message.startswith("error: ") and OVERRIDES[override] in message and len(message) < 3000, message


def test_a_momentum_that_never_forgets_is_refused(place, monkeypatch, capsys):
    message = message_of(["stage=teacher", "optimizer=muon", "optimizer.momentum=1"], monkeypatch, capsys)
    assert message == "error: optimizer.momentum=1: must be a number of 0 to below 1\n"


def test_a_dry_run_on_top_of_nothing_is_one_sentence(place, monkeypatch, capsys):
    message = message_of(["stage=student", "dry_run=true"], monkeypatch, capsys)
    assert message.startswith("error: no ") and "make train-" in message and message.count("\n") == 1


def test_a_dry_run_without_faults_begins_no_training(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "stage=visemes", "trainer.max_steps=7", "dry_run=true"])
    assert compose.judge("train") is False


def test_all_faults_are_in_one_message(place, monkeypatch, capsys):
    wrong = ["optimizer.lr=fast", "+data.windw=3", "seed=-1", "data.p_mismatch=2"]
    message = message_of(["stage=teacher", *wrong], monkeypatch, capsys)
    assert message.startswith("error: 4 faults") and message.count("\n") == 5
    message = message_of(["stage=teacher", "loss.sharpnes=1", "steps=k3", "loss=no_such"], monkeypatch, capsys)
    assert message.startswith("error: 3 faults") and all(w in message for w in ("sharpnes", "k3", "no_such"))


def test_a_sweep_is_refused_whole_for_one_wrong_value(place, monkeypatch, capsys):
    message = message_of(["-m", "stage=teacher", "optimizer.lr=0.1,-0.1", "loss=paper,default"], monkeypatch, capsys)
    assert message == "error: optimizer.lr=-0.1: must be a number above 0 and at most 10\n"


class Bomb:
    def __init__(self, call, *arguments):
        self.parts = (call, arguments)

    def __reduce__(self):
        return self.parts


def archive(pickled: bytes) -> bytes:
    """A file as torch.save writes it, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entries:
        entries.writestr("archive/data.pkl", pickled)
        entries.writestr("archive/version", "3\n")
    return file.getvalue()


def good() -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(100)}, "config": {}, "random": {}}, file)
    return file.getvalue()


BOMBS = [Bomb(os.system, RUN), Bomb(eval, "open('it_ran', 'w')"), Bomb(exec, "open('it_ran', 'w')")]
BOMBS += [Bomb(__import__, "os"), Bomb(open, "it_ran", "w"), Bomb(Path.touch, Path("it_ran"))]
PLACED = [lambda bomb: bomb, lambda bomb: {"state_dict": bomb, "config": {}, "random": {}}]
CHECKPOINTS = {
    **{f"bomb {i}.{j}": pickle.dumps(put(bomb)) for i, bomb in enumerate(BOMBS) for j, put in enumerate(PLACED)},
    **{f"bomb {i} in an archive": archive(pickle.dumps(PLACED[1](bomb))) for i, bomb in enumerate(BOMBS)},
    **{f"cut at {part}": good()[: int(part * len(good()))] for part in (0, 0.1, 0.5, 0.9, 0.99)},
    "text": b"hello",
    "another dictionary": archive(pickle.dumps({"model": 1})),
    "a list": archive(pickle.dumps([1, 2])),
    "an archive of nothing": archive(b""),
    "paths that leave": archive(pickle.dumps("x")).replace(b"archive/version", b"../../a/version"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_training_checkpoints_from_strangers(place, name):
    path = place / "last.ckpt"
    path.write_bytes(CHECKPOINTS[name])
    with pytest.raises(ValueError, match="last.ckpt is no checkpoint of this project"):
        resume.read_checkpoint(path)


def test_the_bombs_are_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for bomb in (BOMBS[0], BOMBS[1], BOMBS[5]):
        pickle.loads(pickle.dumps(bomb))
        (tmp_path / "it_ran").unlink()


def header(stage="mouth", arguments=None, **more) -> dict[str, str]:
    return {"tsd": json.dumps({"stage": stage, "arguments": arguments or {"channels": 8}, "card": {}} | more)}


WEIGHTS = {
    "another stage": header("vae"),
    "a stage that is none": header("os.system"),
    "huge shapes": header(arguments={"channels": 10**12}),
    "text for a size": header(arguments={"channels": "os.system"}),
    "an argument that is none": header(arguments={"channels": 8, "path": 1}),
    "another size than its tensors": header(arguments={"channels": 16}),
    "no card": {},
    "a card that is none": {"tsd": "[" * 10000},
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_from_strangers(place, name):
    path = place / "weights.safetensors"
    save_file(MouthNet(channels=8).state_dict(), path, metadata=WEIGHTS[name])
    with pytest.raises(ValueError, match="weights.safetensors"):
        checkpoint.load(path, "mouth")


def test_there_are_a_hundred():
    assert len(FILES) + len(WALKS) + len(OVERRIDES) + len(CHECKPOINTS) + len(WEIGHTS) >= 100
