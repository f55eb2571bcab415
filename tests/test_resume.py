"""A training killed at any moment and started again ends with the very bits of one that was left alone."""

import pickle
import random
import resource
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import STEPS, assert_identical, begun, config, ground, killed, steps_of

from tsd.commands.train import run as train
from tsd.training import resume, run_record
from tsd.training.loggers import CSVLog, read_rows
from tsd.weights import checkpoint


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ground(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory) -> dict[str, Path]:
    """Runs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    for stage in ("teacher", "student"):
        begun(train, config(root, folder / stage, f"stage={stage}")).join()
    return {stage: folder / stage for stage in ("teacher", "student")}


@pytest.mark.parametrize(
    ("stage", "steps", "workers"),
    [
        ("teacher", (1, 3), 0),
        pytest.param("teacher", (4,), 0, marks=pytest.mark.slow),
        pytest.param("teacher", (12,), 0, marks=pytest.mark.slow),
        ("student", (9,), 2),
    ],
)
def test_killed_and_started_again(root, whole, tmp_path, stage, steps, workers):
    cfg = config(root, tmp_path / stage, f"stage={stage}")
    for step in steps:
        killed(cfg, signal.SIGKILL, at_step=step)
    # Any number of workers gives the same numbers; in a process of its own, for this one's threads must not be forked.
    process = begun(train, config(root, tmp_path / stage, f"stage={stage}", f"data.num_workers={workers}"))
    process.join()
    assert process.exitcode == 0
    assert_identical(tmp_path / stage, whole[stage])


@pytest.mark.slow
def test_fifty_kills_at_random_moments(root, whole, tmp_path):
    generator, steps = random.Random(0), []
    while len(steps) < 50:
        cfg = config(root, tmp_path / f"{len(steps)}", "stage=teacher")
        # Somewhere between the log of a step and the end of the next one.
        step = killed(cfg, signal.SIGKILL, generator.randint(1, STEPS - 1), generator.uniform(0, 0.2))
        if step < 0:
            continue  # it had ended: nothing that resuming could get wrong
        steps.append(step)
        begun(train, cfg).join()
        assert_identical(Path(cfg.out), whole["teacher"])
    print("killed after steps", sorted(steps))


def test_sigterm_writes_a_checkpoint_and_ends_with_75(root, whole, tmp_path):
    cfg = config(root, tmp_path / "t", "stage=teacher", "checkpoint_every=1000")
    process = begun(train, cfg)
    while steps_of(tmp_path / "t") < 5:
        time.sleep(0.001)
    process.terminate()
    process.join()
    assert process.exitcode == 75 and not (tmp_path / "t" / "weights.safetensors").exists()
    assert resume.read_checkpoint(tmp_path / "t" / "checkpoints" / "last.ckpt")["global_step"] >= 5
    train(cfg)
    assert_identical(tmp_path / "t", whole["teacher"])


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(root, whole, tmp_path):
    process = begun(train, config(root, tmp_path / "w", "stage=teacher", "data.num_workers=2"))
    process.join()
    assert process.exitcode == 0
    assert_identical(tmp_path / "w", whole["teacher"])


def test_what_stopped_early_does_not_go_on(root, tmp_path):
    # A learning rate of nearly nothing: no validation is better than the first one.
    still = ["callbacks.early_stopping.patience=1", "optimizer.lr=1e-12", "trainer.val_check_interval=2"]
    cfg = config(root, tmp_path / "e", "stage=teacher", *still)
    first = train(cfg).read_bytes()
    (tmp_path / "e" / "weights.safetensors").unlink()  # killed between the last step and the export
    assert train(cfg).read_bytes() == first
    assert checkpoint.read_header(tmp_path / "e" / "weights.safetensors")["card"]["steps"] < STEPS


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path, io = tmp_path / "last.ckpt", resume.SafeCheckpointIO()
    io.save_checkpoint({"state_dict": {"a": torch.ones(3)}, "config": {}, "random": {}}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="was not written and the one before it is whole"):
            io.save_checkpoint({"state_dict": {"a": torch.ones(10**6)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_random_states_come_back(tmp_path):
    path = tmp_path / "r.pt"
    torch.save(resume.random_states(), path)

    def drawn():
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random(), random.gauss(0, 1)

    first = drawn()
    resume.set_random_states(torch.load(path, weights_only=True))
    assert drawn() == first


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_checkpoints_never_run_code(root, tmp_path):
    cfg = config(root, tmp_path / "b", "stage=teacher")
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    torch.save({"state_dict": {}, "config": {}, "random": Bomb(tmp_path / "it ran")}, last)
    with pytest.raises(ValueError, match="last.ckpt is no checkpoint of this project"):
        train(cfg)
    assert not (tmp_path / "it ran").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "it ran")))
    assert (tmp_path / "it ran").exists(), "the bomb must be live"


def test_the_log_is_rewound(tmp_path):
    log = CSVLog(tmp_path)
    for step in range(4):
        log.log_metrics({"train/total": torch.tensor(float(step)), "epoch": 0}, step)
    log.log_metrics({"val/psnr": 3.0}, 3)
    again = CSVLog(tmp_path)
    again.rewind(2)
    again.log_metrics({"val/psnr": 4.0}, 2)
    rows = [{"step": "0", "train/total": "0.0"}, {"step": "1", "train/total": "1.0"}, {"step": "2", "val/psnr": "4.0"}]
    assert read_rows(tmp_path / "metrics.csv") == rows


def test_a_finished_run_goes_on_when_more_steps_are_asked_for(root, whole, tmp_path):
    """Weights, optimiser, average and position are those of before; the learning rate is that of the longer run."""
    out = tmp_path / "teacher"
    shutil.copytree(whole["teacher"], out)
    before, first = read_rows(out / "logs" / "metrics.csv"), (out / "weights.safetensors").read_bytes()
    longer = config(root, out, "stage=teacher", f"trainer.max_steps={STEPS + 4}")
    killed(longer, signal.SIGKILL, at_step=STEPS + 2)
    train(longer)
    card = checkpoint.read_header(out / "weights.safetensors")["card"]
    assert card["steps"] == STEPS + 4 and (out / f"weights-{STEPS}.safetensors").read_bytes() == first
    after = read_rows(out / "logs" / "metrics.csv")
    assert after[: len(before)] == before and len(after) > len(before)
    states = resume.read_checkpoint(out / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    assert {int(state["step"]) for state in states.values() if "step" in state} == {STEPS + 4}
    with pytest.raises(ValueError, match=f"max_steps is {STEPS} and was {STEPS + 4}"):
        train(config(root, out, "stage=teacher"))


@pytest.mark.parametrize(("stage", "lengths"), [("vae", (1, 2, 3)), ("student", (1, 2))])
def test_other_stages_go_on_too_and_twice(root, tmp_path, stage, lengths):
    """The learning rate of each step is that of the run's length at that time."""
    for steps in lengths:
        train(config(root, tmp_path / "o", f"stage={stage}", f"trainer.max_steps={steps}"))
        assert checkpoint.read_header(tmp_path / "o" / "weights.safetensors")["card"]["steps"] == steps
    names = [*(f"weights-{steps}.safetensors" for steps in lengths[:-1]), "weights.safetensors"]
    assert sorted(path.name for path in (tmp_path / "o").glob("weights*")) == names
    state = resume.read_checkpoint(tmp_path / "o" / "checkpoints" / "last.ckpt")
    assert state["global_step"] == steps == state["lr_schedulers"][0]["last_epoch"]
    rows = [row for row in read_rows(tmp_path / "o" / "logs" / "metrics.csv") if row.get("train/total")]
    assert [int(row["step"]) for row in rows] == list(range(steps))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer.max_steps": 9}, None),
        ({"trainer.max_steps": 4}, "trainer.max_steps is 4 and was 6"),
        ({"trainer.max_steps": 9, "optimizer.lr": 0.5}, "another run: optimizer.lr is 0.5 and was 0.1:"),
        ({"trainer.max_steps": 4, "seed": 1}, "seed is 1 and was 0; trainer.max_steps is 4 and was 6"),
        ({"optimizer.lr": 0.5}, "optimizer.lr is 0.5 and was 0.1"),
    ],
)
def test_only_more_steps_are_the_same_run(tmp_path, changes, words):
    values = {"trainer.max_steps": 6, "optimizer.lr": 0.1, "seed": 0}
    run_record.update(tmp_path, hash="a", data="d", stands_on={}, values=values)
    now = {"hash": "b", "data": "d", "stands_on": {}, "values": values | changes}
    with pytest.raises(ValueError, match=words) if words else nullcontext():
        run_record.check_same(tmp_path, now)
    assert run_record.goes_on(tmp_path, now) == (changes.get("trainer.max_steps") == 9)
