"""Sweeps: a folder per job, nothing twice, a failed job harms no other, killed sweeps go on, a search remembers."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hydra.utils import instantiate
from safetensors.torch import load, load_file
from tiny_runs import arguments, command, config, ground, ran, same

from tsd.commands.compose import composed
from tsd.commands.sweeps import as_markdown, row
from tsd.commands.train import report_student
from tsd.commands.train import run as train
from tsd.training import run_record
from tsd.training.job_folder import LONGEST, job_folder
from tsd.weights import checkpoint

TWO = ["loss=paper,no_temporal", "p_mismatch=p00"]
FOUR = ["loss=paper,no_temporal", "p_mismatch=p00,p50"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ground(tmp_path_factory.mktemp("ground"))


def sweep_arguments(root: Path, *extra: str) -> list[str]:
    """Of a sweep of students of a second each, into ``sweep`` below the current folder."""
    quick = ["trainer.max_steps=4", "trainer.limit_val_batches=1", "sweep=sweep", "stage=student"]
    given = [a for a in arguments(root, Path("unused")) if not a.startswith(("out=", "trainer.max_steps="))]
    return ["-m", *given, *quick, *extra]


def jobs(folder: Path) -> list[dict]:
    with (folder / "sweep" / "jobs.csv").open() as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "sweep").glob("*/weights.safetensors")}


def ends(folder: Path) -> list[int]:
    """How often each job came to its end, by its log."""
    return [path.read_text().count("wrote ") for path in sorted((folder / "sweep").glob("*/train.log"))]


def killed_in_job(number: int, folder: Path, overrides: list[str]) -> None:
    """Start a sweep and kill it in the middle of its job ``number``, counted from 0 over all starts."""
    process = command(folder, *overrides)
    while process.is_alive() and len(list((folder / "sweep").glob("*/checkpoints/last.ckpt"))) <= number:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.fixture(scope="module")
def swept(root, tmp_path_factory) -> tuple[Path, str]:
    """Where a sweep lies that was killed in its second job and started again, and what it said then."""
    folder = tmp_path_factory.mktemp("swept")
    killed_in_job(1, folder, sweep_arguments(root, *TWO))
    assert len(weights(folder)) == 1
    code, output = ran(folder, *sweep_arguments(root, *TWO))
    assert code == 0, output
    return folder, output


def test_a_table_of_all_jobs_by_their_overrides(swept):
    folder, _ = swept
    table = jobs(folder)
    assert {job["loss"] for job in table} == {"paper", "no_temporal"}
    assert all(job["state"] == "finished" and float(job["val/psnr"]) > 0 and job["steps"] == "4" for job in table)
    assert sorted(name.split(",")[0] for name in weights(folder)) == ["loss-no_temporal", "loss-paper"]
    assert len(set(weights(folder).values())) == 2
    shown = (folder / "sweep" / "jobs.md").read_text()
    assert shown.count("\n") == 4 and "no_temporal" in shown and "data.root" not in shown.splitlines()[0]


def test_killed_and_started_again_finished_jobs_are_skipped_and_the_other_goes_on(root, swept, tmp_path):
    folder, output = swept
    assert output.count("is already there") == 1 and ends(folder) == [1] * 2
    for name, made in weights(folder).items():
        loss = name.split(",")[0].removeprefix("loss-")
        given = ["stage=student", f"loss={loss}", "p_mismatch=p00", "trainer.max_steps=4"]
        train(config(root, tmp_path / loss, *given))  # a training by itself, which nobody disturbs
        assert same(load(made), load_file(tmp_path / loss / "weights.safetensors")), loss
        (job,) = [job for job in jobs(folder) if job["loss"] == loss]
        metrics = checkpoint.read_header(tmp_path / loss / "weights.safetensors")["card"]["metrics"]
        assert float(job["val/psnr"]) == metrics["val/psnr"] and float(job["val/total"]) == metrics["val/total"]


@pytest.mark.slow
def test_a_finished_sweep_that_is_started_again_touches_nothing(root, swept):
    folder, _ = swept
    before = {path: path.stat().st_mtime_ns for path in (folder / "sweep").glob("*/weights.safetensors")}
    code, output = ran(folder, *sweep_arguments(root, *TWO))
    assert code == 0 and output.count("is already there") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before and ends(folder) == [1] * 2


@pytest.mark.slow
def test_killed_three_times_the_results_are_the_same(root, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    ran(tmp_path / "whole", *sweep_arguments(root, *FOUR))
    for number in (0, 2, 3):
        killed_in_job(number, tmp_path / "killed", sweep_arguments(root, *FOUR))
    code, output = ran(tmp_path / "killed", *sweep_arguments(root, *FOUR))
    assert code == 0, output
    assert len(weights(tmp_path / "whole")) == 4 and weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert ends(tmp_path / "killed") == [1] * 4 and jobs(tmp_path / "killed") == jobs(tmp_path / "whole")


def test_a_failed_job_leaves_its_traceback_and_the_others_run(root, tmp_path):
    # A reference of another person is asked for by one job, and the data has no other person.
    (tmp_path / "alone").mkdir()
    source = root / "corpus"
    for name in ("train", "val"):
        path = source / "manifests" / f"lrs3_{name}.jsonl"
        (tmp_path / "alone" / path.name).write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    (source / "alone").mkdir(exist_ok=True)
    for path in (tmp_path / "alone").iterdir():
        path.rename(source / "alone" / path.name)
    code, output = ran(
        tmp_path, *sweep_arguments(root, "p_mismatch=p50,p00", "data.manifests=alone", "trainer.max_steps=1")
    )
    table = {job["p_mismatch"]: job for job in jobs(tmp_path)}
    assert code == 1 and "1 of 2 jobs have not finished" in output
    assert table["p00"]["state"] == "finished" and table["p50"]["state"] == "failed"
    assert "needs two identities" in table["p50"]["error"]
    (log,) = [p for p in (tmp_path / "sweep").glob("*/train.log") if "p50" in p.parent.name]
    assert "Traceback" in log.read_text() and "needs two identities" in log.read_text()


def test_a_student_is_evaluated_whatever_its_folder_is_called(tmp_path, monkeypatch):
    """Folders are named after overrides, which have commas."""
    asked, out = [], tmp_path / "it's a run,steps=k1,p_mismatch-p00"

    def evaluated(cfg):
        asked.append(cfg)
        Path(cfg.out).parent.mkdir()
        Path(cfg.out).write_text(json.dumps({"generate": {"k1": {"mouth_r": 0.5, "fps": 3.0}}}))

    monkeypatch.setattr("tsd.commands.evaluate.run", evaluated)
    config = {"out": str(out), "evaluate": 3, "data": {"root": str(out / "corpus"), "manifests": "manifests"}}
    config["weights"] = {"vae": None, "student": None, "sync": str(out / "not there")}
    below = {"vae": out / "vae, the small one"}
    assert report_student(config, below) == {"generate.k1.mouth_r": 0.5} == run_record.read(out)["report"]
    (cfg,) = asked
    assert (cfg.weights.student, cfg.weights.vae) == (str(out / "weights.safetensors"), str(below["vae"]))
    assert cfg.weights.sync is None and cfg.data.root == str(out / "corpus") and cfg.clips == 3


def test_a_job_that_was_trained_and_not_evaluated_has_failed(swept, tmp_path):
    shutil.copytree(swept[0] / "sweep", tmp_path / "sweep")
    folder = sorted((tmp_path / "sweep").glob("*/run.json"))[0].parent
    run_record.update(folder, error="no clips")
    assert row(folder)["state"] == "failed" and row(folder)["error"] == "no clips" and row(folder)["steps"] == 4
    run_record.update(folder, error=None)
    assert row(folder)["state"] == "finished" and "error" not in row(folder)


@pytest.mark.slow
def test_sigterm_ends_a_sweep_for_requeueing(root, tmp_path):
    process = command(tmp_path, *sweep_arguments(root, *TWO, "checkpoint_every=1"))
    while not list((tmp_path / "sweep").glob("*/checkpoints/last.ckpt")):
        time.sleep(0.005)
    process.terminate()
    process.join()
    assert process.exitcode == 75 and len(weights(tmp_path)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers_give_the_same_results(root, swept, tmp_path, launcher):
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["hydra.launcher.timeout_min=5"]
    overrides = sweep_arguments(root, "loss=paper,no_temporal", "p_mismatch=p00", f"hydra/launcher={launcher}", *more)
    # A process of its own, not forked: only there loky's workers are sent home before they are waited for.
    argv = [sys.executable, "-m", "tsd.commands.train", *overrides]
    run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    made = weights(tmp_path)
    assert len(made) == 2 and all(weights(swept[0])[name] == content for name, content in made.items())
    assert len(jobs(tmp_path)) == 2


SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"]
SPACE = ["loss=paper,no_temporal", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'sweep' / 'optuna.db'}").trials


@pytest.mark.slow
def test_a_search_of_trainings_goes_on_from_its_storage(root, tmp_path):
    overrides = sweep_arguments(root, *SEARCH, *SPACE)
    killed_in_job(1, tmp_path, overrides)
    code, output = ran(tmp_path, *overrides)
    assert code == 0 and "best: optimizer.lr=" in output, output
    assert [trial.state.name for trial in trials(tmp_path)] == ["COMPLETE"] * 3 and ends(tmp_path) == [1] * 3
    scores = {checkpoint.read_header(p)["card"]["score"] for p in (tmp_path / "sweep").glob("*/weights.safetensors")}
    assert {trial.value for trial in trials(tmp_path)} == scores
    assert all(1e-4 <= trial.params["optimizer.lr"] <= 1e-2 for trial in trials(tmp_path))


class Launcher:
    """Jobs that come to the learning rate they are given, or to what ``results`` says of the job of a number."""

    def __init__(self, **results):
        self.results, self.launched = results, []

    def launch(self, overrides: list[list[str]], initial_job_idx: int) -> list[SimpleNamespace]:
        self.launched.append((initial_job_idx, overrides))
        result = self.results.get(f"job{initial_job_idx}", "its rate")
        if result is KeyboardInterrupt:
            raise result
        values = [dict(word.split("=") for word in job) for job in overrides]
        rates = [float(job["optimizer.lr"]) for job in values]
        return [SimpleNamespace(return_value=rate if result == "its rate" else result) for rate in rates]


def test_a_search_goes_on_from_its_storage(tmp_path, monkeypatch, capsys):
    """By jobs that train nothing; the sweeper is the one that the configuration names."""
    monkeypatch.chdir(tmp_path)
    cfg = composed("train", ["stage=student", "sweep=sweep", *SEARCH], own=True)

    def search(**results) -> list[tuple[int, list[list[str]]]]:
        sweeper = instantiate(cfg.hydra.sweeper)
        sweeper.launcher, sweeper.config = Launcher(**results), cfg
        sweeper.hydra_context = SimpleNamespace(config_loader=None)
        try:
            sweeper.sweep(["seed=1", *SPACE])
        except KeyboardInterrupt:
            assert KeyboardInterrupt in results.values()
        return sweeper.launcher.launched

    first = search(job1=KeyboardInterrupt)
    assert [number for number, _ in first] == [0, 1]
    assert [trial.state.name for trial in trials(tmp_path)] == ["COMPLETE", "RUNNING"]
    second = search(job2=None)
    assert [number for number, _ in second] == [1, 2] and second[0] == first[1], "what was cut, with its values"
    assert search() == [] and "best: optimizer.lr=" in capsys.readouterr().out
    assert [trial.state.name for trial in trials(tmp_path)] == ["COMPLETE", "COMPLETE", "FAIL"]
    launched = [jobs for _, jobs in (*first, *second)]
    for (job,) in launched:
        assert len(job) == 3 and "seed=1" in job and {"loss=paper", "loss=no_temporal"} & set(job)
    for trial in trials(tmp_path):
        assert 1e-4 <= trial.params["optimizer.lr"] <= 1e-2 and trial.value in (trial.params["optimizer.lr"], None)


def test_two_processes_never_train_the_same_run(tmp_path):
    with run_record.only_one(tmp_path):
        second = run_record.only_one(tmp_path)
        with pytest.raises(ValueError, match="is being trained by another process"):
            second.__enter__()
    with run_record.only_one(tmp_path):
        pass


@pytest.mark.parametrize(
    "overrides", ["", "a-1", "data.root-../../etc", "x-/etc/passwd", "..", ".hidden-1", "a" * 500, "b-" + "é" * 300]
)
def test_folders_stay_inside_the_sweep(tmp_path, overrides):
    name = job_folder(overrides)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve() and 0 < len(name) <= LONGEST and ".." not in name
    (tmp_path / name).mkdir()


def test_folders_of_different_overrides_differ():
    names = {job_folder(f"data.root-{'x' * 200}{i}/../{j}") for i in range(5) for j in range(5)}
    assert len(names) == 25 and job_folder("loss-paper,steps-k2") == "loss-paper,steps-k2"


def test_tables_keep_their_shape():
    shown = as_markdown(
        [{"job": "a|b", "state": "failed", "error": "x\ny"}, {"job": "c", "state": "finished", "v": 0.12345}]
    )
    assert shown.splitlines() == [
        "| job | state | v | error |",
        "|---|---|---|---|",
        "| a\\|b | failed |  | x y |",
        "| c | finished | 0.1235 |  |",
    ]
