"""Stages as a graph: what a run stands on is found by its hash, and what no longer fits says so."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from fakes import LATENT_CHANNELS, LATENT_SIDE, awake, fake_condition
from tiny_runs import config, ground

from tsd.commands.compose import plain
from tsd.commands.train import run as train
from tsd.modules.base import ADDED_RATE
from tsd.nets.vae import OF_LATENTS
from tsd.training import run_record
from tsd.training.resume import read_checkpoint
from tsd.weights import checkpoint, needs

pytestmark = pytest.mark.untraced


@pytest.fixture
def root(tmp_path):
    return ground(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A ground with a teacher's training of two steps in ``run``."""
    root = ground(tmp_path_factory.mktemp("made"))
    train(config(root, root / "run", *TEACHER))
    return root


@pytest.fixture
def trained(made, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


TEACHER = ["stage=teacher", "trainer.max_steps=2"]


def values(root: Path, *extra: str) -> dict:
    return plain(config(root, root / "student", "stage=student", *extra))[0]


def rewritten(path: Path, stage: str, seed: int = 7, card: dict | None = None, **changed) -> str:
    """Other weights of a stage at ``path``; returns their hash."""
    header = checkpoint.read_header(path, stage)
    arguments = header["arguments"] | changed
    torch.manual_seed(seed)
    net = awake(checkpoint.NETS[stage](**arguments), seed)
    return checkpoint.save(path, stage, net, arguments, header["card"] if card is None else card)


def standing_on(root: Path) -> str:
    """A teacher whose card says that it stands on the present VAE; returns the VAE's hash."""
    vae = checkpoint.file_hash(root / "vae" / "weights.safetensors")
    rewritten(root / "teacher" / "weights.safetensors", "teacher", card={"stands_on": {"vae": vae}})
    return vae


def test_what_is_given_and_fits_is_used(root):
    standing_on(root)
    found = needs.below(values(root))
    assert found == {name: root / name / "weights.safetensors" for name in ("vae", "identity", "teacher")}


def test_the_vae_is_the_teachers_wherever_it_lies(root):
    standing_on(root)
    shutil.copytree(root / "vae", root / "older" / "vae")
    rewritten(root / "vae" / "weights.safetensors", "vae")
    assert needs.below(values(root))["vae"] == root / "older" / "vae" / "weights.safetensors"


def test_a_changed_vae_invalidates_what_stands_on_it(root):
    old = standing_on(root)
    new = rewritten(root / "vae" / "weights.safetensors", "vae")
    with pytest.raises(ValueError, match=f"is {new}, but the teacher was trained on {old}.*make train-teacher"):
        needs.below(values(root))


def test_a_teacher_of_another_size_is_passed_over_for_one_that_fits(root):
    shutil.copytree(root / "teacher", root / "sweeps" / "a" / "teacher")
    rewritten(root / "teacher" / "weights.safetensors", "teacher", channels=[16, 16])
    assert needs.below(values(root))["teacher"] == root / "sweeps" / "a" / "teacher" / "weights.safetensors"
    shutil.rmtree(root / "sweeps")
    with pytest.raises(
        ValueError, match=r"has channels \[16, 16\], but model.teacher.channels is \[8, 8\].*train-teacher"
    ):
        needs.below(values(root))


def test_what_is_missing_names_the_command_that_makes_it(root):
    for stage in ("teacher", "vae"):
        (root / stage / "weights.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=f"make train-{stage}"):
            needs.below(values(root))


def test_an_embedder_is_needed_only_where_its_loss_is(root):
    (root / "identity" / "weights.safetensors").unlink()
    assert "identity" not in needs.below(values(root, "loss=no_identity"))
    with pytest.raises(FileNotFoundError, match="make train-identity"):
        needs.below(values(root))


LISTENING = ["loss=with_sync", "model.sync.channels=8", "model.sync.dim=8", "model.sync.field=3"]


def expert(root: Path, stage: str, people: str, data: str = "a") -> Path:
    """Weights of a sync expert that learned from ``people``."""
    path = root / stage / "weights.safetensors"
    arguments = {"dim": 8, "channels": 8, "field": 3}
    torch.manual_seed(len(stage))
    card = {"people": people, "run": {"data": data}}
    checkpoint.save(path, stage, checkpoint.NETS[stage](**arguments), arguments, card)
    return path


def listening(root: Path, **weights) -> list[str]:
    given = {name: root / name / "weights.safetensors" for name in ("sync", "sync_loss")} | weights
    return [*LISTENING, *(f"weights.{name}={path}" for name, path in given.items())]


def test_a_sync_expert_is_needed_only_where_its_loss_is(root):
    assert "sync_loss" not in needs.below(values(root))
    with pytest.raises(FileNotFoundError, match="make train-sync_loss"):
        needs.below(values(root, *listening(root)))
    made = expert(root, "sync_loss", "odd")
    assert needs.below(values(root, *listening(root)))["sync_loss"] == made


def test_the_expert_that_measures_may_not_teach(root):
    taught, measured = expert(root, "sync_loss", "odd"), expert(root, "sync", "even")
    assert needs.not_apart(taught, measured) == "" == needs.not_apart(taught, None)
    with pytest.raises(ValueError, match="weights.sync_loss=.*: is weights.sync too"):
        train(config(root, root / "run", "stage=teacher", *listening(root, sync_loss=measured)))
    with pytest.raises(ValueError, match="holds weights of stage 'sync', but stage 'sync_loss' is needed"):
        needs.below(values(root, *listening(root, sync_loss=measured, sync=taught)))
    shutil.copy(taught, root / "copy.safetensors")
    with pytest.raises(ValueError, match="is weights.sync, which evaluation measures with"):
        needs.below(values(root, *listening(root, sync=root / "copy.safetensors")))


@pytest.mark.parametrize(("taught", "measured"), [("even", "even"), ("all", "even"), ("odd", "all")])
def test_two_experts_that_know_the_same_people_are_not_apart(root, taught, measured):
    files = expert(root, "sync_loss", taught), expert(root, "sync", measured)
    with pytest.raises(
        ValueError, match=f"learned from {taught} people and .* from {measured}: train them on different"
    ):
        needs.below(values(root, *listening(root)))
    expert(root, "sync", measured, data="another corpus")
    assert needs.not_apart(*files) == ""


def test_a_teacher_listens_and_its_card_says_to_whom(root):
    made = expert(root, "sync_loss", "odd")
    weights = train(config(root, root / "run", "stage=teacher", "trainer.max_steps=1", *listening(root)))
    card = checkpoint.read_header(weights)["card"]
    assert card["stands_on"]["sync_loss"] == checkpoint.file_hash(made) and card["people"] == "all"
    assert card["metrics"]["train/sync"] > 0 and card["loss"]["sync"] > 0


def test_run_directories_say_what_they_hold(made):
    run, card = (
        json.loads((made / "run" / "run.json").read_text()),
        checkpoint.read_header(made / "run" / "weights.safetensors")["card"],
    )
    assert run["stage"] == "teacher" and card["run"] == {key: run[key] for key in ("hash", "config", "data")}
    hashes = {name: checkpoint.file_hash(made / name / "weights.safetensors") for name in ("vae", "identity")}
    assert {name: stage["hash"] for name, stage in run["stands_on"].items()} == hashes == card["stands_on"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lr=0.5", r"optimizer\.lr is 0\.5 and was 0\.002"),
        ("loss=no_temporal", r"loss\.temporal is 0\.0 and was 0\.05"),
        ("seed=3", "seed is 3 and was 0"),
    ],
)
def test_another_configuration_never_goes_into_the_same_folder(made, override, words):
    weights = made / "run" / "weights.safetensors"
    before = weights.read_bytes()
    with pytest.raises(ValueError, match=rf"holds another run: .*{words}.*overwrite=true"):
        train(config(made, made / "run", *TEACHER, override))
    assert weights.read_bytes() == before


def test_another_configuration_goes_there_where_that_is_asked(trained):
    weights = trained / "run" / "weights.safetensors"
    before = weights.read_bytes()
    assert train(config(trained, trained / "run", *TEACHER, "seed=3", "overwrite=true")) == weights
    assert weights.read_bytes() != before


def test_where_and_how_fast_may_change(trained):
    before = (trained / "run" / "weights.safetensors").stat().st_mtime_ns
    (trained / "corpus").rename(trained / "moved")
    moved = ["data.num_workers=1", "logger=none", f"data.root={trained / 'moved'}", "data.cache_mb=10"]
    assert train(config(trained, trained / "run", *TEACHER, *moved)).stat().st_mtime_ns == before


def test_a_term_of_weight_0_is_as_good_as_none(root):
    config, without = values(root), values(root)
    del without["loss"]["eyes"]
    assert config["loss"]["eyes"] == 0 and config["loss"]["picture"] > 0
    assert run_record.describe(config, {})["hash"] == run_record.describe(without, {})["hash"]
    without["loss"]["picture"] = 0.0
    assert run_record.describe(config, {})["hash"] != run_record.describe(without, {})["hash"]


def test_what_another_stage_weighs_is_no_matter(root):
    def described(*overrides):
        return run_record.describe(plain(config(root, root / "run", *overrides))[0], {})["hash"]

    assert described("stage=vae") == described("stage=vae", "loss=no_picture", "steps=k1")
    assert described("stage=mouth") == described("stage=mouth", "loss.reconstruction=3")
    assert described("stage=vae") != described("stage=vae", "loss.kl=1e-3")
    assert described("stage=teacher") == described("stage=teacher", "loss.energy=3")
    assert described("stage=student") != described("stage=student", "loss.energy=3")
    assert described("stage=student") != described("stage=student", "steps=k1")


def test_other_data_or_another_vae_below_is_told(trained):
    root, cfg = trained, config(trained, trained / "run", *TEACHER)
    manifest = root / "corpus" / "manifests" / "lrs3_train.jsonl"
    lines = manifest.read_text()
    manifest.write_text(lines.replace("LAY", "SET", 1))
    with pytest.raises(ValueError, match="the data .manifests. are others"):
        train(cfg)
    manifest.write_text(lines)
    rewritten(root / "vae" / "weights.safetensors", "vae")
    with pytest.raises(ValueError, match="holds another run: the vae is .* and was"):
        train(cfg)


def test_records_that_are_none_are_ignored(tmp_path):
    for text in ("", "[]", "{", '{"hash": null}'):
        (tmp_path / "run.json").write_text(text)
        run_record.check_same(tmp_path, {"hash": "a", "stands_on": {}, "values": {}})


def test_a_training_goes_on_from_the_net_it_is_given(root):
    start = root / "teacher" / "weights.safetensors"
    still = ["stage=teacher", "trainer.max_steps=1", "optimizer.lr=1e-12", "callbacks.ema=null", f"init={start}"]
    weights = train(config(root, root / "run", *still))
    before, after = checkpoint.load(start, "teacher").state_dict(), checkpoint.load(weights, "teacher").state_dict()
    assert all(torch.allclose(after[name], value, atol=1e-6) for name, value in before.items())
    assert checkpoint.read_header(weights)["card"]["stands_on"]["init"] == checkpoint.file_hash(start)
    rewritten(start, "teacher")
    with pytest.raises(ValueError, match="holds another run: the init is .* and was"):
        train(config(root, root / "run", *still))


def test_a_key_that_came_later_and_is_null_makes_no_other_run(tmp_path):
    before = {"hash": "a", "data": "d", "stands_on": {}, "values": {"seed": 0}}
    run_record.update(tmp_path, **before)
    run_record.check_same(tmp_path, before | {"hash": "b", "values": {"seed": 0, "stage.module.shared_from": None}})
    with pytest.raises(ValueError, match="stage.module.shared_from is 5 and was null"):
        run_record.check_same(tmp_path, before | {"hash": "b", "values": {"seed": 0, "stage.module.shared_from": 5}})
    run_record.update(tmp_path, stands_on={"teacher": {"hash": "t"}})
    with pytest.raises(ValueError, match="the teacher is not used and was"):
        run_record.check_same(tmp_path, before | {"hash": "b"})


def test_a_student_goes_on_without_a_teacher_and_with_parts_that_it_did_not_have(root):
    """Which begin without effect; that it learns is another test's business."""
    start = root / "student" / "weights.safetensors"
    (root / "teacher" / "weights.safetensors").unlink()
    added = ["model.student.eye_shapes=2", "model.student.mean_reaches=[1,2]"]
    still = ["stage=student", "loss=no_teacher", "trainer.max_steps=1", "optimizer.lr=1e-12", "callbacks.ema=null"]
    weights = train(config(root, root / "run", *still, *added, f"init={start}"))
    before, after = checkpoint.load(start, "student"), checkpoint.load(weights, "student")
    new = {name.split(".")[0] for name in after.state_dict().keys() - before.state_dict().keys()}
    assert new == {"enter_means", "eye_shapes", "to_eye_shares", "to_mean_gains"}
    optimizer = read_checkpoint(weights.parent / "checkpoints" / "last.ckpt")["optimizer_states"][0]
    assert [group["initial_lr"] for group in optimizer["param_groups"]] == pytest.approx([1e-12, ADDED_RATE * 1e-12])
    z_s, condition = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), fake_condition()
    with torch.no_grad():
        torch.testing.assert_close(*(net(z_s, torch.tensor([0.5, 3.0]), condition) for net in (before, after)))
    assert "teacher" not in checkpoint.read_header(weights)["card"]["stands_on"]
    with pytest.raises(FileNotFoundError, match="no teacher weights at"):
        train(config(root, root / "other", "stage=student", "trainer.max_steps=2"))


def test_a_decoder_of_another_size_is_trained_on_latents_that_stay(root):
    """So the student of the first VAE, and the teacher's training, take the second."""
    first, known = root / "vae" / "weights.safetensors", standing_on(root)
    sizes = ["+model.vae.decoder_channels=[8,8,16]", "model.resolution=64", "model.vae.resolution=64"]
    alone = ["stage=vae", "stage.module.decoder_only=true", "trainer.max_steps=1", *sizes, "data.resolution=64"]
    with pytest.raises(ValueError, match="stage.module.decoder_only=true: needs init="):
        train(config(root, root / "run", *alone))
    with pytest.raises(ValueError, match="stage.module.taught=true: init paints 32 pixels, model.vae 64"):
        train(config(root, root / "taught", *alone, "stage.module.taught=true", f"init={first}"))
    weights = train(config(root, root / "run", *alone, "stored=float16", f"init={first}"))
    before, after = checkpoint.load(first, "vae").state_dict(), checkpoint.load(weights, "vae").state_dict()
    for name in (name for name in before if name.startswith(OF_LATENTS)):
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-4)
    assert checkpoint.read_header(weights)["card"]["latents_of"] == known
    found = needs.below(values(root, *sizes, f"weights.vae={weights}"))
    assert found["vae"] == weights
    with pytest.raises(ValueError, match=r"has channels \[8, 16\], but .* \[8, 8\]: a decoder alone is trained on"):
        train(config(root, root / "other", *alone, "model.vae.channels=[8,8]", f"init={first}"))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("vae/weights.safetensors", ValueError, "holds weights of stage 'vae', but stage 'teacher' is needed here"),
        ("none.safetensors", FileNotFoundError, "no teacher weights at .*none.safetensors"),
        ("small.safetensors", ValueError, r"init=.*has channels \[16, 16\], but model.teacher.channels is \[8, 8\]"),
    ],
)
def test_a_net_that_cannot_go_on_is_refused(root, given, error, words):
    shutil.copy(root / "teacher" / "weights.safetensors", root / "small.safetensors")
    rewritten(root / "small.safetensors", "teacher", channels=[16, 16])
    with pytest.raises(error, match=words):
        train(config(root, root / "run", "stage=teacher", f"init={root / given}"))
    assert not (root / "run" / "run.json").exists()
