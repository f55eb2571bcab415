"""Protocols against nets whose answers are known, and control rows against the faults they have."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tsd.clip import FPS, VISEMES, Clip, to_frames, to_uint8, viseme_windows
from tsd.diffusion import S_MAX
from tsd.evaluation import clips as protocols
from tsd.evaluation.clips import Chain, Instruments, Subject, swaps
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.instruments import FEATURES, OPENED
from tsd.evaluation.clips.long_run import windows
from tsd.evaluation.clips.others_speech import against_others
from tsd.evaluation.report import verdicts
from tsd.evaluation.report.statistics import summarise_rows
from tsd.metrics import psnr, real_flow, warp_error
from tsd.nets.vae import Appearance
from tsd.runtime.talker import Talker

AA = VISEMES.index("aa")
NUM_FRAMES, SIZE = 40, 32
MOUTH = (slice(20, 27), slice(12, 20))
"""Rows and columns of the mouth: brighter when "aa" is said, and inside ``swaps.MOUTH``."""


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
    """A student that shows the reference, its mouth brighter by how sure "aa" is said; notes what it was told."""

    causal, told = True, None

    def read_reference(self, condition):
        return condition.reference_latent

    def read_frames(self, condition, reference):
        return condition

    def __call__(self, z_s, s, condition, reference):
        return self.step(z_s, s, reference, condition)[0]

    def step(self, z_s, s, reference, condition, memory=None):
        Obedient.told = condition
        said = condition.visemes[:, :, 4, AA, None, None, None]  # the middle of the window: the frame's own
        spoken = reference[:, None].repeat(1, z_s.shape[1], 1, 1, 1)
        spoken[..., MOUTH[0], MOUTH[1]] += 6 * said
        return (z_s - spoken) / s[:, None, None, None, None], []


class Hears:
    """Log-mel straight to logits: its first bands say how sure each viseme is."""

    look_ahead = memory_size = 0

    def listen(self, mel, memory):
        return mel[:, ::4, : len(VISEMES)], memory


def mouth(frames):
    return 0.1 * frames[..., MOUTH[0], MOUTH[1]].mean((1, 2, 3))


def mel_of(said: torch.Tensor) -> torch.Tensor:
    """[T] probability of "aa" -> a log-mel [T * 4, 80] in which ``Hears`` hears just that, the rest being silence."""
    logits = torch.full((len(said), 80), -30.0)
    logits[:, 0], logits[:, AA] = (1 - said).clamp_min(1e-6).log(), said.clamp_min(1e-6).log()
    return logits.repeat_interleave(4, 0)


@pytest.fixture
def said():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, NUM_FRAMES, generator=generator)


def colours(frames):
    """Who it is: the mean colour of the upper half, where nothing speaks."""
    return frames[..., : SIZE // 2, :].mean((2, 3))


class Hearing:
    """A sync expert that sees how bright the picture is and hears how sure "aa" is."""

    field = 3

    def see(self, frames):
        return self.moments(frames[..., MOUTH[0], MOUTH[1]].mean((2, 3, 4)))

    def hear(self, mel):
        return self.moments(mel[:, ::4, AA].exp())

    def moments(self, track):
        windows = track.unfold(1, self.field, 1)
        return torch.nn.functional.normalize(windows - windows.mean(-1, keepdim=True), dim=-1)


@pytest.fixture
def chain():
    talker = Talker(FlatVAE(), Obedient(), Hears(), None, {"k1": protocols.equal_steps(S_MAX, 1)})
    talker.schedules["k2"] = protocols.equal_steps(S_MAX, 2)
    instruments = Instruments(mouth, colours, Hearing(), identity_every=1)
    return Chain(talker, Obedient(), instruments)


def talking(picture, said, key) -> Clip:
    """A clip of a picture [3, H, W] whose mouth is brighter when "aa" is said."""
    frames = picture.repeat(NUM_FRAMES, 1, 1, 1)
    frames[:, :, MOUTH[0], MOUTH[1]] += 0.6 * said[:, None, None, None]
    return Clip(
        frames=frames[None],
        reference=picture[None],
        visemes=torch.zeros(1, NUM_FRAMES, 7, len(VISEMES)),  # never looked at: what is heard counts
        motion=torch.zeros(1, NUM_FRAMES, 7),
        reference_motion=torch.zeros(1, 7),
        motion_known=torch.tensor([False]),
        mismatch=torch.tensor([False]),
        identity=torch.tensor([0]),
        key=[key],
        start=torch.tensor([0]),
        mel=mel_of(said)[None],
        mouth_open=0.1 * said[None],
    )


@pytest.fixture
def clips(said):
    """Two people, one reddish and one bluish."""
    generator = torch.Generator().manual_seed(0)
    tint = torch.tensor([[0.3, 0.0, -0.3], [-0.3, 0.0, 0.3]])[:, :, None, None]
    pictures = 0.4 * torch.rand(2, 3, SIZE, SIZE, generator=generator) - 0.2 + tint
    return [
        talking(picture, track, f"{i}/1.mp4") for i, (picture, track) in enumerate(zip(pictures, said, strict=True))
    ]


@pytest.fixture
def subject(chain, clips):
    return Subject.of(chain, *clips, seed=0)


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
    rows = protocols.denoise(chain, subject, 1.0, {"k1": 1, "k8": 8}, "k8")
    names = ["teacher", "student.k1", "student.k8", "head_unknown.teacher", "head_unknown.k8"]
    assert list(rows) == ["recon", "noisy", *names]
    assert rows["noisy"]["psnr_db"] == pytest.approx(26.0, abs=0.3)
    for name in names:
        assert rows[name]["psnr_db"] > 60 and rows[name]["ssim"] > 0.999
        assert rows[name]["psnr_gain_db"] == rows[name]["psnr_db"] - rows["noisy"]["psnr_db"]
        for metric in ("temporal_l1", "warp_error"):
            assert rows[name][metric] == pytest.approx(rows["recon"][metric], rel=1e-3)
            assert rows["noisy"][metric] > 1.5 * rows[name][metric]
    told, middle = Obedient.told, slice(16, 24)
    flow = real_flow(subject.truth.frames[None, middle])
    assert rows["recon"]["warp_error"] == pytest.approx(float(warp_error(subject.recon[None, middle], *flow)))
    assert not told.motion_known.any(), "the last row is told nothing of the head"
    torch.testing.assert_close(told.visemes, viseme_windows(subject.visemes)[None, middle])
    protocols.denoise(chain, subject, 1.0, {"k1": 1, "k8": 8}, "k1")
    assert "teacher" not in protocols.denoise(Chain(chain.talker), subject, 1.0, {"k1": 1}, "k1")


def test_noise_belongs_to_the_clip_and_the_seed(subject):
    assert torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("a", (2, 3), 0))
    assert not torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("b", (2, 3), 0))
    assert not torch.equal(protocols.clip_noise("a", (2, 3), 0), protocols.clip_noise("a", (2, 3), 1))
    noise = subject.noise()
    assert noise.shape == subject.z.shape and not torch.equal(noise[0], noise[1])


def test_speaking_follows_the_recognised_sound(chain, subject, said):
    torch.testing.assert_close(subject.visemes[:, AA], said[0], atol=1e-3, rtol=0)
    rows, video = protocols.generate(chain, subject, ["k1", "k2"], True, "k2")
    assert list(rows) == ["k1", "k2", "teacher"]
    assert video.shape == (NUM_FRAMES, SIZE, SIZE, 3) and video.dtype == np.uint8
    for row in rows.values():
        assert row["mouth_r"] > 0.99 and row["id_cosine_p5"] <= row["id_cosine"] <= 1
        assert row["fps"] == pytest.approx(1000 / row["ms_per_frame"])
    again = protocols.look(chain.instruments, to_frames(video), subject.truth)
    assert torch.equal(rows["k2"].pop(OPENED), again.pop(OPENED)) and torch.equal(
        rows["k2"].pop(FEATURES), again.pop(FEATURES)
    )
    assert {name: rows["k2"][name] for name in again} == again
    alone = protocols.generate(Chain(chain.talker), subject, ["k1"], False, "k1")[0]["k1"]
    assert not {"mouth_r", "id_cosine", "sync_offset", FEATURES, OPENED} & set(alone)


def test_a_head_that_moves_as_the_clips_is_compared_frame_by_frame(chain, clips, monkeypatch):
    assert protocols.follow(chain, Subject.of(chain, *clips, seed=0), ["k1"]) == {}, "nothing is known of the head"
    for clip in clips:
        clip.motion_known[:] = True
        clip.motion[:] = clip.reference_motion[:] = torch.tensor([0.35, 0.4, 0.65, 0.4, 0.5, 0.6, 1.0])
        clip.motion[:, :, 6] = torch.linspace(0, 1, NUM_FRAMES)
    subject = Subject.of(chain, *clips, seed=0)
    rows = protocols.follow(chain, subject, ["k1", "k2"])
    assert list(rows) == ["recon", "k1", "k2"]
    middle = slice(16, 24)
    assert torch.equal(Obedient.told.motion, subject.motion[None, middle]), "not the bank's"
    torch.testing.assert_close(Obedient.told.visemes, viseme_windows(subject.visemes)[None, middle])
    for name in ("k1", "k2"):
        assert rows[name]["psnr_db"] > 45, "8 bits are all that is missing"
        for metric in ("temporal_l1", "warp_error"):
            assert rows[name][metric] == pytest.approx(rows["recon"][metric], rel=0.05)
    monkeypatch.setattr(chain.talker, "decode", lambda z, _: to_uint8(torch.zeros(len(z), 3, SIZE, SIZE)))
    still = protocols.follow(chain, subject, ["k2"])["k2"]
    assert still["psnr_db"] < 20 and still["temporal_l1"] == 0


def test_and_not_anothers(chain, subject, said):
    video = protocols.say_other(chain, subject, "k2")
    expected = np.corrcoef(said)[0, 1]
    assert video.shape == (NUM_FRAMES, SIZE, SIZE, 3) and abs(expected) < 0.5
    assert protocols.look(chain.instruments, to_frames(video), subject.truth)["mouth_r"] == pytest.approx(
        expected, abs=0.03
    )
    assert protocols.say_other(chain, replace(subject, other=None), "k1") is None


def test_other_peoples_speech_is_that_of_every_other_person():
    one, two, three = np.array([0, 1, 0, 1, 0.0]), np.array([0, 1, 0, 1.0]), np.array([1, 0, 0, 1.0, 1])
    first, second = (np.corrcoef(three[:n], x)[0, 1] for n, x in ((5, one), (4, two)))
    found = against_others([one, two, three], [one, two, three], [0, 1, 2])
    assert found == pytest.approx([(1 + first) / 2, (1 + second) / 2, (first + second) / 2]), "as long as both last"
    assert against_others([one, two, three], [one, two, three], [0, 0, 2])[:2] == pytest.approx([first, second])
    assert against_others([None, two, three], [one, two, three], [0, 1, 2])[1] == pytest.approx(second)
    alone = against_others([one, two], [one, None], [0, 0]) + against_others([None, None], [one, two], [0, 1])
    assert np.isnan(alone).all() and np.isnan(against_others([one, two], [one, None], [0, 1])[1])


@pytest.fixture
def rows(chain, subject):
    return protocols.controls(chain, subject, protocols.say_other(chain, subject, "k2"))


def test_frozen(rows):
    for metric in ("mouth_r", "temporal_l1", "flicker_std", "motion"):
        assert rows["frozen"][metric] == 0 < rows["real"][metric]
    assert rows["frozen"]["flicker_mean_std"] < 1e-6 and rows["frozen"]["sync_confidence"] == pytest.approx(0, abs=1e-6)
    assert rows["frozen"]["id_cosine"] == pytest.approx(1)


def test_blurred(rows):
    assert rows["blurred"]["sharpness"] < 0.9 * rows["real"]["sharpness"]
    assert (
        rows["blurred"]["psnr_db"] < rows["real"]["psnr_db"] and rows["blurred"]["ssim"] < 0.99 < rows["real"]["ssim"]
    )


def test_shifted(rows):
    assert rows["real"]["mouth_r"] > 0.999 and abs(rows["shifted"]["mouth_r"]) < 0.5
    assert (rows["real"]["sync_offset"], rows["shifted"]["sync_offset"]) == (0, 3)
    assert (rows["real"]["sync_in_step"], rows["shifted"]["sync_in_step"]) == (1, 0)
    assert rows["shifted"]["psnr_db"] < 40 < rows["real"]["psnr_db"] and "psnr_db" not in rows["recon"]


def test_clips_too_short_for_shifts_have_no_offset(chain, subject):
    truth = replace(subject.truth, mel=subject.truth.mel[: 4 * 32])
    assert math.isnan(protocols.look(Instruments(sync=Hearing()), truth.frames[:32], truth)["sync_offset"])
    assert protocols.look(Instruments(sync=Hearing()), subject.truth.frames, subject.truth)["sync_offset"] == 0


def test_swapped_identity_and_speech(rows):
    assert rows["swapped"]["id_cosine"] < 0 < 0.99 < rows["real"]["id_cosine"]
    assert rows["swapped"]["id_cosine_p5"] < 0 and abs(rows["swapped"]["mouth_r"]) < 0.5
    assert rows["swapped"]["sync_confidence"] < rows["real"]["sync_confidence"]
    assert rows["other_speech"]["id_cosine"] > 0.99 and abs(rows["other_speech"]["mouth_r"]) < 0.5
    assert not {"psnr_db", "warp_error"} & set(rows["other_speech"]), "its head moves as it likes"


def test_noise(rows):
    for metric in ("temporal_l1", "flicker_std", "flicker_mean_std", "warp_error", "sharpness"):
        assert rows["noisy"][metric] > 1.2 * rows["real"][metric], metric
    assert rows["noisy"]["psnr_db"] < 30


def test_fading(rows):
    assert rows["fading"]["id_cosine_end"] < 0 < 0.9 < rows["fading"]["id_cosine_start"]
    assert rows["fading"]["id_cosine_slope"] < -1 < rows["real"]["id_cosine_slope"]
    assert rows["fading"]["sharpness_end"] < 0.5 * rows["fading"]["sharpness_start"]


def test_a_mouth_whose_opening_nobody_knows_is_measured_in_the_real_frames(chain, clips, subject):
    unknown = [None, torch.full_like(clips[0].mouth_open, torch.nan)]
    for clips[0].mouth_open in unknown:
        seen = Subject.of(chain, *clips, seed=0)
        assert torch.equal(seen.truth.mouth_open, mouth(clips[0].frames[0]))
        rows, known = protocols.controls(chain, seen), protocols.controls(chain, subject)
        assert rows["real"]["mouth_r"] == pytest.approx(1) and rows["frozen"]["mouth_r"] < 0.5
        assert rows["shifted"]["mouth_r"] == pytest.approx(known["shifted"]["mouth_r"], abs=0.05)


def test_a_split_of_one_person_and_clips_without_truth_have_fewer_rows(chain, clips):
    clips[0].mouth_open, chain.instruments.mouth = None, None
    alone = protocols.controls(chain, Subject.of(chain, clips[0], None, seed=0))
    assert set(alone) == {"real", "recon", "shifted", "frozen", "blurred", "noisy"} and "mouth_r" not in alone["real"]
    subject = Subject.of(chain, *clips, seed=0)
    assert set(protocols.controls(chain, subject, whole=False)) == {"real", "recon"}


def test_every_expectation_holds_on_good_data_and_none_where_rows_are_confused(rows):
    """The instruments here are perfect; with real and its faults exchanged each of them must be found out."""
    rows = {name: {k: v for k, v in row.items() if k not in (FEATURES, OPENED)} for name, row in rows.items()}
    clips = [rows, {name: dict(row) for name, row in rows.items()}]
    judged = verdicts(clips, summarise_rows(clips))
    assert {metric for metric, verdict in judged.items() if not verdict["usable"]} == set()
    assert {"psnr_db", "ssim", "temporal_l1", "motion", "sharpness_ratio_end", "id_cosine", "mouth_r"} <= set(judged)
    for fault, found_by in {
        "shifted": {"psnr_db", "ssim", "mouth_r", "sync_offset"},
        "frozen": {"temporal_l1", "flicker_std", "motion", "mouth_r", "sync_confidence"},
        "blurred": {"psnr_db", "ssim", "sharpness"},
        "noisy": {"psnr_db", "flicker_mean_std", "warp_error", "sharpness"},
        "swapped": {"psnr_db", "id_cosine", "id_cosine_p5", "mouth_r", "sync_confidence"},
        "fading": {"id_ratio_end", "id_cosine_slope", "sharpness_ratio_end"},
        "other_speech": {"mouth_r"},
    }.items():
        confused = [clip | {"real": clip[fault], fault: clip["real"]} for clip in clips]
        judged = verdicts(confused, summarise_rows(confused))
        assert found_by <= {metric for metric, verdict in judged.items() if not verdict["usable"]}, fault


def test_viseme_swap_is_energy_inside_over_outside(chain, subject):
    one = torch.zeros(2, 3, 10, 10)
    boxes = torch.tensor([[0.2, 0.4, 0.5, 0.8]]).expand(2, 4)
    two = one.clone()
    two[..., 4:8, 2:5] = 0.2
    assert swaps.change_ratio(one, two, boxes) == pytest.approx(0.04 / swaps.ROUNDING)
    assert swaps.change_ratio(one, two + 0.1, boxes) == pytest.approx(9)
    assert swaps.change_ratio(one, one + 0.1, boxes) == pytest.approx(1)
    assert math.isnan(swaps.change_ratio(one, one, boxes))
    _, own = protocols.generate(chain, subject, ["k2"], False, "k2")
    other = protocols.say_other(chain, subject, "k2")
    assert protocols.viseme_swap(chain, subject, own, other)["ratio"] > 100
    elsewhere = own.copy()
    elsewhere[:, :8] //= 2
    assert protocols.viseme_swap(chain, subject, own, elsewhere)["ratio"] == 0


def test_the_mouths_box_goes_where_the_face_goes():
    still = torch.tensor([0.36, 0.42, 0.64, 0.42, 0.50, 0.57, 1.0])
    shift = torch.tensor([0.1, -0.05] * 3 + [0.0])
    boxes = swaps.mouth_boxes(torch.stack([still, still + shift]), known=True)
    torch.testing.assert_close(boxes[0], torch.tensor(swaps.MOUTH))
    torch.testing.assert_close(boxes[1], boxes[0] + torch.tensor([0.1, -0.05, 0.1, -0.05]))
    torch.testing.assert_close(swaps.mouth_boxes(torch.zeros(1, 7), known=False)[0], torch.tensor(swaps.MOUTH))


def test_cross_identity_is_anothers_face_and_this_speech(chain, subject, monkeypatch):
    row = protocols.cross_identity(chain, subject, chain.talker.schedule("k2"))
    assert row["correct"] == 1 and row["id_cosine"] > 0.99 and row["id_cosine_speech"] < 0 and row["mouth_r"] > 0.99
    real = swaps.speak  # a system whose face comes with the voice
    monkeypatch.setattr(swaps, "speak", lambda talker, portrait, *rest: real(talker, subject.portrait, *rest))
    row = protocols.cross_identity(chain, subject, chain.talker.schedule("k2"))
    assert row["correct"] == 0 and row["id_cosine"] < 0 < 0.99 < row["id_cosine_speech"]


def test_a_long_run_of_a_face_that_holds_and_of_one_that_melts(chain, subject):
    said = torch.rand(500, generator=torch.Generator().manual_seed(3))
    visemes = chain.visemes(mel_of(said))
    arguments = (subject.portrait, visemes, said, chain.talker.schedule("k2"), "a", 0)
    run = protocols.long_run(chain, *arguments)
    assert run["seconds"] == 20 and [window["second"] for window in run["windows"]] == [0, 10]
    assert all(window["mouth_r"] > 0.99 for window in run["windows"])
    for name in ("id_ratio_end", "sharpness_ratio_end", "flicker_ratio_end"):
        assert run[name] == pytest.approx(1, abs=0.1)
    decode, decoded = chain.talker.decode, []

    def melting(z, appearance):
        decoded.append(len(z))
        share = sum(decoded) / 500
        return to_uint8(
            (1 - share) * to_frames(decode(z, appearance)) + share * torch.tensor([-0.5, 0, 0.5])[:, None, None]
        )

    chain.talker.decode = melting
    run = protocols.long_run(chain, *arguments)
    assert run["id_ratio_end"] < 0.5 and run["sharpness_ratio_end"] < 0.5 and run["flicker_ratio_end"] < 0.6


def test_a_long_run_holds_one_window_of_frames(chain, subject):
    visemes = torch.zeros(3 * 10 * FPS, len(VISEMES))
    lengths = [
        len(frames) for frames in windows(chain.talker, subject.portrait, visemes, chain.talker.schedule("k1"), 0)
    ]
    assert lengths == [250, 250, 250]


def test_processor_time_is_counted_by_name():
    clock.take()
    with clock("sum"):
        sum(range(10**6))
    with clock("sum"), pytest.raises(KeyError):
        raise KeyError
    assert set(clock.seconds) == {"sum"} and clock.take()["sum"] > 0 and clock.take() == {}
