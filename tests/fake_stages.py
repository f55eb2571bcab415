"""Every stage around small nets, as if inside a training: enough to run its losses without a corpus."""

from functools import partial
from types import SimpleNamespace

import torch
from fakes import fake_clip, fake_denoiser, fake_vae

from tsd.diffusion import S_MAX, Schedule
from tsd.losses import LossWeights
from tsd.modules.identity import IdentityModule
from tsd.modules.lipreader import LipReaderModule
from tsd.modules.mouth import MouthModule
from tsd.modules.student import StudentModule
from tsd.modules.teacher import TeacherModule
from tsd.modules.vae import VAEModule
from tsd.modules.visemes import VisemeModule
from tsd.nets.identity import IdentityNet
from tsd.nets.lipreader import LipReader
from tsd.nets.mouth import MouthNet
from tsd.nets.sync import SyncNet
from tsd.nets.visemes import VisemeNet

EVERYTHING = LossWeights(
    noise=1.0,
    distill=1.0,
    trajectory=0.5,
    rollout=1.0,
    mouth=0.5,
    eyes=0.5,
    identity=0.02,
    temporal=0.05,
    picture=1.0,
    sync=0.02,
    mouth_motion=0.5,
    lips=0.5,
    consistency=0.5,
    energy=0.5,
    denoised=1.0,
)
ADAMW = partial(torch.optim.AdamW, lr=1e-3)
SCHEDULES = {"k1": Schedule((S_MAX,)), "k2": Schedule((S_MAX, 1.0)), "k4": Schedule((S_MAX, 4.0, 1.2, 0.4))}
VAE_WEIGHTS = LossWeights(reconstruction=1.0, edges=0.5, moved=0.5, kl=1e-4)


def fake_identity() -> IdentityNet:
    torch.manual_seed(5)
    return IdentityNet(8, 8)


def fake_expert() -> SyncNet:
    torch.manual_seed(6)
    return SyncNet(dim=8, channels=8, field=3)


def teacher(loss=EVERYTHING, **kwargs) -> TeacherModule:
    given = {"vae": fake_vae(), "identity": fake_identity(), "sync_loss": fake_expert(), "schedule": SCHEDULES["k2"]}
    given |= kwargs
    return TeacherModule(net=fake_denoiser(causal=False), loss=loss, optimizer=ADAMW, **given)


def student(loss=EVERYTHING, done=0.0, schedules=SCHEDULES, **kwargs) -> StudentModule:
    """A student with the fraction ``done`` of its training behind it."""
    given = {
        "vae": fake_vae(),
        "identity": fake_identity(),
        "sync_loss": fake_expert(),
        "schedule": SCHEDULES["k2"],
        "schedules": schedules,
    } | kwargs
    given["teacher"] = fake_denoiser(causal=False, seed=7)
    module = StudentModule(net=fake_denoiser(causal=True), loss=loss, optimizer=ADAMW, **given)
    return trained_by(module, int(1000 * done))


def trained_by(module, step: int = 0, steps: int = 1000):
    """The module as if inside a training of 1,000 steps; what it logs is kept in ``module.logged``."""
    module.logged = {}
    module.trainer = SimpleNamespace(estimated_stepping_batches=steps, global_step=step)
    module.log = lambda name, value, **_: module.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
    module.log_dict = lambda terms, **_: module.logged.update({k: float(v.detach()) for k, v in terms.items()})
    return module


def small_stage(name: str):
    torch.manual_seed(0)
    build = {
        "vae": lambda: VAEModule(fake_vae(), VAE_WEIGHTS, ADAMW),
        "visemes": lambda: VisemeModule(VisemeNet(16, 2), LossWeights(), ADAMW),
        "identity": lambda: IdentityModule(fake_identity(), LossWeights(), ADAMW),
        "mouth": lambda: MouthModule(MouthNet(8), LossWeights(), ADAMW),
        "lipreader": lambda: LipReaderModule(LipReader(8), LossWeights(), ADAMW),
    }
    return trained_by(build[name]())


def clip_for(stage) -> object:
    return fake_clip(side=64) if isinstance(stage, MouthModule | IdentityModule) else fake_clip()


STAGES = {
    **{name: partial(small_stage, name) for name in ("vae", "visemes", "identity", "mouth", "lipreader")},
    "teacher": lambda: trained_by(teacher()),
    "student matching": lambda: student(done=0.1),
    "student on its own steps": lambda: student(done=0.9),
}
