"""The whole chain in miniature, through the functions that the commands run: corpus, every stage, sample, report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import run_here
from compositions import quickly_composed
from fakes import CONF
from finished import write_weights
from omegaconf import DictConfig
from PIL import Image

from tsd.commands import chain as recipe
from tsd.commands import sample, train
from tsd.commands.compose import composed, override, plain
from tsd.media.audio import load_audio
from tsd.media.video import video_info
from tsd.training import check
from tsd.weights import checkpoint
from tsd.weights.releases import CARD

STAGES = ("visemes", "vae", "identity", "mouth", "teacher", "student")
RECIPES = sorted(path.stem for path in (CONF / "chain").glob("*.yaml"))
STEPS, FRAMES = 2, 50
SMALL = [
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=2",
    "trainer.limit_val_batches=1",
    "trainer.enable_progress_bar=false",
    "trainer.precision=32-true",
    "model.resolution=32",
    "model.vae.latent_channels=4",
    "model.vae.channels=[16,16]",
    "model.vae.decoder_blocks=1",
    "model.visemes.channels=16",
    "model.visemes.blocks=2",
    "model.identity.channels=8",
    "model.mouth.channels=8",
    "model.teacher.channels=[16,16]",
    "model.teacher.latent_size=8",
    "model.student.channels=[8,8]",
    "model.student.latent_size=8",
    "data.windows_per_clip=1",
    "data.batch_size=3",
]
REPORTED = (
    "generate.k2.mouth_r",
    "generate.k2.mouth_r_shuffled",
    "generate.k2.id_ratio_end",
    "generate.k2.sharpness_ratio_end",
    "real.mouth_r",
    "denoise.student.k2.psnr_gain_db",
    "denoise.teacher.psnr_gain_db",
    "clips",
    *(f"seconds.{step}" for step in ("corpus", *STAGES, "sample")),
)


@pytest.fixture
def calls(monkeypatch):
    """What a chain calls instead of the commands: [(command, its configuration)]. No work is done, and only the files
    appear that a chain looks for."""
    made = []

    def call(command: str, overrides: list[str]) -> Path | None:
        cfg = quickly_composed(command, overrides)
        made.append((command, cfg))
        if command == "prepare":
            (Path(cfg.root) / "manifests").mkdir(parents=True)
            (Path(cfg.root) / "manifests" / "motion.safetensors").touch()
        return Path(cfg.out) / "weights.safetensors" if command == "train" else None

    monkeypatch.setattr(recipe, "call", call)
    return made


def miniature(out: Path, *more: str) -> DictConfig:
    """The demo with 6 people who speak for 2 seconds, and nets that fit a thimble.

    They are drawn and prepared in this process: others would import for half a minute what they need for a second.
    """
    cfg = quickly_composed("chain/demo", [f"out={out}", "threads=1", *more])
    people = [
        "source.num_identities=6",
        "source.clips_per_identity=1",
        f"source.seconds={FRAMES / 25}",
        "source.size=80",
    ]
    cfg.corpora.corpus = ["source=synthetic", *people, "val_ratio=0.17", "test_ratio=0.34", "workers=0"]
    cfg.overrides, cfg.evaluate = SMALL, ["schedules=[k1,k2]"]
    return cfg


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> recipe.Chain:
    cfg = miniature(tmp_path_factory.mktemp("chain") / "demo")
    recipe.run(cfg)
    return recipe.Chain(cfg)


def at(report: dict, path: str):
    for key in path.split("."):
        report = report[key]
    return report


def no_constants(name: str):
    raise ValueError(f"{name} is not JSON")


# What the chain leaves behind


def test_every_stage_left_weights_that_say_what_they_stand_on(chain):
    hashes = {stage: checkpoint.file_hash(chain.weights(stage)) for stage in STAGES}
    for stage in STAGES:
        net, card = checkpoint.load(chain.weights(stage), stage), checkpoint.read_header(chain.weights(stage))["card"]
        assert all(value.isfinite().all() for value in net.state_dict().values())
        assert card["steps"] == STEPS and "val/total" in card["metrics"]
        stands_on = {"teacher": ["identity", "vae"], "student": ["identity", "teacher", "vae"]}.get(stage, [])
        assert card["stands_on"] == {name: hashes[name] for name in stands_on}
    schedules = checkpoint.read_header(chain.weights("student"))["card"]["schedules"]
    assert {name: len(strengths) for name, strengths in schedules.items()} == {"k1": 1, "k2": 2, "k4": 4, "k8": 8}


def test_checkpoints_hold_plain_values_and_the_trained_net_only(chain):
    for name in ("best", "last"):
        path = chain.out / "student" / "checkpoints" / f"{name}.ckpt"
        if name == "best" or path.exists():
            held = torch.load(path, weights_only=True)
            assert {key.split(".")[0] for key in held["state_dict"]} == {"net"}
            assert held["config"]["stage"]["name"] == "student" and held["config"]["trainer"]["max_steps"] == STEPS


def test_training_moved_the_weights(chain):
    arguments = checkpoint.read_header(chain.weights("mouth"))["arguments"]
    torch.manual_seed(0)
    trained, fresh = checkpoint.load(chain.weights("mouth"), "mouth"), checkpoint.NETS["mouth"](**arguments)
    assert all(not torch.equal(a, b) for a, b in zip(trained.parameters(), fresh.parameters(), strict=True))


def test_the_sample_is_in_step_with_the_speech(chain, tmp_path):
    video, sound = chain.out / "sample.mp4", load_audio(chain.out / "speech.wav")
    info = video_info(video)
    assert info.num_frames == -(-len(sound) // 640) and info.fps == 25 and info.has_audio
    assert Image.open(chain.out / "reference.png").size == (info.width, info.height), "the photograph's own size"
    heard = load_audio(video)[: len(sound)]
    assert np.corrcoef(heard, sound[: len(heard)])[0, 1] > 0.9


def test_the_report_has_every_number_that_is_promised(chain):
    report = json.loads((chain.out / "report.json").read_text(), parse_constant=no_constants)
    for path in REPORTED:
        assert isinstance(at(report, path), int | float) and not isinstance(at(report, path), bool), path
    assert report["clips"] == 2 and (chain.out / "report.md").read_text()
    assert Image.open(chain.out / "sheet.png").size[0] > 32
    assert not [path for path in chain.out.rglob("*") if path.name.endswith(".part") or path.name.startswith(".part")]


def test_what_is_done_is_not_done_again(chain, capsys, calls):
    before = {path: path.stat().st_mtime_ns for path in chain.out.rglob("*") if path.is_file()}
    recipe.run(miniature(chain.out))
    assert not calls and {path: path.stat().st_mtime_ns for path in before} == before
    assert str(chain.out / "sample.mp4") in capsys.readouterr().out


def test_a_chain_goes_on_from_others(tmp_path, calls):
    """The recipe real: joined corpora; a student that starts from the first folder that has one, a recogniser that
    starts from another file and learns from recorded people alone; and what measures copied from the second folder."""
    first, second, out = tmp_path / "it's a release", tmp_path / "drawn", tmp_path / "real"
    for stage in ("vae", "student"):
        write_weights(first, stage, {})
    for stage in ("sync", "visemes", "vae", "identity", "mouth", "student"):
        write_weights(second, stage, {})
    starts = f"start=['{str(first).replace(chr(39), chr(92) + chr(39))}','{second}']"
    films = override("videos", 'it\'s $(films) "a";')
    cfg = composed("chain/real", [f"out={out}", starts, films, f"recogniser={second}/visemes/weights.safetensors"])
    (second / "identity" / "weights.safetensors").rename(tmp_path / "identity")
    with pytest.raises(ValueError, match="no identity weights at"):
        recipe.run(cfg)
    assert calls == [], "what is missing is said before a corpus is made"
    (tmp_path / "identity").rename(second / "identity" / "weights.safetensors")
    cfg.only = [step.name for step in recipe.Chain(cfg).steps() if step.name not in ("sample", "evaluate")]
    recipe.run(cfg)
    prepared = [Path(cfg.root).relative_to(out) for command, cfg in calls if command == "prepare"]
    assert [str(root) for root in prepared] == ["corpus/people", "corpus/drawn", "corpus"]
    assert calls[0][1].videos == 'it\'s $(films) "a";' and list(calls[2][1].join) == ["people", "drawn"]
    assert calls[0][1].clips.landmarks == "installed"
    recogniser, student = (cfg for command, cfg in calls if command == "train")
    assert recogniser.data.root == str(out / "corpus" / "people") and student.data.root == str(out / "corpus")
    assert recogniser.init == f"{second}/visemes/weights.safetensors" and recogniser.model.visemes.lips
    assert student.init == str(first / "student" / "weights.safetensors") and student.data.hears == "visemes_lips"
    assert calls[-1][0] == "schedules" and calls[-1][1].data.root == str(out / "corpus")
    for stage, start in {"vae": first, "sync": second, "identity": second, "mouth": second}.items():
        copied, given = (folder / stage / "weights.safetensors" for folder in (out, start))
        assert copied.read_bytes() == given.read_bytes()
    with pytest.raises(FileNotFoundError):  # nobody has made clips
        recipe.Chain(cfg).held_out()
    recipe.Chain(cfg).out.joinpath("report.json").write_text("{}")
    recipe.Chain(cfg).evaluate()
    judged = calls[-1][1]
    assert judged.data.root == str(out / "corpus" / "people") and judged.control_clips == 6
    assert judged.weights.mouth == str(out / "mouth" / "weights.safetensors") and judged.weights.teacher is None


def test_recordings_are_asked_for_in_one_sentence(tmp_path):
    for videos in ("null", "''"):
        with pytest.raises(ValueError, match="^videos=<folder> is missing: VIDEOS=<folder> of make"):
            recipe.check(composed("chain/real", [f"out={tmp_path}", f"videos={videos}"]))


def test_only_the_steps_that_are_named_are_done(tmp_path, calls, capsys):
    recipe.run(miniature(tmp_path, "only=[vae,corpus]"))
    assert [command for command, _ in calls] == ["prepare", "train"] and calls[1][1].stage.name == "vae"
    assert capsys.readouterr().out == "", "there is no report to print"
    with pytest.raises(ValueError, match="only=vea: must be some of corpus, visemes, vae"):
        recipe.run(miniature(tmp_path, "only=[vea]"))


def test_released_weights_go_on_in_the_stages_that_are_named(tmp_path, calls):
    """From a folder of released weights; the others start from random ones."""
    start = tmp_path / "drawn"
    start.mkdir()
    for stage in ("vae", "mouth"):
        (start / f"{stage}.safetensors").touch()
    (start / CARD).write_text(json.dumps({"seconds": {"vae": 1200.5, "teacher": 2000}}))
    cfg = composed("chain/release", [f"out={tmp_path / 'out'}", f"start={start}", "goes_on=[vae]"])
    chain = recipe.Chain(cfg)
    for stage in ("vae", "teacher"):
        chain.train(stage)
    assert [cfg.init for _, cfg in calls] == [str(start / "vae.safetensors"), None]
    assert chain.begun("mouth") == start / "mouth.safetensors"
    assert chain.seconds == {"vae": 1200.5}  # what the VAE took before counts


def test_a_student_on_a_gpu_asks_no_teacher_and_then_goes_on_below_the_new_one(tmp_path, calls):
    """The recipe longer: both can be trained side by side; the last phase, on two cores, stands on the new teacher."""
    chain = recipe.Chain(composed("chain/longer", [f"out={tmp_path}", "start=before"]))
    for stage in chain.cfg.stages:
        chain.train(stage)
    ours = str(tmp_path / "teacher" / "weights.safetensors")
    trained = [
        (Path(cfg.out).name, cfg.weights.teacher, cfg.loss.distill, cfg.trainer.accelerator, cfg.data.batch_size)
        for _, cfg in calls
    ]
    assert trained == [
        ("teacher", ours, 1, "gpu", 64),
        ("student_1", None, 0, "gpu", 64),
        ("student", ours, 1, "cpu", 4),
    ]
    assert [cfg.callbacks.compile is None for _, cfg in calls] == [False, False, True]
    assert [cfg.data.root for _, cfg in calls] == [str(tmp_path / "corpus")] * 2 + ["before/corpus"]


def test_a_stage_of_several_phases_goes_on_from_each(tmp_path, calls):
    """Each in a folder of its own, the last in the stage's; with its own overrides and those of all trainings."""
    recipe.Chain(composed("chain/release", [f"out={tmp_path}", "overrides=['seed=4']"])).train("student")
    trained = [
        (Path(cfg.out).name, cfg.init and Path(cfg.init).parent.name, cfg.trainer.max_steps, cfg.loss.sync, cfg.seed)
        for _, cfg in calls
    ]
    assert trained == [
        ("student_1", None, 2200, 0, 4),
        ("student_2", "student_1", 1600, 0.01, 4),
        ("student_3", "student_2", 1600, 0.01, 4),
        ("student", "student_3", 2500, 0.02, 4),
    ]


def faults(calls: list) -> list[str]:
    return [fault for _, cfg in calls for fault in check.faults(*plain(cfg))]


@pytest.mark.parametrize("name", RECIPES)
def test_every_training_of_every_recipe_is_without_faults(name, tmp_path, calls):
    cfg = quickly_composed(f"chain/{name}", [f"out={tmp_path}"])
    for stage in cfg.stages:
        recipe.Chain(cfg).train(stage)
    assert len(calls) >= len(cfg.stages) and faults(calls) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "release"])  # which trains all that there are
def test_so_are_those_of_stages_that_somebody_adds(name, tmp_path, calls):
    """What a recipe, or the one that it starts from, says of stages that it does not train."""
    cfg = quickly_composed(f"chain/{name}", [f"out={tmp_path}"])
    for stage in {*cfg.train} - {"common", *cfg.stages}:
        recipe.Chain(cfg).train(stage)
    assert calls and faults(calls) == []


# Single commands on top of it


def stage_config(chain: recipe.Chain, stage: str, out: Path, *extra: str):
    arguments = [f"out={out}", f"data.root={chain.out / 'corpus'}", *chain.overrides("vae", "identity", "teacher")]
    return quickly_composed("train", [*chain.cfg.train.common, f"stage={stage}", *arguments, *SMALL, *extra])


@pytest.mark.parametrize("stage", [pytest.param("mouth", marks=pytest.mark.slow), "student"])
def test_the_same_seed_trains_the_same_weights(chain, tmp_path, stage):
    first = checkpoint.load(chain.weights(stage), stage).state_dict()
    cached = [f"data.latents={chain.out / 'latents'}"] if stage == "student" else []
    again = checkpoint.load(train.run(stage_config(chain, stage, tmp_path / "again", *cached)), stage).state_dict()
    other_seed = stage_config(chain, stage, tmp_path / "other", "seed=1", *cached)
    other = checkpoint.load(train.run(other_seed), stage).state_dict()
    made = [
        json.loads((folder / "run.json").read_text())["values"] for folder in (chain.out / stage, tmp_path / "again")
    ]
    assert made[0] == made[1]
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert any(not torch.equal(other[name], value) for name, value in first.items())


def test_overwrite_trains_again_and_finished_runs_are_kept(chain, tmp_path):
    weights = train.run(stage_config(chain, "identity", tmp_path))
    made = weights.stat().st_mtime_ns
    assert train.run(stage_config(chain, "identity", tmp_path)).stat().st_mtime_ns == made
    assert train.run(stage_config(chain, "identity", tmp_path, "overwrite=true")).stat().st_mtime_ns > made


def sample_arguments(chain: recipe.Chain, out: Path, *extra: str) -> list[str]:
    weights = chain.overrides("vae", "visemes", "student", "motion")
    files = [f"reference={chain.out / 'reference.png'}", f"audio={chain.out / 'speech.wav'}"]
    return [*files, *weights, f"out={out}", *extra]


def test_latents_decoded_later_are_the_same_frames(chain, tmp_path):
    e1 = sample.run(
        quickly_composed("sample", sample_arguments(chain, tmp_path, "png=true", "name=e1", "consent=She agreed."))
    )
    e2 = sample.run(
        quickly_composed("sample", sample_arguments(chain, tmp_path, "mode=e2", "name=e2", "consent=She agreed."))
    )
    assert sorted(path.name for path in e2.iterdir()) == ["latents.npz", "sample.json"]
    later = [f"latents={e2 / 'latents.npz'}", "mode=decode", "png=true", "name=later"]
    decoded = sample.run(quickly_composed("sample", sample_arguments(chain, tmp_path, *later)))
    for path in sorted((e1 / "frames").iterdir()):
        frames = [np.asarray(Image.open(folder / "frames" / path.name)) for folder in (e1, decoded)]
        assert np.array_equal(*frames), "the files differ in the time of their manifests"
    said = [json.loads((folder / "sample.json").read_text()) for folder in (e1, decoded)]
    for key in ("mark", "weights", "consent"):
        assert said[0][key] == said[1][key] and said[0][key], key


@pytest.mark.parametrize(
    ("start", "motion"),
    [
        ("noise", "natural"),
        ("reference", "still"),
        pytest.param("noise", "still", marks=pytest.mark.slow),
        pytest.param("reference", "natural", marks=pytest.mark.slow),
    ],
)
def test_every_start_and_motion_speaks(chain, tmp_path, start, motion):
    arguments = sample_arguments(chain, tmp_path, "mode=e2", "steps=k1", f"start={start}", f"motion={motion}", "name=x")
    z = np.load(sample.run(quickly_composed("sample", arguments)) / "latents.npz")["latents"]
    assert z.shape == (FRAMES, 4, 8, 8) and z.dtype == np.float32 and np.isfinite(z).all()


# Mistakes: one clear line, an exit code, nothing half-written


def test_stages_say_what_to_run_first(tmp_path, monkeypatch, capsys):
    for stage, first in (("teacher", "make train-vae"), ("vae", "tsd.commands.prepare")):
        code, message = run_here("train", monkeypatch, capsys, tmp_path, f"stage={stage}", "logger=none")
        assert code == 2 and first in message and message.count("\n") == 1, message
        assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_of_another_stage_are_refused_by_name(chain, tmp_path, monkeypatch, capsys):
    arguments = sample_arguments(chain, tmp_path / "out", f"weights.student={chain.weights('teacher')}")
    code, message = run_here("sample", monkeypatch, capsys, tmp_path, *arguments)
    assert code == 2 and "holds weights of stage 'teacher', but stage 'student' is needed" in message
    code, message = run_here("evaluate", monkeypatch, capsys, tmp_path, f"weights.vae={chain.weights('mouth')}")
    assert code == 2 and "holds weights of stage 'mouth', but stage 'vae' is needed" in message
    assert not list(tmp_path.rglob("sample.mp4")) and not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("steps.strengths=[80,4,1]", "steps=k3: the student's weights hold no such schedule; they hold k1, k2, k4, k8"),
        ("reference=null", "reference=<file> is missing"),
        ("audio=nowhere.wav", "audio=nowhere.wav: no such file"),
        ("mode=e3", "mode=e3: must be one of e1, e2, decode"),
        ("weights.visemes=none.safetensors", "make train-visemes"),
        ("motion=wild", "motion=wild: must be one of natural, still"),
    ],
)
def test_mistakes_of_sample_are_one_line(chain, tmp_path, monkeypatch, capsys, argument, words):
    code, message = run_here(
        "sample", monkeypatch, capsys, tmp_path, *sample_arguments(chain, tmp_path / "out", argument)
    )
    assert code == 2 and words in message and message.count("\n") == 1, message
    assert not list((tmp_path / "out").rglob("*.*")) or not list((tmp_path / "out").rglob("sample.mp4"))


def test_steps_nobody_defined_are_refused_with_those_there_are(tmp_path, monkeypatch, capsys):
    code, message = run_here("sample", monkeypatch, capsys, tmp_path, "steps=k3")
    assert (code, message) == (2, "error: steps=k3: must be one of k1, k2, k4, k8\n")


def test_a_folder_that_holds_something_else_is_left_alone(chain, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    arguments = sample_arguments(chain, tmp_path, "mode=e2", "name=mine")
    code, message = run_here("sample", monkeypatch, capsys, tmp_path, *arguments)
    assert code == 2 and "holds something else" in message and (tmp_path / "mine" / "diary.txt").exists()
    assert not list(tmp_path.glob(".part*"))


@pytest.mark.parametrize(
    "command",
    ["train", "chain", *(pytest.param(command, marks=pytest.mark.slow) for command in ("sample", "evaluate"))],
)
def test_unknown_keys_end_every_command(tmp_path, monkeypatch, capsys, command):
    code, message = run_here(command, monkeypatch, capsys, tmp_path, "no_such_key=1")
    assert code != 0 and "no_such_key" in message


def test_latents_that_are_none_are_refused(chain, tmp_path, monkeypatch, capsys):
    (tmp_path / "text.npz").write_text("not an array")
    arguments = ["mode=decode", f"latents={tmp_path / 'text.npz'}", f"weights.vae={chain.weights('vae')}", "name=x"]
    code, message = run_here("sample", monkeypatch, capsys, tmp_path, *arguments)
    assert code == 2 and "text.npz" in message and message.count("\n") == 1, message
    assert not list(tmp_path.rglob("sample.mp4"))
