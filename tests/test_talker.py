"""The talker: streaming equals the whole, starts, schedules, and errors in words."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from fake_talkers import SCHEDULES, files, portrait, talker
from fakes import LATENT_SIDE, SIDE, fake_motion

from tsd.clip import VISEMES
from tsd.diffusion import Schedule
from tsd.nets.denoiser import Denoiser
from tsd.runtime.talker import REFERENCE_START, Talker

FRAMES = 19


def speech(seed: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Visemes [T, V] and motion [T, M]."""
    torch.manual_seed(seed)
    return torch.randn(FRAMES, len(VISEMES)).mul(3).softmax(-1), fake_motion(FRAMES)


def spoken(t: Talker, steps: str = "k2", start: str = "noise", known: bool = True, **kwargs) -> torch.Tensor:
    """[T, C, h, w] latents of the speech."""
    visemes, motion = speech()
    speaker = t.speaker(portrait(), motion[0].numpy() if known else None)
    schedule, begin = t.schedule(steps), None
    if start == "reference":
        begin, schedule = t.start(speaker, schedule)
    elif start == "driving":
        begin = torch.randn(FRAMES, 4, LATENT_SIDE, LATENT_SIDE, generator=torch.Generator().manual_seed(9))
        schedule = schedule.starting_at(1.7)
    return torch.cat(list(t.latents(speaker, visemes, motion, schedule, start=begin, **kwargs)))


@pytest.mark.parametrize(
    ("steps", "start"),
    [
        pytest.param(steps, start, marks=() if start == "noise" or steps == "k2" else pytest.mark.slow)
        for steps in SCHEDULES
        for start in ("noise", "reference", "driving")
    ],
)
def test_streaming_equals_the_whole(steps, start):
    """In chunks of 1, 3 and 8, each step of the student with a memory of its own."""
    t = talker()
    whole = spoken(t, steps, start, chunk=FRAMES)
    assert whole.shape == (FRAMES, 4, LATENT_SIDE, LATENT_SIDE) and whole.isfinite().all()
    for chunk in (1, 3, 8):
        assert (spoken(t, steps, start, chunk=chunk) - whole).abs().max() < 1e-4, chunk


def test_a_face_without_landmarks_streams_as_well():
    t = talker()
    whole = spoken(t, known=False, chunk=FRAMES)
    assert (spoken(t, known=False, chunk=3) - whole).abs().max() < 1e-4
    assert not torch.allclose(whole, spoken(t, known=True), atol=1e-2)


def test_a_causal_talker_does_not_wait_for_the_end():
    t, (visemes, motion) = talker(), speech()
    speaker = t.speaker(portrait(), motion[0].numpy())
    first = next(t.latents(speaker, visemes, motion, SCHEDULES["k2"], chunk=1))
    later = visemes.clone()
    later[10:] = later[10:].roll(1, -1)
    assert torch.equal(first, next(t.latents(speaker, later, motion, SCHEDULES["k2"], chunk=1))) and len(first) == 1


def test_a_net_that_looks_both_ways_sees_the_whole():
    t = talker(causal=False)
    assert len(next(t.latents(t.speaker(portrait(), None), *speech(), SCHEDULES["k2"], chunk=1))) == FRAMES


@pytest.mark.parametrize("steps", SCHEDULES)
def test_what_no_step_changes_is_read_once_per_part(steps, monkeypatch):
    t, read = talker(), []
    read_frames = t.student.read_frames
    monkeypatch.setattr(t.student, "read_frames", lambda *given: read.append(1) or read_frames(*given))
    spoken(t, steps, chunk=8)
    assert len(read) == 3  # parts of 8, 8 and 3 frames


def test_the_seed_decides_and_nothing_else_does():
    t = talker()
    assert torch.equal(spoken(t, seed=3), spoken(t, seed=3))
    assert not torch.allclose(spoken(t, seed=3), spoken(t, seed=4), atol=1e-2)


def test_a_start_from_the_reference_begins_there():
    """With a net that predicts all of the noise, what comes out is what was begun from."""
    t, (visemes, motion) = talker(), speech()
    speaker = t.speaker(portrait(), motion[0].numpy())
    begin, schedule = t.start(speaker, SCHEDULES["k4"])
    assert schedule.strengths == (REFERENCE_START, 4.0, 1.2, 0.4) and torch.equal(begin, speaker.latent)

    class Oracle(torch.nn.Module):
        causal = True

        def read_frames(self, condition, reference):
            return None

        def step(self, z_s, s, reference, frames, memory):
            return (z_s - begin) / s[0], None

    t.student = Oracle()
    assert (torch.cat(list(t.latents(speaker, visemes, motion, schedule, start=begin))) - begin).abs().max() < 1e-5


@torch.inference_mode()
def test_frames_are_decoded_latents():
    t, z = talker(), spoken(talker())
    appearance = t.speaker(portrait(), None).appearance
    frames = t.decode(z, appearance)
    assert frames.shape == (FRAMES, SIDE, SIDE, 3) and frames.dtype == np.uint8
    expected = (t.vae.decode(z, appearance).permute(0, 2, 3, 1).numpy() + 1) * 127.5
    assert np.abs(frames - expected).max() <= 0.501
    assert np.array_equal(np.concatenate([t.decode(part, appearance) for part in z.split(4)]), frames)


@pytest.mark.parametrize("samples", [1, 640, 641, 16_000])
def test_visemes_of_a_wave_are_probabilities_at_25_fps(samples):
    wave = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    visemes = talker().visemes(wave)
    assert visemes.shape == (-(-samples // 640), len(VISEMES))
    assert torch.allclose(visemes.sum(-1), torch.ones(len(visemes)), atol=1e-5)


def test_samples_of_other_types_and_scales():
    """int16 says what float32 says; other types, shapes and scales are refused by name, before anything is heard."""
    t, wave = talker(), np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
    t.reference = t.speaker(portrait(), fake_motion(1)[0].numpy())
    quantised = (wave * 32768).astype(np.int16)
    own = t.video(quantised.astype(np.float32) / 32768)
    assert np.array_equal(t.video(quantised), own) and np.array_equal(t.video(wave.astype(np.float64)), t.video(wave))
    for wrong, says in (
        (np.stack([wave, wave], 1), r"shape \[N\], got \[4000, 2\]"),
        (wave[:0], "empty"),
        (quantised.astype(np.int32), "got int32"),
        (wave.astype(complex), "got complex"),
        (wave * 32768, r"\[-1, 1\], got a peak"),
        (np.array(0.5), r"got \[\]"),
    ):
        with pytest.raises(ValueError, match=says):
            t.video(wrong)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_silence(wrong):
    """In the middle of a stream: the frames after it are those after silence."""
    t, wave = talker(), np.random.default_rng(0).uniform(-0.5, 0.5, 9000).astype(np.float32)
    t.reference = t.speaker(portrait(), fake_motion(1)[0].numpy())
    hurt, silent = wave.copy(), wave.copy()
    hurt[3000:3100], silent[3000:3100] = wrong, 0
    made = np.concatenate(list(t.stream(np.split(hurt, [2500, 3050, 7000]))))
    expected = np.concatenate(list(t.stream([silent])))
    assert made.shape == expected.shape and np.abs(made.astype(int) - expected).max() <= 1


def test_motion_is_natural_from_the_speakers_own_or_still():
    t, motion = talker(), fake_motion().numpy()
    speaker = t.speaker(portrait(), motion)
    natural = t.motion(speaker, 30, seed=0)
    assert natural.shape == (30, 7) and np.allclose(natural[0, :6], motion[:6], atol=1e-5) and natural.std(0).min() > 0
    assert torch.equal(t.motion(t.speaker(portrait(), None), 30), torch.zeros(30, 7))
    t.motion_bank = None
    assert torch.equal(t.motion(speaker, 30), torch.from_numpy(motion).expand(30, 7))


def test_steps_without_a_schedule():
    with pytest.raises(ValueError, match="steps=k3: .* no such schedule; they hold k1, k2, k4, k8"):
        talker().schedule("k3")
    with pytest.raises(ValueError, match="they hold none"):
        Talker(None, None).schedule("k2")


def test_a_crop_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"takes frames \[3, 32, 32\], got \[3, 64, 64\]"):
        talker().speaker(np.zeros((64, 64, 3), np.uint8), None)


# Weights files


def test_load(tmp_path):
    paths = files(tmp_path)
    t = Talker.load(paths)
    assert t.schedule("k2") == Schedule((80.0, 1.0)) and t.student.causal and not t.student.training
    assert len(spoken(t)) == FRAMES
    only_decodes = Talker.load({"vae": paths["vae"], "student": None})
    assert only_decodes.recogniser is None and only_decodes.student is None
    taught = Talker.load({"vae": paths["vae"], "teacher": paths["teacher"]})
    assert not taught.student.causal and taught.schedules == {}


def test_load_refuses_weights_of_another_stage_or_size(tmp_path):
    paths = files(tmp_path, student={"latent_size": 16})
    with pytest.raises(ValueError, match=r"works on latents of 4 channels at 16x16, but .* makes 4 at 8x8"):
        Talker.load({"vae": paths["vae"], "student": paths["student"]})
    with pytest.raises(ValueError, match="holds weights of stage 'teacher', but stage 'student' is needed"):
        Talker.load({"vae": paths["vae"], "student": paths["teacher"]})
    with pytest.raises(FileNotFoundError, match="make train-visemes"):
        Talker.load(files(tmp_path) | {"visemes": tmp_path / "none"})


@pytest.mark.parametrize("schedules", [5, [1], {"k2": 5}, {"k2": ["a"]}, {"k2": [1.0, 2.0]}, {"k2": None}], ids=str)
def test_schedules_that_are_none_are_refused_with_the_file(tmp_path, schedules):
    paths = files(tmp_path, card={"schedules": schedules})
    with pytest.raises(ValueError, match="student.safetensors"):
        Talker.load({"vae": paths["vae"], "student": paths["student"]})


def test_the_runtime_imports_no_training_code():
    """What an application loads: no Lightning, no Hydra, no experiment manager, and no PyTorch before it is needed."""
    heavy = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torch", "torchvision"}
    code = f"import sys, tsd.runtime.talker; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_talking_imports_neither_training_code_nor_librosa(tmp_path):
    paths = {stage: str(path) for stage, path in files(tmp_path).items()}
    heavy = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "librosa", "numba", "pydantic", "jinja2"}
    code = f"""
import sys
import numpy as np
from tsd.clip import MOTION
from tsd.runtime.talker import Talker
talker = Talker.load({paths})
side = talker.vae.resolution
talker.reference = talker.speaker(np.zeros((side, side, 3), np.uint8), np.zeros(len(MOTION), np.float32))
print(sum(map(len, talker.stream([np.zeros(6400, np.float32)], next(iter(talker.schedules))))))
print(sorted({heavy} & set(sys.modules)))
"""
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split("\n")[:2] == ["10", "[]"]


def test_loading_weights_loads_neither_compilers_nor_other_backends(tmp_path):
    """Each would cost the start of every process a second or more."""
    paths = {stage: str(path) for stage, path in files(tmp_path).items()}
    heavy = {"torch._dynamo", "sympy", "openvino", "onnxruntime"}
    code = f"import sys\nfrom tsd.runtime.talker import Talker\nTalker.load({paths})\n"
    code += f"print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_fake_nets_are_the_real_ones():
    assert isinstance(talker().student, Denoiser) and talker().student.latent_size == LATENT_SIDE
