"""Released weights: the whole chain or nothing, with a card of what made them, and found by those who use them."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from fakes import CONF
from finished import ARGUMENTS, SCHEDULES, finished_chain, place, write_report, write_weights
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tsd.commands import publish, sample
from tsd.runtime import graph_files
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint, releases

REPO = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished chain that no test changes."""
    root = tmp_path_factory.mktemp("made")
    finished_chain(root)
    return root


def config(command: str, *overrides: str):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(overrides))


def published(chain: Path, out: Path, *overrides: str) -> dict:
    """The card of what was published."""
    folder = publish.run(config("publish/drawn", f"finished={chain}", f"out={out}", "graphs=false", *overrides))
    return json.loads((folder / releases.CARD).read_text())


def test_the_folder_is_what_was_judged_and_says_what_made_it(made, tmp_path):
    card = published(made, tmp_path / "weights")
    files = {path.name: path.read_bytes() for path in (tmp_path / "weights").iterdir()}
    assert sorted(files) == sorted([*(f"{stage}.safetensors" for stage in ARGUMENTS), "release.json"])
    for stage, made_by in card["weights"].items():
        data = files[made_by["file"]]
        assert data == place(made, stage).read_bytes() and len(data) == made_by["bytes"]
        assert hashlib.sha256(data).hexdigest() == made_by["sha256"] and made_by["arguments"] == ARGUMENTS[stage]
    assert card["schedules"] == SCHEDULES and card["resolution"] == 32 and card["apart"] == {}
    assert card["scores"]["generate"]["k2"]["mouth_r"] == 0.95 and card["scores"]["vae"]["psnr_db"] == 34
    assert card["scores"]["denoise"]["teacher"]["psnr_gain_db"] == 8.5 and card["scores"]["long"]["k2"]["id_ratio_end"]
    assert card["data"]["corpus"]["train"] == {"clips": 4, "people": 2} and card["licence"] == "Apache-2.0"
    assert card["limits"] and card["weights"]["student"]["stands_on"]["vae"] == checkpoint.file_hash(place(made, "vae"))
    assert card["commit"] is None or len(card["commit"].rstrip("+")) == 40
    talker = Talker.load(tmp_path / "weights")
    assert set(talker.schedules) == set(SCHEDULES) and talker.recogniser is not None and talker.motion_bank is not None


def test_what_was_taken_from_the_release_before_keeps_what_made_it(made, tmp_path):
    """A chain that goes on from released weights has neither the run nor the corpus of the nets that it took."""
    out = tmp_path / "weights"
    card = published(made, out)
    config_of = {"seed": 3, "trainer.max_steps": 5000}
    card["weights"]["visemes"]["config"] = config_of
    card["data"]["voices"] = {"train": {"clips": 7, "people": 7}}
    (out / releases.CARD).write_text(json.dumps(card))
    again = published(made, out)
    assert again["weights"]["visemes"]["config"] == config_of and again["data"]["voices"]["train"]["clips"] == 7
    card["weights"]["visemes"]["sha256"] = "0" * 64  # the release before held another
    (out / releases.CARD).write_text(json.dumps(card))
    other = published(made, out)
    assert other["weights"]["visemes"]["config"] != config_of and "voices" not in other["data"]
    for damaged in ("[]", "{", '{"weights": 3}', '{"weights": {"vae": []}, "apart": {}}'):
        (out / releases.CARD).write_text(damaged)
        assert published(made, out)["data"].keys() == other["data"].keys()


def test_what_another_release_holds_is_not_copied_and_is_found_there(made, tmp_path):
    published(made, tmp_path / "first")
    chain = tmp_path / "chain"
    finished_chain(chain)
    arguments, first = ARGUMENTS["vae"] | {"decoder_channels": [16, 8]}, checkpoint.file_hash(place(made, "vae"))
    net = checkpoint.NETS["vae"](**arguments)
    second = checkpoint.save(place(chain, "vae"), "vae", net, arguments, {"latents_of": first})
    write_report(chain, {stage: checkpoint.file_hash(place(chain, stage)) for stage in ARGUMENTS} | {"vae": second})
    card = published(chain, tmp_path / "second", "beside=first")
    assert sorted(p.name for p in (tmp_path / "second").iterdir()) == ["release.json", "vae.safetensors"]
    assert set(card["weights"]) == {"vae"} and card["apart"] == {} and card["beside"]["release"] == "first"
    assert set(card["beside"]["sha256"]) == ARGUMENTS.keys() - {"vae"}
    talker = Talker.load(tmp_path / "second")
    assert talker.recogniser is not None and set(talker.schedules) == set(SCHEDULES)
    # A folder beside it that is another's, or no folder beside it.
    (tmp_path / "first" / "student.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match="student.safetensors: is not the student of .*copy both folders"):
        Talker.load(tmp_path / "second")
    shown = tmp_path / "second" / "release.json"
    shown.write_text(json.dumps(card | {"beside": card["beside"] | {"release": "../first"}}))
    with pytest.raises(ValueError, match="names no release beside it"):
        Talker.load(tmp_path / "second")
    with pytest.raises(ValueError, match=r"beside=../first: must be the name of a release's folder"):
        published(chain, tmp_path / "third", "beside=../first")
    with pytest.raises(ValueError, match="has none of these weights"):
        published(chain, tmp_path / "third", "beside=nowhere")


def test_the_teacher_stays_apart_first_and_what_speaks_never(made, tmp_path):
    sizes = {stage: place(made, stage).stat().st_size for stage in ARGUMENTS}
    total = sum(sizes.values())
    card = published(made, tmp_path / "a", f"limit_mb={(total - 1) / 1e6}")
    assert list(card["apart"]) == ["teacher"] and card["apart"]["teacher"]["sha256"]
    assert not (tmp_path / "a" / "teacher.safetensors").exists()
    needed = sum(sizes[stage] for stage in releases.NEEDED)
    card = published(made, tmp_path / "b", f"limit_mb={needed / 1e6}")
    assert set(card["weights"]) == set(releases.NEEDED)
    with pytest.raises(ValueError, match=r"limit_mb=.* alone have .* MB; raise it"):
        published(made, tmp_path / "c", f"limit_mb={(needed - 1) / 1e6}")
    assert not (tmp_path / "c").exists()


@pytest.fixture
def chain(tmp_path):
    """A finished chain of a test's own, and its hashes."""
    return tmp_path / "chain", finished_chain(tmp_path / "chain")


def refused(chain: Path, out: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        published(chain, out)
    assert "\n" not in str(error.value) and not out.exists() and not list(out.parent.glob(".part*"))
    return str(error.value)


def test_half_finished_chains_are_refused(chain, tmp_path):
    root, out = chain[0], tmp_path / "out"
    (root / "report.json").rename(root / "later.json")
    assert "holds no report.json, so its chain is not finished: `make release` goes on" in refused(root, out)
    for text in ("{", "[]", "{}", '{"weights": 3}', '{"weights": {"vae": []}}'):
        (root / "report.json").write_text(text)
        assert "report" in refused(root, out)
    (root / "later.json").rename(root / "report.json")
    place(root, "student").rename(root / "student.safetensors")
    place(root, "motion").rename(root / "motion.safetensors")
    assert "holds no weights of student, motion: `make release` goes on" in refused(root, out)


def test_weights_that_were_not_judged_are_refused(chain, tmp_path):
    root, hashes = chain
    write_weights(root, "student", {"schedules": SCHEDULES}, seed=9)
    assert "report.json has judged another student" in refused(root, tmp_path / "out")


def test_a_chain_that_does_not_stand_on_itself_is_refused(chain, tmp_path):
    root, hashes = chain
    hashes["vae"] = write_weights(root, "vae", {}, seed=9)
    write_report(root, hashes)
    said = refused(root, tmp_path / "out")
    for stage in ("teacher", "student"):
        assert f"the {stage} was trained on another vae" in said


def test_weights_of_another_stage_are_refused(chain, tmp_path):
    root, hashes = chain
    place(root, "mouth").write_bytes(place(root, "identity").read_bytes())
    write_report(root, hashes | {"mouth": hashes["identity"]})
    assert "holds weights of stage 'identity'" in refused(root, tmp_path / "out")


def test_what_is_published_again_takes_the_place_of_the_old(chain, tmp_path):
    root, hashes = chain
    out = tmp_path / "weights"
    published(root, out)
    hashes["mouth"] = write_weights(root, "mouth", {"steps": 6}, seed=9)
    write_report(root, hashes)
    card = published(root, out)
    assert card["weights"]["mouth"]["steps"] == 6 and checkpoint.file_hash(out / "mouth.safetensors") == hashes["mouth"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain", "weights"]


def test_a_publication_that_fails_leaves_the_old_one(made, tmp_path, monkeypatch):
    out = tmp_path / "weights"
    published(made, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    copied = []

    def full(source, target):
        copied.append(source)
        if len(copied) == 5:
            raise OSError("No space left on device")
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(publish.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        published(made, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_folder_of_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="holds something else than released weights"):
        published(made, tmp_path)
    (tmp_path / "empty").mkdir()
    assert published(made, tmp_path / "empty")["format"] == 1


# Who uses them


def test_sampling_takes_the_released_weights_unless_told_otherwise(made, tmp_path, monkeypatch):
    published(made, tmp_path / "weights" / "people")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TSD_WEIGHTS", raising=False)
    cfg = config("sample")
    assert cfg.weights == config("sample", "weights=people").weights
    assert set(cfg.weights) == set(checkpoint.NETS)
    ours = checkpoint.load("weights/people/student.safetensors", "student").state_dict()
    talker = sample.load(cfg)
    assert all(torch.equal(ours[name], value) for name, value in talker.student.state_dict().items())
    monkeypatch.chdir(made)
    assert releases.folder() == Path(releases.__file__).parents[2] / "weights", "from any folder"
    monkeypatch.setenv("TSD_WEIGHTS", str(tmp_path / "weights"))
    assert sample.load(config("sample")).schedules.keys() == SCHEDULES.keys()


def test_missing_released_weights_name_the_commands_that_make_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSD_WEIGHTS", "weights")
    with pytest.raises(
        FileNotFoundError, match="no released vae weights at weights/people/vae.safetensors: `make release`"
    ) as error:
        sample.load(config("sample"))
    assert "weights=demo" in str(error.value) and "TSD_WEIGHTS" in str(error.value)
    with pytest.raises(FileNotFoundError, match="make train-student"):
        sample.load(config("sample", "weights=trained"))


@pytest.mark.parametrize("name", ["drawn", "people"])
def test_the_repositorys_own_weights_are_those_of_their_card(name):
    folder, study = REPO / "weights" / name, {"drawn": "quality", "people": "real"}[name]
    if not folder.is_dir():
        assert not (REPO / "experiments" / study / "report.json").exists(), "a report of weights that are not released"
        return
    card = json.loads((folder / releases.CARD).read_text())
    files = {path.name for path in folder.iterdir()} - {graph_files.FOLDER}
    assert files == {m["file"] for m in card["weights"].values()} | {releases.CARD}
    for stage, made_by in card["weights"].items():
        assert hashlib.sha256((folder / made_by["file"]).read_bytes()).hexdigest() == made_by["sha256"]
        checkpoint.load(folder / made_by["file"], stage)
    assert card["limits"] and card["licence"] and card["attribution"]


def test_the_repository_carries_little():
    parts = [path for folder in ("weights", "experiments") for path in (REPO / folder).rglob("*") if path.is_file()]
    heavy = [path for path in parts if path.suffix in (".safetensors", ".png", ".mp4", ".wav", ".jpg")]
    assert sum(os.path.getsize(path) for path in heavy) <= 25e6
