"""Experiments begin with what they ask, compose without faults for every value they sweep, and end in a page."""

import functools
import importlib.util
import re
from pathlib import Path

import pytest
from compositions import quickly_composed
from omegaconf import OmegaConf

from tsd.commands import compose
from tsd.commands.train import numbers
from tsd.evaluation.report import GENERATE_COLUMNS
from tsd.training import check, run_record

pytestmark = pytest.mark.untraced

REPO = Path(__file__).parents[1]
EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, REPO / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "file", sorted(path for group in ("experiment", "chain") for path in (REPO / "conf" / group).iterdir())
)
def test_files_begin_with_question_command_time_and_number(file):
    parts = [
        line for line in file.read_text().splitlines() if re.match(r"# (Question|Command|Expected|Number): ", line)
    ]
    assert [part.split(":")[0] for part in parts] == ["# Question", "# Command", "# Expected", "# Number"]
    assert "make" in parts[1] and re.search(r"\d|minute", parts[2])


def test_pages_of_studies_begin_as_their_configurations_do():
    run = script("run")
    pages = [REPO / "experiments" / name / "README.md" for name in EXPERIMENTS]
    studies = [page for page in pages if page.is_file() and run.COMMAND in page.read_text()]
    assert len(studies) >= 4
    for page in studies:
        name = page.parent.name
        parts = re.findall(r"^\*\*(\w+):\*\* ", run.introduction(name), re.M)
        assert parts == ["Question", "Command", "Expected", "Number"]
        assert page.read_text().startswith(f"# {name}\n\n{run.introduction(name)}\n"), name


@functools.cache
def params(name: str) -> dict:
    """What an experiment sweeps."""
    return OmegaConf.load(REPO / "conf" / "experiment" / f"{name}.yaml").hydra.sweeper.get("params") or {}


@functools.cache
def jobs(name: str) -> list[tuple[dict, set[str]]]:
    """The configuration of every job of an experiment, as ``compose.plain``. Never change what this returns."""
    swept = [f"{key}={value}" for key, value in params(name).items()]
    overrides = compose.jobs_of([f"experiment={name}", *swept])
    return [compose.plain(quickly_composed("train", job)) for job in overrides]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_value_that_is_swept_is_right(name):
    for job in jobs(name):
        assert check.faults(*job) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_two_jobs_train_the_same(name):
    """``steps`` says what validation shows; jobs that differ in nothing else compare a student with itself."""
    trained = []
    for values, _ in jobs(name):
        essence = run_record.essence(values)
        trained.append({k: v for k, v in essence.items() if not k.startswith(("steps.", "stage.module.schedule."))})
    assert all(one not in trained[:place] for place, one in enumerate(trained))


def test_a_page_keeps_its_words_and_gets_the_new_table(tmp_path):
    sweep, study, run = tmp_path / "sweep", tmp_path / "study", script("run")
    sweep.mkdir()
    for psnr in ("20.5", "21.5"):
        (sweep / "jobs.csv").write_text(
            f"job,sweep,state,generate.k2.mouth_r\nsteps-k1,/a/b,finished,{psnr}\nsteps-k2,/a/b,unfinished,\n"
        )
        run.write_study("steps", sweep, study)
        page = study / "README.md"
        page.write_text(page.read_text().replace("**Verdict.**", "**Verdict.** Mine."))
    text = page.read_text()
    assert (
        "| steps-k1 | finished | 21.5 |" in text
        and "| steps-k2 | unfinished |  |" in text
        and "20.5" not in text
        and text.count("Mine.") == 2
        and "Question:" in text
    )
    assert (study / "curve.png").stat().st_size > 1000
    assert (
        study / "jobs.csv"
    ).read_text() == "job,state,generate.k2.mouth_r\nsteps-k1,finished,21.5\nsteps-k2,unfinished,\n"


def test_jobs_are_in_the_order_of_their_numbers_and_named_by_what_differs():
    def names(*jobs: dict[str, str]) -> list[str]:
        rows = [{"job": f"folder{place}", **job, "state": "finished"} for place, job in enumerate(jobs)]
        return [job["job"] for job in script("run").titled(rows)]

    shared = {"loss": "a", "experiment": "x"}
    found = names(*({"p_mismatch": p} | shared for p in ("p100", "p00", "p25")))
    assert found == ["p_mismatch=p00", "p_mismatch=p25", "p_mismatch=p100"]
    widths = names(*({"model.student.channels": c} for c in ("[48,96,112]", "[16,24,32]")))
    assert widths == ["channels=[16,24,32]", "channels=[48,96,112]"]
    grid = names(*({"loss": a, "steps": f"k{k}", "experiment": "x"} for a in "ab" for k in (1, 2)))
    assert grid == ["loss=a,steps=k1", "loss=a,steps=k2", "loss=b,steps=k1", "loss=b,steps=k2"]
    assert names(shared) == ["folder0"]


def test_the_table_of_p_mismatch_is_the_cross_identity_table():
    report = {"generate": {"k2": {"mouth_r": 0.9, "id_cosine": 0.95, "fps": 100.0}}}
    report |= {
        "cross_identity": {"k2": {"correct": 1.0, "id_cosine": 0.9, "id_cosine_speech": 0.1, "mouth_r": 0.87654}}
    }
    job = {"job": "p_mismatch-p00", "state": "finished", "val/psnr": "25"}
    job |= {name: str(value) for name, value in numbers(report).items()}
    lines = script("run").table("p_mismatch", [job]).splitlines()
    asked = ["generate.k2.mouth_r"]
    asked += [f"cross_identity.k2.{name}" for name in ("correct", "id_cosine", "id_cosine_speech", "mouth_r")]
    assert lines[0] == f"| job | state | {' | '.join(asked)} |"
    assert lines[2] == "| p_mismatch-p00 | finished | 0.9 | 1 | 0.9 | 0.1 | 0.8765 |"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_names_figures_that_there_are(name):
    if params(name):
        columns = [f"generate.k2.{metric}" for metric in GENERATE_COLUMNS] + ["val/psnr"]
        columns += [f"cross_identity.k2.{metric}" for metric in ("correct", "id_cosine", "id_cosine_speech", "mouth_r")]
        assert script("run").named(name, columns)


def test_overrides_are_no_figures():
    columns = ["job", "loss", "state", "generate.k2.mouth_r", "generate.k2.viseme_ratio"]
    assert script("run").named("loss_ablation", columns) == columns[3:]


def test_the_workspace_shows_what_trainings_log():
    shown = script("workspace")
    sections = shown.workspace("someone").sections
    assert [section.name for section in sections] == [*shown.SECTIONS, "Pictures"]
    assert [panel.media_keys for panel in sections[-1].panels] == [["val/sheet"], ["val/video"]]
