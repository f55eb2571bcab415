"""Protocols against nets whose answers are known, and the whole evaluation of a tiny chain on a tiny corpus."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import LATENT_CHANNELS, LATENT_SIDE, SIDE, awake
from hydra import compose, initialize_config_dir
from mini_corpus import disc_frames, motion_of
from omegaconf import DictConfig
from PIL import Image
from test_config import CONF

from tsd import checkpoint, evaluate, protocols
from tsd.clip import VISEMES, Clip, to_frames, viseme_windows
from tsd.diffusion import S_MAX
from tsd.media.video import write_video
from tsd.metrics import psnr
from tsd.nets.denoiser import Denoiser
from tsd.nets.identity import IdentityNet
from tsd.nets.motion import MotionBank
from tsd.nets.mouth import MouthNet
from tsd.nets.vae import VAE, Appearance
from tsd.nets.visemes import VisemeNet
from tsd.prepare.manifests import write_manifests
from tsd.protocols import Chain, Subject
from tsd.report import RATIOS, number, sheet, summarise_rows
from tsd.runtime.talker import Talker

AA = VISEMES.index("aa")
NUM_FRAMES, SIZE = 24, 16


class FlatVAE:
    """Latents are the frames themselves, at a scale that leaves room for noise."""

    resolution = SIZE

    def encode(self, frames):
        return 10 * frames

    def appearance(self, pictures):
        return Appearance(pictures, self.encode(pictures))

    def decode(self, z, appearance=None):
        return (z / 10).clamp(-1, 1)


class Obedient:
    """A student that shows the reference, brighter by how much "aa" is being said; and notes what it was told."""

    causal, told = True, None

    def read_reference(self, condition):
        return condition.reference_latent

    def __call__(self, z_s, s, condition, reference, memory=None, return_memory=False):
        Obedient.told = condition
        said = condition.visemes[:, :, 4, AA, None, None, None]  # the middle of the window: the frame's own
        eps_hat = (z_s - (reference[:, None] + 3 * said).expand_as(z_s)) / s[:, None, None, None, None]
        return (eps_hat, []) if return_memory else eps_hat


class Hears:
    """Log-mel straight to logits: its first bands say how sure each viseme is."""

    def __call__(self, mel):
        return mel[:, ::4, : len(VISEMES)]


def brightness(frames):
    return frames.mean((1, 2, 3))


def mel_of(said: torch.Tensor) -> torch.Tensor:
    """[T] probability of "aa" -> a log-mel [T * 4, 80] in which ``Hears`` hears just that, the rest being silence."""
    logits = torch.full((len(said), 80), -30.0)
    logits[:, 0], logits[:, AA] = (1 - said).clamp_min(1e-6).log(), said.clamp_min(1e-6).log()
    return logits.repeat_interleave(4, 0)


@pytest.fixture
def said():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, NUM_FRAMES, generator=generator)


@pytest.fixture
def chain():
    talker = Talker(FlatVAE(), Obedient(), Hears(), None, {"k1": protocols.equal_steps(S_MAX, 1)})
    talker.schedules["k2"] = protocols.equal_steps(S_MAX, 2)
    return Chain(talker, Obedient(), brightness, lambda frames: frames.flatten(1))


@pytest.fixture
def subject(chain, said):
    """A picture that is brighter when "aa" is said, and whose "mouth" opens with it."""
    generator = torch.Generator().manual_seed(0)
    picture = 0.4 * torch.rand(3, SIZE, SIZE, generator=generator) - 0.2
    frames = picture + 0.3 * said[0, :, None, None, None]
    clip = Clip(
        frames=frames[None],
        reference=picture[None],
        visemes=torch.zeros(1, NUM_FRAMES, 7, len(VISEMES)),  # never looked at: what is heard counts
        motion=torch.zeros(1, NUM_FRAMES, 7),
        reference_motion=torch.zeros(1, 7),
        motion_known=torch.tensor([False]),
        mismatch=torch.tensor([False]),
        identity=torch.tensor([0]),
        key=["a/1.mp4"],
        start=torch.tensor([0]),
        mel=mel_of(said[0])[None],
        mouth_open=0.1 * said[:1],
    )
    return Subject.of(chain, clip, mel_of(said[1]), seed=0)


def test_strength_is_the_one_with_the_wanted_psnr():
    """Decoding is linear here, so PSNR = -20 log10(s / 20): in [0, 1] the noise has a std of s / 10 / 2."""
    generator = torch.Generator().manual_seed(0)
    probes = [(torch.zeros(8, 3, 32, 32), torch.randn(8, 3, 32, 32, generator=generator), None) for _ in range(2)]
    s = protocols.find_strength(FlatVAE().decode, probes, 25.71)
    assert s == pytest.approx(20 * 10 ** (-25.71 / 20), rel=0.01)
    noisy = [psnr(FlatVAE().decode(z + s * eps)[None], z[None]) for z, eps, _ in probes]
    assert float(sum(noisy) / 2) == pytest.approx(25.71, abs=0.005)
    with pytest.raises(ValueError, match=r"noisy_psnr=90: .* gives 66\.\d\d\.\.\d.* dB; choose a value between"):
        protocols.find_strength(FlatVAE().decode, probes, 90)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_equal_steps(num_steps):
    schedule = protocols.equal_steps(0.8, num_steps)
    assert schedule.strengths[0] == 0.8 and schedule.etas == pytest.approx([0.8 / num_steps] * num_steps)


def test_denoising_rows_of_a_net_that_knows_the_picture(chain, subject):
    rows = protocols.denoise(chain, subject, 1.0, {"k1": 1, "k8": 8})
    assert list(rows) == ["noisy", "teacher", "student.k1", "student.k8"]
    assert rows["noisy"]["psnr_db"] == pytest.approx(26.0, abs=0.3)
    for name in ("teacher", "student.k1", "student.k8"):
        assert rows[name]["psnr_db"] > 60
        assert rows[name]["psnr_gain_db"] == rows[name]["psnr_db"] - rows["noisy"]["psnr_db"]
    assert rows["noisy"]["temporal_l1"] > 1.5 * rows["teacher"]["temporal_l1"]
    told = Obedient.told
    assert not told.motion_known.any() and not told.motion.any()
    torch.testing.assert_close(told.visemes, viseme_windows(subject.visemes)[None])


def test_noise_belongs_to_the_clip_and_the_seed(subject):
    assert torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("a", (2, 3), 0))
    assert not torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("b", (2, 3), 0))
    assert not torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("a", (2, 3), 1))
    noise = subject.noise()
    assert noise.shape == subject.z.shape and not torch.equal(noise[0], noise[1])


def test_speaking_follows_the_recognised_sound_and_not_anothers(chain, subject, said):
    torch.testing.assert_close(subject.visemes[:, AA], said[0], atol=1e-3, rtol=0)
    rows, videos = protocols.generate(chain, subject, ["k1", "k2"], teacher=True)
    assert list(rows) == ["k1", "k2", "teacher"] and videos["k2"].shape == (NUM_FRAMES, SIZE, SIZE, 3)
    expected = np.corrcoef(said)[0, 1]
    for row in rows.values():
        assert row["mouth_r"] > 0.99
        assert row["mouth_r_shuffled"] == pytest.approx(expected, abs=0.03) and abs(expected) < 0.5
        assert row["id_cosine_p5"] <= row["id_cosine"] <= 1
        assert row["fps"] == pytest.approx(1000 / row["ms_per_frame"])
    subject.other_visemes = None
    assert "mouth_r_shuffled" not in protocols.generate(chain, subject, ["k1"], False)[0]["k1"]
    alone = Chain(chain.talker)
    assert not {"mouth_r", "id_cosine"} & set(protocols.generate(alone, subject, ["k1"], False)[0]["k1"])
    assert "teacher" not in protocols.denoise(alone, subject, 1.0, {"k1": 1})


def test_controls_show_the_faults_they_have(chain, subject):
    rows = protocols.controls(chain, subject)
    assert set(rows) == {"real", "recon", "shifted", "frozen", "blurred"}
    assert rows["real"]["mouth_r"] > 0.999 and abs(rows["shifted"]["mouth_r"]) < 0.5
    assert rows["frozen"]["mouth_r"] == rows["frozen"]["temporal_l1"] == rows["frozen"]["flicker_std"] == 0
    assert rows["frozen"]["id_cosine"] == pytest.approx(1) and rows["real"]["id_cosine"] < 0.999
    assert rows["blurred"]["sharpness"] < 0.9 * rows["real"]["sharpness"]
    assert rows["real"]["psnr_db"] > 60 > rows["blurred"]["psnr_db"] and "psnr_db" not in rows["recon"]
    assert rows["shifted"]["psnr_db"] < 30
    subject.mouth_open = torch.full((NUM_FRAMES,), torch.nan)  # a corpus without truth
    assert math.isnan(protocols.controls(chain, subject)["real"]["mouth_r"])


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
    assert set(RATIOS) & set(statistics["k"]) == {"temporal_l1_ratio", "sharpness_ratio_end"}


def test_numbers_as_people_read_them():
    values = {"psnr_db": 25.714, "fps": 174.93, "mouth_r": 0.9514, "id_ratio_end": 1.0, "temporal_l1": math.nan}
    assert [number(*item) for item in values.items()] == ["25.71", "175", "0.951", "1.00", "–"]


def test_sheet_has_real_above_generated():
    real, generated = np.full((3, 8, 8, 3), 50, np.uint8), np.full((3, 8, 8, 3), 200, np.uint8)
    faces = [{"name": f"p{i}", "numbers": [0, 5, 9], "real": real, "generated": generated} for i in range(3)]
    pixels = np.asarray(sheet(faces, "title"))
    assert pixels.shape[1] == 2 * 3 * 128 + 8
    column = pixels[:, 64, 0]
    assert (column == 50).sum() == 2 * 128 == (column == 200).sum()
    assert np.flatnonzero(column == 50).min() < np.flatnonzero(column == 200).min()


SCHEDULES = {"k1": [80.0], "k2": [80.0, 1.0]}
STAGES = ("vae", "visemes", "identity", "mouth", "teacher", "student", "motion")
TEST_CLIPS, CLIP_FRAMES = 4, 12


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
        "motion": (MotionBank, {"num_tracks": 2, "num_frames": 9}),
    }
    torch.manual_seed(0)
    for stage, (build, kwargs) in arguments.items():
        net = awake(build(**kwargs))
        card = {"schedules": SCHEDULES} if stage == "student" else {}
        checkpoint.save(folder / f"{stage}.safetensors", stage, net, kwargs, card)
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
        files = {"video": f"{stem}.mp4", "motion": f"{stem}.truth.npz", "truth": f"{stem}.truth.npz"}
        records.append({**files, "identity": f"p{person}", "frames": CLIP_FRAMES, "viseme_source": "none"})
    write_manifests(root, records, val_ratio=0.0, test_ratio=0.0)
    manifests = root / "manifests"
    (manifests / "lrs3_train.jsonl").rename(manifests / "lrs3_test.jsonl")
    return root


def config(corpus, weights, out, *overrides) -> DictConfig:
    paths = [f"weights.{stage}={weights / stage}.safetensors" for stage in STAGES]
    base = [f"data.root={corpus}", f"out={out}", "schedules=[k1,k2]", "noisy_psnr=40", "workers=1"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", [*base, *paths, *overrides])


@pytest.fixture(scope="module")
def finished(corpus, weights, tmp_path_factory):
    """A whole evaluation: where it lies, and what was returned."""
    out = tmp_path_factory.mktemp("report") / "report.json"
    return out, evaluate.evaluate(config(corpus, weights, out, "teacher_samples=2"))


def untimed(report: dict) -> dict:
    """A report without what a clock says."""
    if not isinstance(report, dict):
        return report
    return {k: untimed(v) for k, v in report.items() if k not in ("fps", "ms_per_frame", "seconds")}


def test_report_has_every_row_as_plain_numbers(finished):
    out, _ = finished
    report = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (report["clips"], report["identities"], report["split"]) == (TEST_CLIPS, 3, "test")
    assert set(report["denoise"]) == {"strength", "noisy", "teacher", "student"}
    assert set(report["denoise"]["student"]) == {"k1", "k2"} and set(report["generate"]) == {"k1", "k2", "teacher"}
    assert report["denoise"]["noisy"]["psnr_db"] == pytest.approx(40, abs=0.1)
    movement = {f"{name}{end}" for name in ("temporal_l1", "flicker_std", "flicker_mean_std") for end in ("", "_ratio")}
    for row in (report["denoise"]["teacher"], *report["denoise"]["student"].values()):
        assert set(row) == movement | {"psnr_db", "psnr_gain_db"}
    looks = movement | {"sharpness", "sharpness_ratio", "sharpness_ratio_end", "mouth_r"}
    looks |= {"id_cosine", "id_cosine_p5", "id_cosine_start", "id_cosine_end", "id_ratio_end"}
    spoken = report["generate"]["k2"]
    assert looks | {"mouth_r_shuffled", "fps", "ms_per_frame"} <= set(spoken)
    assert all(isinstance(value, float) for value in spoken.values())
    for name in ("real", "recon", "shifted", "frozen", "blurred"):
        assert looks <= set(report[name])
    assert report["recon"]["temporal_l1_ratio"] == report["recon"]["sharpness_ratio"] == 1
    assert report["frozen"]["flicker_std"] == 0 and report["frozen"]["mouth_r"] == 0
    assert set(report["weights"]) == set(STAGES) and report["seconds"] > 0
    summary = report["statistics"]["generate.k2"]["mouth_r"]
    assert set(summary) == {"n", "left_out", "mean", "std", "low", "high"}
    assert summary["n"] == TEST_CLIPS and summary["low"] <= summary["mean"] == spoken["mouth_r"] <= summary["high"]
    assert report["statistics"]["generate.teacher"]["temporal_l1"]["n"] == 2


def test_tables_and_sheet_lie_beside_the_report_and_nothing_else(finished):
    out, report = finished
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.json", "report.md", "sheet.png"]
    text = out.with_suffix(".md").read_text()
    for row in ("noisy", "teacher", "student k1", "student k2", "*real*", "*frozen*", "teacher, 2 clips"):
        assert f"| {row} |" in text
    assert f"{report['generate']['k2']['fps']:#.3g}".rstrip(".") in text and "4 clips of 3 people" in text
    with Image.open(out.with_name("sheet.png")) as picture:
        assert picture.width == 2 * 6 * 128 + 8 and picture.height > 2 * 2 * 128


def test_an_interrupted_evaluation_goes_on_and_gives_the_same(corpus, weights, finished, tmp_path, monkeypatch):
    cfg = config(corpus, weights, tmp_path / "r.json", "teacher_samples=2")
    real, judged = protocols.controls, []

    def stops_at_the_third(chain, subject):
        if len(judged) == 2:
            raise KeyboardInterrupt
        judged.append(subject.key)
        return real(chain, subject)

    monkeypatch.setattr(protocols, "controls", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(cfg)
    assert [p.name for p in tmp_path.iterdir()] == ["r.parts"]
    monkeypatch.setattr(
        protocols, "controls", lambda chain, subject: judged.append(subject.key) or real(chain, subject)
    )
    report = evaluate.evaluate(cfg)
    assert len(judged) == len(set(judged)) == TEST_CLIPS
    assert untimed(report) == untimed(finished[1])
    assert not (tmp_path / "r.parts").exists()


def test_parts_of_other_settings_are_not_used(corpus, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "write_report", lambda *_: pytest.fail("cut here"))
    for override in ("seed=0", "seed=1", "noisy_psnr=39", f"weights.identity={weights / 'identity'}.safetensors"):
        with pytest.raises(pytest.fail.Exception):
            evaluate.evaluate(config(corpus, weights, tmp_path / "r.json", "clips=1", override))
    assert len(list((tmp_path / "r.parts").iterdir())) == 3


def test_two_at_a_time_give_the_same_and_threads_are_put_back(corpus, weights, finished, tmp_path):
    cfg = config(corpus, weights, tmp_path / "r.json", "teacher_samples=2", "workers=2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert untimed(evaluate.evaluate(cfg)) == untimed(finished[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_null_is_left_out(corpus, weights, tmp_path):
    nothing = [f"weights.{stage}=null" for stage in ("teacher", "mouth", "identity", "motion")]
    report = evaluate.evaluate(config(corpus, weights, tmp_path / "r.json", "clips=2", "schedules=[k1]", *nothing))
    assert report["clips"] == 2 and set(report["denoise"]) == {"strength", "noisy", "student"}
    assert not {"mouth_r", "mouth_r_shuffled", "id_cosine", "id_ratio_end"} & set(report["generate"]["k1"])
    assert report["generate"]["k1"]["sharpness_ratio_end"] > 0
    assert set(report["weights"]) == {"vae", "visemes", "student"}


def test_all_that_is_wrong_is_said_at_once(corpus, weights, tmp_path):
    wrong = [f"weights.teacher={tmp_path}/none.safetensors", f"weights.mouth={weights}/identity.safetensors"]
    wrong += ["split=trainval", "clips=0", "workers=0", "out=report.txt"]
    with pytest.raises(ValueError) as error:
        evaluate.evaluate(config(corpus, weights, tmp_path / "r.json", *wrong))
    for part in ("make train-teacher", "'identity'", "split=trainval", "clips=0", "workers=0", "out=report.txt"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="schedules=k3: the student's weights hold no such schedule; they hold k1, k2"):
        evaluate.evaluate(config(corpus, weights, tmp_path / "r.json", "schedules=[k1,k3]"))
    with pytest.raises(ValueError, match="teacher_samples=1: .* 0 without weights.teacher"):
        evaluate.evaluate(config(corpus, weights, tmp_path / "r.json", "teacher_samples=1", "weights.teacher=null"))
    with pytest.raises(FileNotFoundError, match="no such manifest; write it with `python -m tsd.prepare"):
        evaluate.evaluate(config(tmp_path, weights, tmp_path / "r.json"))
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_speech_is_of_another_person_and_faces_are_drawn_by_seed():
    entries = [SimpleNamespace(key=str(i)) for i in range(9)]
    dataset = SimpleNamespace(entries=entries, person=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]))
    for clip in range(9):
        other = evaluate.partner(dataset, clip, 0)
        assert dataset.person[other] != dataset.person[clip] and other == evaluate.partner(dataset, clip, 0)
    assert evaluate.partner(SimpleNamespace(entries=entries, person=np.zeros(9)), 0, 0) is None
    shown = [evaluate.shown_clips(dataset, list(range(9)), seed) for seed in range(5)]
    assert all(len(clips) == 6 and len({dataset.person[c] for c in clips}) == 3 for clips in shown)
    assert len(set(map(tuple, shown))) > 1
    assert evaluate.spread(10, 4) == [0, 2, 5, 7] and evaluate.spread(3, None) == evaluate.spread(3, 9) == [0, 1, 2]


def test_generated_frames_are_scored_as_they_would_be_written(chain, subject):
    rows, videos = protocols.generate(chain, subject, ["k2"], False)
    assert videos["k2"].dtype == np.uint8
    with torch.inference_mode():
        again = protocols.look(chain, to_frames(videos["k2"]), subject)
    assert {name: rows["k2"][name] for name in again} == again
