"""What a GPU would refuse, found without one: every tensor of a training step has to be on its device."""

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tsd import losses
from tsd.bench.training import made_up_clip
from tsd.clip import Clip
from tsd.diffusion import Schedule
from tsd.modules.student import StudentModule
from tsd.modules.teacher import TeacherModule
from tsd.modules.vae import VAEModule
from tsd.nets.denoiser import Denoiser
from tsd.nets.identity import IdentityNet
from tsd.nets.sync import SyncNet
from tsd.nets.vae import VAE

SCHEDULES = {"k1": Schedule((80.0,)), "k2": Schedule((80.0, 1.0))}
EVERY_TERM = losses.LossWeights(*[0.1] * 18)


@pytest.fixture
def pretended(monkeypatch):
    """Tensors that know their device, type and shape and hold nothing; a number that is asked of one is 0."""
    for name, zero in {"__int__": 0, "__float__": 0.0, "__bool__": False}.items():
        monkeypatch.setattr(torch.Tensor, name, lambda _, zero=zero: zero)
    with FakeTensorMode():
        yield


def nets() -> dict:
    """On the GPU from the start: what pretends cannot be moved in place."""

    def denoiser(**more):
        return Denoiser(8, 8, [16, 32], blocks=1, eye_shapes=2, mean_reaches=[1, 3], **more)

    with torch.device("cuda"):
        return {
            "vae": VAE(64, 8, [16, 16, 16]),
            "identity": IdentityNet(8, 8),
            "sync_loss": SyncNet(dim=8, channels=8, field=5),
            "teacher": denoiser(),
            "student": denoiser(causal=True),
        }


def bytes_on_gpu() -> Clip:
    """A batch as a loader makes it, brought to the GPU as Lightning does it."""
    clip = made_up_clip(4, 24, 64, (8, 8, 8))
    clip.frames, clip.reference = (x.mul(127).byte() for x in (clip.frames, clip.reference))
    return clip.to("cuda").in_unit()


def assert_on_gpu(terms: dict) -> None:
    assert {value.device.type for value in (*terms.values(), EVERY_TERM.total(terms))} == {"cuda"}


def test_a_batch_goes_there_whole_and_its_pictures_become_floats(pretended):
    clip = bytes_on_gpu()
    tensors = [v for f in fields(clip) if isinstance(v := getattr(clip, f.name), torch.Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert clip.frames.dtype == clip.reference.dtype == torch.float32


def test_a_teacher_and_its_validation(pretended):
    parts = nets()
    common = {name: parts[name] for name in ("vae", "identity", "sync_loss")}
    module = TeacherModule(parts["teacher"], EVERY_TERM, None, schedule=SCHEDULES["k2"], **common)
    module.lip_probe.to("cuda")  # Lightning moves the whole module
    assert_on_gpu(module.step_losses(bytes_on_gpu()))
    module.log = lambda *_, **__: None
    module.eval()
    # Its noise is drawn on the processor, which mixes with nothing else: seeded there, it is the same everywhere.
    clip = bytes_on_gpu()
    clip.start = SimpleNamespace(tolist=lambda: [0] * 4)
    videos = module.validation_step(clip, 0)
    assert {video.device.type for video in videos.values()} == {"cuda"}


@pytest.mark.parametrize("phase", ["match", "own_steps"])
def test_a_student_in_both_phases(pretended, phase):
    parts = nets()
    common = {name: parts[name] for name in ("vae", "identity", "sync_loss", "teacher")}
    module = StudentModule(parts["student"], EVERY_TERM, None, schedule=SCHEDULES["k2"], schedules=SCHEDULES, **common)
    module.lip_probe.to("cuda")
    assert_on_gpu(getattr(module, phase)(bytes_on_gpu()))


@pytest.mark.parametrize("decoder_only", [False, True])
def test_a_vae_also_its_decoder_alone(pretended, decoder_only):
    module = VAEModule(nets()["vae"], EVERY_TERM, None, decoder_only=decoder_only, carried_share=0.5)
    assert_on_gpu(module.step_losses(bytes_on_gpu()))
