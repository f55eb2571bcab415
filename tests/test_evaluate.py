"""From rows to a report, and the whole evaluation of a tiny chain on a tiny corpus."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from fakes import CONF, LATENT_CHANNELS, LATENT_SIDE, SIDE, awake
from hydra import compose, initialize_config_dir
from mini_corpus import disc_frames, motion_of
from omegaconf import DictConfig
from PIL import Image
from safetensors.torch import save_file

from tsd.commands import evaluate
from tsd.diffusion import many_steps
from tsd.evaluation import loading
from tsd.evaluation.clips import Instruments, choice, judge
from tsd.evaluation.report import (
    NOT_USABLE,
    RATIOS,
    add_frechet,
    number,
    sheet,
    summarise_rows,
    table,
    to_json,
    verdicts,
)
from tsd.media.video import write_video
from tsd.metrics import frechet_distance, gaussian
from tsd.nets.denoiser import Denoiser
from tsd.nets.identity import IdentityNet
from tsd.nets.lipreader import LipReader
from tsd.nets.motion import MotionBank
from tsd.nets.mouth import MouthNet
from tsd.nets.sync import SyncNet
from tsd.nets.vae import VAE
from tsd.nets.visemes import VisemeNet
from tsd.prepare.manifests import write_manifests
from tsd.weights import checkpoint


def test_statistics_are_ratios_of_means_and_count_what_is_missing():
    clips = [
        {"recon": {"temporal_l1": 1.0}, "k": {"temporal_l1": 2.0, "sharpness_end": 3.0, "sharpness_start": 4.0}},
        {"recon": {"temporal_l1": 3.0}, "k": {"temporal_l1": 6.0, "sharpness_end": 3.0, "sharpness_start": 8.0}},
        {"recon": {"temporal_l1": 9.0}},
        {"recon": {"temporal_l1": 3.0}, "k": {"temporal_l1": math.nan}},
    ]
    statistics = summarise_rows(clips)
    assert statistics["recon"]["temporal_l1"]["n"] == 4 and statistics["recon"]["temporal_l1_ratio"]["mean"] == 1
    assert (statistics["k"]["temporal_l1"]["n"], statistics["k"]["temporal_l1"]["left_out"]) == (2, 1)
    assert statistics["k"]["temporal_l1_ratio"]["mean"] == 2 and statistics["k"]["sharpness_ratio_end"]["mean"] == 0.5
    assert math.isnan(statistics["k"].pop("sharpness_end_to_recon")["mean"]), "no such column in recon"
    assert set(RATIOS) & set(statistics["k"]) == {"temporal_l1_ratio", "sharpness_ratio_end"}


def test_numbers_as_people_read_them():
    values = {"psnr_db": 25.714, "fps": 174.93, "mouth_r": 0.9514, "id_ratio_end": 1.0, "temporal_l1": math.nan}
    assert [number(*item) for item in values.items()] == ["25.71", "175", "0.951", "1.00", "–"]


def paired(count: int, **columns) -> list[dict]:
    """Clips with the rows real and shifted, whose mouth_r is drawn around the given means."""
    rng = np.random.default_rng(0)
    return [{row: {"mouth_r": mean + rng.normal(0, 0.05)} for row, mean in columns.items()} for _ in range(count)]


def test_a_metric_that_does_not_rank_its_controls_is_not_usable():
    good = verdicts(paired(20, real=0.9, shifted=0.2), {})["mouth_r"]
    assert good["usable"] and [check["expected"] for check in good["checks"]] == ["real > shifted"]
    check = good["checks"][0]
    assert check["n"] == 20 and check["low"] < check["difference"] < check["high"] and check["holds"]
    assert not verdicts(paired(20, real=0.2, shifted=0.9), {})["mouth_r"]["usable"]
    undecided = [{"real": {"mouth_r": 0.9 + 0.1 * (-1) ** i}, "shifted": {"mouth_r": 0.89}} for i in range(20)]
    unsure = verdicts(undecided, {})["mouth_r"]["checks"][0]
    assert not unsure["holds"] and unsure["low"] < 0 < unsure["difference"]
    assert verdicts(paired(1, real=0.9, shifted=0.2), {})["mouth_r"]["usable"], "one clip has no interval"
    assert verdicts(paired(20, real=0.9), {}) == {}, "nothing to compare with"
    frozen = [clip | {"frozen": {"mouth_r": 0.0}} for clip in paired(20, real=0.9)]
    assert verdicts(frozen, {})["mouth_r"]["usable"]
    frozen[3]["frozen"]["mouth_r"] = 0.1
    assert not verdicts(frozen, {})["mouth_r"]["usable"], "equal means equal in every clip"


def test_offsets_are_near_on_nine_clips_of_ten():
    clips = [{"real": {"sync_offset": 1.0 - i % 3}, "shifted": {"sync_offset": 2.0 + i % 3}} for i in range(20)]
    assert verdicts(clips, {})["sync_offset"]["usable"]
    for wrong, usable in ((2, True), (3, False)):
        broken = [{"real": {"sync_offset": 9.0}, "shifted": clip["shifted"]} for clip in clips[:wrong]] + clips[wrong:]
        assert verdicts(broken, {})["sync_offset"]["usable"] == usable


def test_ratios_are_as_good_as_their_numerator():
    clips = [{"frozen": {"temporal_l1": still}, "recon": {"temporal_l1": 0.1}} for still in (0.0, 0.0)]
    judged = verdicts(clips, {})
    assert judged["temporal_l1_ratio"] is judged["temporal_l1"] and judged["temporal_l1"]["usable"]
    clips = [
        {"real": {"id_cosine_end": 0.9, "id_cosine_start": 1.0}, "fading": {"id_cosine_end": end}} for end in (1, 2)
    ]
    assert verdicts(clips, {}) == {}
    for clip, end in zip(clips, (0.1, 0.2), strict=True):
        clip["fading"] = {"id_cosine_end": end, "id_cosine_start": 1.0}
    assert verdicts(clips, {})["id_ratio_end"]["checks"][0]["difference"] == pytest.approx(0.75)


def test_tables_say_what_is_not_usable_and_not_available():
    statistics = summarise_rows(paired(20, real=0.2, shifted=0.9))
    columns = {"mouth_r": "mouth r", "lpips": "LPIPS", "id_cosine": "identity"}
    judged = verdicts(paired(20, real=0.2, shifted=0.9), statistics)
    lines = table(statistics, {"real": "*real*"}, columns, judged, {"lpips": "unavailable: no file"}).splitlines()
    assert lines[0] == f"| | mouth r ({NOT_USABLE}) | LPIPS |" and lines[2].endswith("| unavailable |")


def test_frechet_distance_is_that_of_the_same_clips():
    rng = np.random.default_rng(0)
    features = [{"real": rng.normal(size=4), "recon": rng.normal(size=4)} for _ in range(12)]
    for clip in features[:5]:
        clip["blurred"] = clip["real"] + 3
    statistics = {row: {} for row in ("real", "recon", "blurred", "other")}
    add_frechet(statistics, features)
    sets = (torch.tensor(np.stack([clip[row] for clip in features])) for row in ("recon", "real"))
    expected = float(frechet_distance(*(part for rows in sets for part in gaussian(rows))))
    assert statistics["recon"]["fvd"]["mean"] == pytest.approx(expected) and statistics["recon"]["fvd"]["n"] == 12
    assert statistics["blurred"]["fvd"]["mean"] == pytest.approx(4 * 9) and statistics["blurred"]["fvd"]["n"] == 5
    assert statistics["real"] == statistics["other"] == {}
    check = verdicts([], statistics, features=features)["fvd"]["checks"][0]
    few = [clip for clip in features if "blurred" in clip]
    add_frechet(alike := {"recon": {}, "blurred": {}}, few)
    assert check["expected"] == "recon < blurred" and check["n"] == 1
    assert check["difference"] == pytest.approx(alike["recon"]["fvd"]["mean"] - alike["blurred"]["fvd"]["mean"])


def test_denoising_rows_stand_against_the_reconstruction_of_their_frames():
    clips = [{"recon": {"temporal_l1": 1.0}, "denoise.recon": {"temporal_l1": 2.0}, "denoise.k": {"temporal_l1": 4.0}}]
    assert summarise_rows(clips)["denoise.k"]["temporal_l1_ratio"]["mean"] == 2


def test_nan_is_null_wherever_it_stands():
    assert json.loads(to_json({"a": math.nan, "b": [{"c": math.inf, "d": 1.0}]})) == {
        "a": None,
        "b": [{"c": None, "d": 1}],
    }


def test_sheet_has_real_above_generated():
    real, generated = np.full((3, 8, 8, 3), 50, np.uint8), np.full((3, 8, 8, 3), 200, np.uint8)
    faces = [{"name": f"p{i}", "numbers": [0, 5, 9], "real": real, "generated": generated} for i in range(3)]
    pixels = np.asarray(sheet(faces, "title"))
    assert pixels.shape[1] == 2 * 3 * 128 + 8
    column = pixels[:, 64, 0]
    assert (column == 50).sum() == 2 * 128 == (column == 200).sum()
    assert np.flatnonzero(column == 50).min() < np.flatnonzero(column == 200).min()


SCHEDULES = {"k1": [80.0], "k2": [80.0, 1.0]}
STAGES = ("vae", "visemes", "identity", "mouth", "teacher", "student", "motion", "sync", "lipreader")
TEST_CLIPS, CLIP_FRAMES = 4, 14


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random nets of every stage; the VAE is made loud, so that noise in the latents can be seen."""
    folder = tmp_path_factory.mktemp("weights")
    latents = {"latent_channels": LATENT_CHANNELS, "latent_size": LATENT_SIDE}
    small = {"channels": [8, 16], "blocks": 1, "reference_channels": 8, "emb_channels": 16}
    arguments = {
        "vae": (VAE, {"resolution": SIDE, "latent_channels": LATENT_CHANNELS, "channels": [8, 8], "decoder_blocks": 1}),
        "visemes": (VisemeNet, {"channels": 8, "blocks": 1}),
        "identity": (IdentityNet, {"dim": 8, "channels": 8}),
        "mouth": (MouthNet, {"channels": 8}),
        "teacher": (Denoiser, {**latents, **small, "causal": False}),
        "student": (Denoiser, {**latents, **small, "causal": True}),
        "sync": (SyncNet, {"dim": 8, "channels": 8}),
        "lipreader": (LipReader, {"channels": 8}),
        "motion": (MotionBank, {"num_tracks": 2, "num_frames": 9}),
    }
    torch.manual_seed(0)
    for stage, (build, kwargs) in arguments.items():
        net = awake(build(**kwargs))
        card = {"student": {"schedules": SCHEDULES}, "teacher": {"schedules": {"many": [80.0, 5.0]}}}.get(stage, {})
        checkpoint.save(folder / f"{stage}.safetensors", stage, net, kwargs, card)
    alexnet = torchvision.models.alexnet(weights=None)
    save_file({f"features.{k}": v for k, v in alexnet.features.state_dict().items()}, folder / "alex.safetensors")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four clips of three people for the test split, with sound and truth."""
    root, records = tmp_path_factory.mktemp("corpus"), []
    for number_, person in enumerate([0, 1, 1, 2]):
        stem = f"trainval/p{person}/{number_:05d}"
        rng = np.random.default_rng(number_)
        wave = 0.2 * rng.standard_normal(CLIP_FRAMES * 640).astype(np.float32)
        write_video(root / f"{stem}.mp4", disc_frames(CLIP_FRAMES, SIDE, person), wave)
        box = np.tile(np.float32([0.3, 0.5, 0.7, 0.8]), (CLIP_FRAMES, 1))
        opening = rng.uniform(0, 0.1, CLIP_FRAMES).astype(np.float32)
        truth = {"mouth_open": opening, "mouth_box": box, "motion": motion_of(CLIP_FRAMES, person)}
        np.savez(root / f"{stem}.truth.npz", **truth)
        np.save(root / f"{stem}.npy", np.arange(1, CLIP_FRAMES + 1))
        files = {"video": f"{stem}.mp4", "motion": f"{stem}.truth.npz", "truth": f"{stem}.truth.npz"}
        files["visemes"] = f"{stem}.npy"
        records.append({**files, "identity": f"p{person}", "frames": CLIP_FRAMES, "viseme_source": "npy"})
    write_manifests(root, records, val_ratio=0.0, test_ratio=0.0)
    manifests = root / "manifests"
    (manifests / "lrs3_train.jsonl").rename(manifests / "lrs3_test.jsonl")
    return root


def config(corpus, weights, out, *overrides) -> DictConfig:
    paths = [f"weights.{stage}={weights / stage}.safetensors" for stage in STAGES]
    base = [f"data.root={corpus}", f"out={out}", "schedules=[k1,k2]", "noisy_psnr=40", "workers=1"]
    base.append(f"lpips.weights={weights / 'alex.safetensors'}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", [*base, *paths, *overrides])


@pytest.fixture(scope="module")
def finished(corpus, weights, tmp_path_factory):
    """A whole evaluation: where it lies, and what was returned."""
    out = tmp_path_factory.mktemp("report") / "report.json"
    return out, evaluate.run(config(corpus, weights, out, "teacher_samples=2"))


def untimed(report: dict) -> dict:
    """A report without what a clock says; what is not a number is None, which equals itself."""
    if isinstance(report, float) and math.isnan(report):
        return None
    if not isinstance(report, dict):
        return report
    return {
        k: untimed(v) for k, v in report.items() if k not in ("fps", "ms_per_frame", "seconds", "processor_seconds")
    }


def test_a_teacher_speaks_in_the_steps_stored_with_it(weights, tmp_path):
    paths = {stage: weights / f"{stage}.safetensors" for stage in ("vae", "visemes", "student", "motion", "teacher")}
    assert loading.load_chain(paths, Instruments()).teacher_schedule.strengths == (80.0, 5.0)
    header = checkpoint.read_header(paths["teacher"])
    net = checkpoint.load(paths["teacher"], "teacher")
    paths["teacher"] = tmp_path / "older.safetensors"  # weights of before steps were stored with them
    checkpoint.save(paths["teacher"], "teacher", net, header["arguments"], {})
    assert loading.load_chain(paths, Instruments()).teacher_schedule == many_steps()


def test_report_has_every_row_as_plain_numbers(finished):
    out, _ = finished
    report = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (report["clips"], report["identities"], report["split"]) == (TEST_CLIPS, 3, "test")
    assert set(report["denoise"]) == {"strength", "recon", "noisy", "teacher", "student", "head_unknown"}
    assert set(report["denoise"]["student"]) == {"k1", "k2"} and set(report["generate"]) == {"k1", "k2", "teacher"}
    assert report["denoise"]["noisy"]["psnr_db"] == pytest.approx(40, abs=0.1)
    movement = {f"{name}{end}" for name in ("temporal_l1", "flicker_std", "flicker_mean_std") for end in ("", "_ratio")}
    near = {"psnr_db", "ssim", "lpips", "warp_error", "warp_error_ratio"}
    for row in (report["denoise"]["teacher"], *report["denoise"]["student"].values()):
        assert set(row) == movement | near | {"psnr_gain_db"}
    looks = movement | {"sharpness", "sharpness_ratio", "sharpness_ratio_end", "mouth_r", "motion", "motion_ratio"}
    looks |= {"sharpness_end_to_recon", "id_cosine", "id_cosine_p5", "id_cosine_slope", "id_ratio_end"}
    looks |= {"id_cosine_start", "id_cosine_end"}
    assert set(report["follow"]) == {"recon", "k1", "k2"} and report["follow"]["recon"]["warp_error_ratio"] == 1
    assert set(report["follow"]["k2"]) == movement | near and report["follow"]["k2"]["psnr_db"] > 0
    spoken = report["generate"]["k2"]
    assert looks | {"mouth_r_shuffled", "fvd", "sync_offset", "viseme_accuracy", "fps", "ms_per_frame"} <= set(spoken)
    short = {f"sync_{name}" for name in ("offset", "confidence", "distance", "in_step")}  # 14 frames are too few
    guessing = {"viseme_ratio"}  # a lip reader that has learnt nothing may read no real frame right
    assert all(isinstance(value, float) for name, value in spoken.items() if name not in short | guessing)
    assert all(spoken[name] is None for name in short)
    for name in ("real", "recon", "shifted", "frozen", "blurred", "noisy", "swapped", "fading"):
        assert looks | near - {"psnr_db"} <= set(report[name])
    assert looks <= set(report["other_speech"])
    assert report["recon"]["temporal_l1_ratio"] == report["recon"]["sharpness_ratio"] == 1
    assert report["real"]["motion_ratio"] == 1
    assert report["frozen"]["flicker_std"] == report["frozen"]["mouth_r"] == report["frozen"]["motion"] == 0
    assert set(report["viseme_swap"]["k2"]) == {"ratio"} and 0 <= report["cross_identity"]["k2"]["correct"] <= 1
    assert report["controls"]["temporal_l1"]["usable"] and report["unavailable"] == report["long"] == {}
    assert set(report["weights"]) == {*STAGES, "lpips"} and report["weights"]["identity"] in report["features"]
    assert report["seconds"] > 0 and {"ssim", "lpips", "decoding"} <= set(report["processor_seconds"])
    summary = report["statistics"]["generate.k2"]["mouth_r"]
    assert set(summary) == {"n", "left_out", "mean", "std", "low", "high"}
    assert summary["n"] == TEST_CLIPS and summary["low"] <= summary["mean"] == spoken["mouth_r"] <= summary["high"]
    assert report["statistics"]["generate.teacher"]["temporal_l1"]["n"] == 2


def test_tables_and_sheet_lie_beside_the_report_and_nothing_else(finished):
    out, report = finished
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.html", "report.json", "report.md", "sheet.png"]
    text = out.with_suffix(".md").read_text()
    for row in ("noisy latents", "teacher", "student k1", "student k2", "*real*", "*frozen*", "teacher, 2 clips"):
        assert f"| {row} |" in text
    assert f"{report['generate']['k2']['fps']:#.3g}".rstrip(".") in text and "4 clips of 3 people" in text
    with Image.open(out.with_name("sheet.png")) as picture:
        assert picture.width == 2 * 6 * 128 + 8 and picture.height > 2 * 2 * 128


def test_interrupted_then_two_at_a_time_give_the_same(corpus, weights, finished, tmp_path, monkeypatch):
    cfg = config(corpus, weights, tmp_path / "r.json", "teacher_samples=2")
    real, judged = judge.controls, []

    def stops_at_the_third(chain, subject, *rest):
        if len(judged) == 2:
            raise KeyboardInterrupt
        judged.append(subject.key)
        return real(chain, subject, *rest)

    monkeypatch.setattr(judge, "controls", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(cfg)
    assert [p.name for p in tmp_path.iterdir()] == ["r.parts"]
    monkeypatch.setattr(
        judge, "controls", lambda c, subject, *rest: judged.append(subject.key) or real(c, subject, *rest)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        report = evaluate.run(config(corpus, weights, tmp_path / "r.json", "teacher_samples=2", "workers=2"))
        assert torch.get_num_threads() == 2, "they are put back"
    finally:
        torch.set_num_threads(before)
    assert len(judged) == len(set(judged)) == TEST_CLIPS
    assert untimed(report) == untimed(finished[1])
    assert not (tmp_path / "r.parts").exists()


def test_parts_of_other_settings_are_not_used(corpus, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(judge.Judge, "clip", lambda *_: pytest.fail("cut here"))
    for override in ("seed=0", "seed=1", "noisy_psnr=39", f"weights.identity={weights / 'identity'}.safetensors"):
        with pytest.raises(pytest.fail.Exception):
            evaluate.run(config(corpus, weights, tmp_path / "r.json", "clips=1", override))
    assert len(list((tmp_path / "r.parts").iterdir())) == 3


def test_what_is_null_is_left_out_and_said(corpus, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    nothing = [f"weights.{stage}=null" for stage in ("teacher", "mouth", "identity", "motion")] + ["lpips.weights=null"]
    nothing += ["weights.sync=nowhere.safetensors", "weights.lipreader=null"]
    nothing += ["viseme_swap=false", "cross_identity=false"]
    report = evaluate.run(config(corpus, weights, tmp_path / "r.json", "clips=2", "schedules=[k1]", *nothing))
    assert report["clips"] == 2 and set(report["denoise"]) == {"strength", "recon", "noisy", "student", "head_unknown"}
    spoken = report["generate"]["k1"]
    assert not {"mouth_r", "mouth_r_shuffled", "id_cosine", "id_ratio_end", "sync_offset", "fvd"} & set(spoken)
    assert spoken["sharpness_ratio_end"] > 0 and "viseme_swap" not in report and "cross_identity" not in report
    assert set(report["weights"]) == {"vae", "visemes", "student"}
    assert set(report["unavailable"]) == {"mouth_r", "id_cosine", "sync_offset", "viseme_accuracy", "lpips"}
    text = (tmp_path / "r.md").read_text()
    assert "torchvision.models.alexnet(weights='DEFAULT')" in text and "`make train-sync`" in text
    assert "lpips" not in report["denoise"]["student"]["k1"], "nothing random is scored"


@pytest.fixture(scope="module")
def by_others(corpus, weights, tmp_path_factory):
    """An evaluation by another embedder and another reader of mouths, with all controls on one clip of two: what was
    returned, and the text of its report."""
    folder, named = tmp_path_factory.mktemp("others"), []
    for stage, name in (("identity", "face.pt"), ("mouth", "mesh.tflite")):
        (folder / name).write_bytes(b"weights")
        named += [f"weights.{stage}=null", f"{stage}.weights={folder / name}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "FaceNet", lambda path: lambda frames: frames.mean((2, 3)))
        patch.setattr(loading, "FaceMesh", lambda path: lambda frames: frames.mean((1, 2, 3)))
        few = ["clips=2", "control_clips=1", "schedules=[k1]"]
        report = evaluate.run(config(corpus, weights, folder / "r.json", *few, *named))
    return report, (folder / "r.md").read_text()


def test_a_few_clips_have_all_controls(by_others):
    statistics = by_others[0]["statistics"]
    counts = {row: statistics[row]["temporal_l1"]["n"] for row in ("real", "recon", "swapped", "other_speech")}
    assert counts == {"real": 2, "recon": 2, "swapped": 1, "other_speech": 1}
    swap = statistics["viseme_swap.k1"]["ratio"]
    assert swap["n"] + swap["left_out"] == 1
    for row in ("generate.k1", "real"):
        assert statistics[row]["mouth_r_shuffled"]["n"] == 2


def test_another_embedder_can_be_given_and_is_named(by_others):
    report, text = by_others
    assert report["real"]["id_cosine"] > 0 and "id_cosine" not in report["unavailable"]
    named = report["features"]
    assert "facenet-pytorch's InceptionResnetV1, hash" in named and named in text


def test_another_reader_of_mouths_can_be_given_and_is_named(by_others):
    report, text = by_others
    assert -1 <= report["real"]["mouth_r"] <= 1 and "mouth_r" not in report["unavailable"]
    named = report["mouth_reader"]
    assert "MediaPipe's Face Mesh, hash" in named and f"(by {named})" in text


def test_a_long_run_is_made_once(corpus, weights, tmp_path, monkeypatch):
    cfg = config(corpus, weights, tmp_path / "r.json", "clips=1", "schedules=[k1]", "long_seconds=20")
    made, real = [], judge.long_run
    monkeypatch.setattr(judge, "long_run", lambda *arguments: made.append(len(arguments[2])) or real(*arguments))
    monkeypatch.setattr(evaluate, "write_report", lambda *_: pytest.fail("cut here"))
    with pytest.raises(pytest.fail.Exception):
        evaluate.run(cfg)
    monkeypatch.undo()
    monkeypatch.setattr(judge, "long_run", lambda *_: pytest.fail("made again"))
    run = evaluate.run(cfg)["long"]["k1"]
    assert made == [500] and run["seconds"] == 20 and len(run["windows"]) == 2
    assert run["id_ratio_end"] == pytest.approx(1, abs=0.5) and run["sharpness_ratio_end"] > 0
    assert "| 10.0 |" in (tmp_path / "r.md").read_text()


def test_all_that_is_wrong_is_said_at_once(corpus, weights, tmp_path):
    wrong = [f"weights.teacher={tmp_path}/none.safetensors", f"weights.mouth={weights}/identity.safetensors"]
    wrong += ["split=trainval", "clips=0", "workers=0", "out=report.txt", "control_clips=0", "long_seconds=15"]
    wrong += [f"lpips.weights={tmp_path}/none.pth", "identity.weights=none.pt", "mouth.weights=none.tflite"]
    with pytest.raises(ValueError) as error:
        evaluate.run(config(corpus, weights, tmp_path / "r.json", *wrong))
    for part in (
        "make train-teacher",
        "'identity'",
        "split=trainval",
        "clips=0",
        "workers=0",
        "out=report.txt",
        *wrong[-5:-3],
        "none.pth",
        *wrong[-2:],
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="schedules=k3: the student's weights hold no such schedule; they hold k1, k2"):
        evaluate.run(config(corpus, weights, tmp_path / "r.json", "schedules=[k1,k3]"))
    with pytest.raises(ValueError, match="teacher_samples=1: .* 0 without weights.teacher"):
        evaluate.run(config(corpus, weights, tmp_path / "r.json", "teacher_samples=1", "weights.teacher=null"))
    with pytest.raises(FileNotFoundError, match="no such manifest; write it with `python -m tsd.commands.prepare"):
        evaluate.run(config(tmp_path, weights, tmp_path / "r.json"))
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_speech_is_of_another_person_and_faces_are_drawn_by_seed():
    entries = [SimpleNamespace(key=str(i)) for i in range(9)]
    dataset = SimpleNamespace(entries=entries, person=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]))
    for clip in range(9):
        other = choice.partner(dataset, clip, 0)
        assert dataset.person[other] != dataset.person[clip] and other == choice.partner(dataset, clip, 0)
    assert choice.partner(SimpleNamespace(entries=entries, person=np.zeros(9)), 0, 0) is None
    shown = [choice.shown_clips(dataset, list(range(9)), seed) for seed in range(5)]
    assert all(len(clips) == 6 and len({dataset.person[c] for c in clips}) == 3 for clips in shown)
    assert len(set(map(tuple, shown))) > 1
    assert choice.spread(10, 4) == [0, 2, 5, 7] and choice.spread(3, None) == choice.spread(3, 9) == [0, 1, 2]
