"""Every stage on a batch of noise: finite terms, a gradient for everything trained, none for anything frozen."""

from dataclasses import fields
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fakes import LATENT_CHANNELS, fake_clip, fake_denoiser, fake_vae, part_of
from torch.nn.functional import one_hot

from tsd import losses
from tsd.clip import VISEME_PAST, VISEMES, viseme_windows
from tsd.diffusion import S_MAX, Schedule, noise_weight
from tsd.losses import TERMS, LossWeights
from tsd.modules.augmentation import CARRY, other_voices, similarities
from tsd.modules.base import WARMUP, clip_noise, eyes_region, mouth_region
from tsd.modules.denoiser import VALIDATION_STRENGTHS
from tsd.modules.identity import IdentityModule
from tsd.modules.lipreader import LipReaderModule
from tsd.modules.mouth import PATIENCE, MouthModule
from tsd.modules.student import StudentModule
from tsd.modules.teacher import TeacherModule
from tsd.modules.vae import VAEModule, roughness
from tsd.modules.visemes import VisemeModule
from tsd.nets.affine import frame_to_reference
from tsd.nets.identity import IdentityNet
from tsd.nets.lipreader import LipReader
from tsd.nets.mouth import MouthNet
from tsd.nets.sync import SyncNet
from tsd.nets.vae import OF_LATENTS
from tsd.nets.visemes import VisemeNet
from tsd.training.callbacks import Compile

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
    anchor=0.1,
    mouth_motion=0.5,
    consistency=0.5,
    energy=0.5,
    denoised=1.0,
)
ADAMW = partial(torch.optim.AdamW, lr=1e-3)
SCHEDULES = {"k1": Schedule((S_MAX,)), "k2": Schedule((S_MAX, 1.0)), "k4": Schedule((S_MAX, 4.0, 1.2, 0.4))}


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
        "vae": lambda: VAEModule(fake_vae(), LossWeights(), ADAMW),
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


# All stages


@pytest.mark.parametrize("name", ["vae", "teacher", "student"])
def test_the_terms_of_a_stage_are_those_it_is_known_for(name):
    """A term that a table does not name would change what a run comes to and not its record."""
    weights = LossWeights(**{term.name: 1.0 for term in fields(LossWeights)})
    stages = {
        "vae": [trained_by(VAEModule(fake_vae(), weights, ADAMW))],
        "teacher": [trained_by(teacher(weights))],
        "student": [student(weights, done=done) for done in (0.1, 0.9)],
    }
    named = set()
    for stage in stages[name]:
        for seed in range(6):  # terms of a student's own steps depend on which it draws
            torch.manual_seed(seed)
            named |= set(stage.step_losses(fake_clip(frames=7)))
    assert named == TERMS[name]


def test_a_decoder_that_is_trained_alone_leaves_latents_as_they_are():
    stage = trained_by(VAEModule(fake_vae(), LossWeights(), ADAMW, decoder_only=True))
    before = {name: value.clone() for name, value in stage.net.state_dict().items()}
    optimizer = stage.configure_optimizers()["optimizer"]
    stage.training_step(fake_clip(), 0).backward()
    optimizer.step()
    assert "train/kl" not in stage.logged
    changed = {name for name, value in stage.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if not name.startswith(OF_LATENTS)}


@pytest.mark.parametrize("shared_from", [None, 2.0])
def test_validation_is_under_noise_of_the_kind_that_is_learnt(monkeypatch, shared_from):
    """At 0.3, 1, 3 and 40, and, where a sample begins, always shared."""
    stage, kinds = trained_by(teacher(shared_from=shared_from)).eval(), []

    def spy(clip, z, shared, draw):
        kinds.append(shared)
        return torch.zeros_like(z)

    monkeypatch.setattr("tsd.modules.denoiser.clip_noise", spy)
    stage.validation_step(fake_clip(), 0)
    assert kinds == [*([0.0, 0.0, 1.0, 1.0] if shared_from else [0.0] * 4), 1.0]


def test_a_teacher_takes_its_steps_from_pure_noise_where_it_has_learnt_that_noise():
    """Noise that a video begins with is the same in all frames; one that knows it from 5 on goes from 5 to the end."""

    def steps(**more) -> tuple[float, ...]:
        module = TeacherModule(fake_denoiser(), LossWeights(identity=0.0), ADAMW, fake_vae(), SCHEDULES["k2"], **more)
        return module.schedules["many"].strengths

    assert len(steps()) == len(steps(shared_from=5.0)) == 20
    assert steps()[-1] < 0.1 and steps(shared_from=5.0)[-1] == pytest.approx(5.0)


def test_noise_is_shared_from_a_strength_on_and_new_in_every_frame_below(monkeypatch):
    z, strengths = torch.zeros(4, 5, 4, 8, 8), torch.tensor([0.3, 1.5, 5.0, 80.0])
    monkeypatch.setattr("tsd.modules.denoiser.draw_strengths", lambda count, log_normal, device: strengths)
    _, s, eps = student(shared_from=5.0).noisy(z)
    alike = [torch.equal(window[0], window[-1]) for window in eps]
    assert alike == [False, False, True, True] and torch.equal(s, strengths)
    stage = student()
    parts = [stage.noisy(z)[2] for _ in range(20)]  # otherwise by any part, in half of the windows
    correlation = [float((window[0] * window[-1]).mean()) for eps in parts for window in eps]
    assert sum(c > 0.3 for c in correlation) > 10 and sum(abs(c) < 0.2 for c in correlation) > 20


def test_nets_are_compiled_for_training_and_not_for_validation(monkeypatch):
    """A student's teacher, too; what is only measured with is as it was, and other nets are refused."""
    compiled, stances = [], []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net, **_: compiled.append(net))
    monkeypatch.setattr(torch.compiler, "set_stance", stances.append)
    callback, module = Compile(), student()
    on = {kind: SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(kind))) for kind in ("cpu", "cuda")}
    callback.on_fit_start(on["cuda"], module)
    assert compiled == [module.net, module.frozen["teacher"]]
    callback.on_validation_start(None, module)
    callback.on_validation_end(None, module)
    assert stances == ["force_eager", "default"]
    with pytest.raises(ValueError, match="callbacks=compiled is for stage=teacher and stage=student"):
        callback.on_fit_start(on["cuda"], VAEModule(fake_vae(), LossWeights(), ADAMW))
    with pytest.raises(ValueError, match="callbacks=compiled is for a GPU"):
        callback.on_fit_start(on["cpu"], module)


def test_a_decoder_meets_what_a_student_makes():
    """Of the clip's words and motion, from pure noise; painted as the clip's own frames, which are then not encoded."""
    student = fake_denoiser(causal=True)
    given = {"decoder_only": True, "schedules": {"k1": SCHEDULES["k1"]}, "student": student}
    stage, clip = trained_by(VAEModule(fake_vae(), LossWeights(), ADAMW, generated_share=1.0, **given)), fake_clip()
    asked = []
    hook = student.register_forward_pre_hook(lambda _, args: asked.append(args))
    torch.manual_seed(3)
    terms = stage.step_losses(clip)
    ((z_s, s, condition, _),) = asked
    assert s.tolist() == [S_MAX] * len(clip) and torch.equal(condition.visemes, clip.visemes)
    assert torch.equal(condition.motion, clip.motion) and torch.equal(condition.motion_known, clip.motion_known)
    assert z_s.std() == pytest.approx(S_MAX, rel=0.2) and torch.equal(z_s[:, 0], z_s[:, -1])
    sum(terms.values()).backward()
    assert all(p.grad is None for p in student.parameters())
    assert any(p.grad is not None and p.grad.any() for p in stage.net.decoder.parameters())
    asked.clear()
    never = trained_by(VAEModule(fake_vae(), LossWeights(), ADAMW, generated_share=0.0, **given))
    never.step_losses(clip)
    assert not asked
    hook.remove()
    for more, words in [({"generated_share": 1.5}, "0..1"), ({"generated_share": 0.5}, "no student")]:
        with pytest.raises(ValueError, match=words):
            VAEModule(fake_vae(), LossWeights(), ADAMW, decoder_only=True, **more)
    with pytest.raises(ValueError, match="set decoder_only=true"):
        VAEModule(fake_vae(), LossWeights(), ADAMW, generated_share=0.5, schedules=SCHEDULES, student=student)


def test_latents_that_are_carried_are_painted_as_the_clip_likewise_carried(monkeypatch):
    """By one cell to the right: latents, pictures and mouth; where the head is comes after it, where that is told."""
    cell = torch.eye(2, 3).repeat(3, 1, 1)
    cell[:, 0, 2] = 4 / 32
    asked, wanted, told = [], [], {}
    monkeypatch.setattr("tsd.modules.vae.LATENT_NOISE", 0.0)
    monkeypatch.setattr("tsd.modules.vae.P_NO_MOTION", 0.0)
    monkeypatch.setattr("tsd.modules.vae.similarities", lambda *given: asked.append(given) or cell)
    real = losses.reconstruction
    monkeypatch.setattr(losses, "reconstruction", lambda a, b, region=None: wanted.append((b, region)) or real(a, b))
    stage, clip = trained_by(VAEModule(fake_vae(), LossWeights(mouth=0.5), ADAMW, carried_share=0.5)), fake_clip()
    stage.net.to_moments[-1].bias.data[LATENT_CHANNELS:] = -40.0  # no noise of the posterior's own
    clip.motion_known[1] = False
    decode = stage.net.decode_raw
    monkeypatch.setattr(stage, "track_statistics", lambda mean: None)

    def spy(z, appearance, count):
        told.update(z=z, maps=appearance.maps)
        return decode(z, appearance, count)

    monkeypatch.setattr(stage.net, "decode_raw", spy)
    stage.step_losses(clip)
    frames, z = clip.frames.flatten(0, 1), stage.net.encode(clip.frames).flatten(0, 1)
    assert asked == [(len(clip), 0.5, frames.device)]
    torch.testing.assert_close(told["z"][..., :-1], z[..., 1:], atol=1e-3, rtol=1e-3)
    (pictures, _), (_, mouth) = wanted
    torch.testing.assert_close(pictures[..., :-4], frames[..., 4:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mouth[..., :-4], mouth_region(clip, 32).flatten(0, 1)[..., 4:], atol=1e-4, rtol=1e-4)
    maps = frame_to_reference(clip.motion, clip.reference_motion, clip.motion_known).unflatten(0, clip.motion.shape[:2])
    shifted = told["maps"].unflatten(0, clip.motion.shape[:2]) - maps
    torch.testing.assert_close(shifted[[0, 2]][..., 2], maps[[0, 2]][..., 0] * 4 / 32)
    assert not shifted[1].any() and not shifted[..., :2].any()

    asked.clear()
    for other in (
        stage.eval(),
        trained_by(VAEModule(fake_vae(), LossWeights(), ADAMW, decoder_only=True, carried_share=0.5)),
    ):
        other.step_losses(clip)
    assert not asked
    with pytest.raises(ValueError, match="carried_share is a share of the clips, 0..1, got 1.5"):
        VAEModule(fake_vae(), LossWeights(), ADAMW, carried_share=1.5)


def test_white_latents_have_a_roughness_of_two_and_smooth_ones_less():
    torch.manual_seed(0)
    white = torch.randn(2, 4, 8, 32, 32)
    assert float(roughness(white)) == pytest.approx(2, rel=0.05)
    columns = torch.randn(1, 1, 8, 1, 32).expand_as(white)  # the same in every row
    assert float(roughness(columns)) == pytest.approx(1, rel=0.25)
    assert float(roughness(torch.ones_like(white))) == 0


def test_some_pictures_are_turned_sized_and_shifted_about_their_middle():
    torch.manual_seed(0)
    maps = similarities(4000, 0.25, "cpu")
    stay = (maps == torch.eye(2, 3)).all(-1).all(-1)
    assert float((~stay).float().mean()) == pytest.approx(0.25, abs=0.03)
    linear = maps[~stay][..., :2]
    turns, sizes = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]), linear.det().sqrt().log()
    shifts = linear @ torch.full((2,), 0.5) + maps[~stay][..., 2] - 0.5
    for values, std in zip((turns, sizes, shifts), CARRY, strict=True):
        assert float(values.std()) == pytest.approx(std, rel=0.1) and abs(float(values.mean())) < 0.1 * std


@pytest.mark.parametrize("name", STAGES)
def test_a_step_is_finite_and_trains_everything_but_the_frozen(name):
    stage = STAGES[name]()
    torch.manual_seed(0)
    total = stage.training_step(clip_for(stage), 0)
    assert total.shape == () and total.isfinite() and total > 0
    total.backward()
    missing = [n for n, p in stage.named_parameters() if p.grad is None or not p.grad.any()]
    # A viseme or identity that is withheld from one batch reaches the net in the next.
    assert missing == []
    assert all(p.grad is None for net in stage.frozen.values() for p in net.parameters())
    assert stage.logged["train/total"] == pytest.approx(total.item(), rel=1e-5)
    assert all(torch.tensor(value).isfinite() for value in stage.logged.values())


@pytest.mark.parametrize("name", STAGES)
def test_validation_is_finite_and_the_same_twice(name):
    stage = STAGES[name]().eval()
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs = stage.validation_step(clip_for(stage), 0)
        seen.append((outputs, dict(stage.logged)))
    assert torch.tensor(stage.logged["val/total"]).isfinite()
    assert seen[0][1] == seen[1][1]
    assert all(torch.equal(seen[0][0][key], seen[1][0][key]) for key in seen[0][0])


@pytest.mark.parametrize("name", ["teacher", "student matching"])
def test_frozen_nets_are_nobodys_business(name):
    stage = STAGES[name]()
    assert {"vae", "identity"} <= set(stage.frozen)
    assert {key.split(".")[0] for key in stage.state_dict()} == {"net"}
    assert set(stage.parameters()) == set(stage.net.parameters())
    optimizer = stage.configure_optimizers()["optimizer"]
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(stage.net.parameters())
    stage.train()
    assert not any(net.training or any(p.requires_grad for p in net.parameters()) for net in stage.frozen.values())


def test_the_learning_rate_rises_then_falls_to_a_twentieth():
    stage = small_stage("mouth")
    setup = stage.configure_optimizers()
    optimizer, scheduler, rates = setup["optimizer"], setup["lr_scheduler"]["scheduler"], []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1e-3, rel=1e-3) and peak == pytest.approx(1000 * WARMUP, abs=1)
    assert rates[0] < 1e-4 and rates[-1] == pytest.approx(5e-5, rel=0.01)
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)


# Teacher and student


def test_teacher_terms_are_the_wanted_ones():
    torch.manual_seed(0)
    assert set(teacher().step_losses(fake_clip())) == TERMS["teacher"]
    only_noise = teacher(LossWeights(noise=1.0), identity=None, sync_loss=None)
    assert set(only_noise.step_losses(fake_clip())) == {"noise"} and set(only_noise.frozen) == {"vae"}


def test_a_student_that_compares_pictures_is_shown_them():
    """Else frames whose latents are cached are grey, and so would its faces be."""
    assert student().pictures and not student(LossWeights(rollout=1.0)).pictures and not teacher().pictures


def test_student_terms_are_the_wanted_ones():
    torch.manual_seed(0)
    assert set(student(done=0.49).step_losses(fake_clip())) == TERMS["teacher"] | {"distill", "consistency"}
    own = student(done=0.5, schedules={"k1": SCHEDULES["k1"]}).step_losses(fake_clip())
    assert set(own) == TERMS["teacher"] - {"noise", "denoised"} | {"rollout", "trajectory", "picture", "energy"}, (
        "one step has no next to agree with"
    )
    assert set(student(LossWeights(rollout=1.0), done=0.5).step_losses(fake_clip())) == {"rollout"}


@pytest.mark.parametrize("weights", [{}, {"noise": 0.0}], ids=["none", "zero"])
def test_weight_0_gives_no_gradient(weights):
    """All weights 0: terms that come for free are logged, and move nothing."""
    stage = trained_by(teacher(LossWeights(**weights), identity=None))
    torch.manual_seed(0)
    stage.training_step(fake_clip(), 0).backward()
    assert stage.logged["train/noise"] > 0 and stage.logged["train/total"] == 0
    assert not any(p.grad.any() for p in stage.net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", sorted(TERMS["teacher"]))
def test_every_term_reaches_the_teacher(name):
    stage = teacher(EVERYTHING)
    torch.manual_seed(0)
    stage.step_losses(fake_clip())[name].backward()
    assert any(p.grad.any() for p in stage.net.parameters() if p.grad is not None)


def test_a_mismatched_reference_counts_where_the_noise_still_shows_the_frames():
    """Eq. 12: the weight of Eq. 5 times 1 / (s^2 + 1), so small strengths count as ever and pure noise hardly."""
    clip, s = fake_clip(batch=2), torch.tensor([40.0, 40.0])
    clip.mismatch = torch.tensor([False, True])
    assert torch.allclose(teacher().weight(clip, s), torch.tensor([40.0**2 + 1, 1.0]))
    assert torch.allclose(teacher().own_share(clip, s), torch.tensor([1.0, 1 / (40.0**2 + 1)]))
    low = torch.tensor([0.01, 0.01])
    assert torch.allclose(teacher().weight(clip, low), noise_weight(low), rtol=1e-3)


def test_a_mismatched_reference_has_no_rollout():
    clip, stage = fake_clip(batch=2), student(LossWeights(rollout=1.0, mouth=1.0), done=0.9)
    clip.mismatch = torch.tensor([True, True])
    torch.manual_seed(0)
    assert all(term == 0 for term in stage.own_steps(clip).values())


def test_what_is_not_known_of_the_mouth_is_left_out():
    stage, clip = teacher(), fake_clip()
    clip.mouth_box[1] = float("nan")
    region = mouth_region(clip, 8)
    assert region.shape == (3, 4, 1, 8, 8) and not region[1].any()
    inside = region[0, 0, 0].nonzero()  # box 0.35..0.65 by 0.6..0.85, centres at (i + 0.5) / 8, half a cell of margin
    assert inside.amin(0).tolist() == [4, 2] and inside.amax(0).tolist() == [6, 5]
    clip.mouth_box = None
    assert "mouth" not in stage.step_losses(clip)


def test_eyes_count_where_the_head_is_known():
    clip = fake_clip()
    clip.motion[:, :, :4] = torch.tensor([0.3, 0.4, 0.7, 0.4])
    clip.motion_known = torch.tensor([True, False, True])
    region = eyes_region(clip, 100)[:, 0, 0]
    assert not region[1].any() and torch.equal(region[0], region[2])
    y, x = region[0].nonzero().unbind(1)  # half as wide as 0.35 * 0.4, half as high as 0.22 * 0.4, and half a cell
    assert (x.min(), x.max(), y.min(), y.max()) == (16, 83, 31, 48) and not region[0, :, 46:54].any()


def test_decoding_neighbours_needs_flow_only_for_the_temporal_term():
    clip = fake_clip()
    clip.flow = clip.visible = clip.pair = None
    with pytest.raises(ValueError, match="set data.flow=true"):
        teacher().step_losses(clip)
    assert "identity" in teacher(LossWeights(noise=1.0, identity=1.0)).step_losses(clip)
    assert "identity" in teacher(LossWeights(noise=1.0, identity=1.0)).step_losses(still(clip))


def still(clip):
    """The first frame of every window."""
    cut = {name: getattr(clip, name)[:, :1] for name in ("frames", "visemes", "motion", "viseme_labels", "mouth_open")}
    return type(clip)(**{**vars(clip), **cut, "mouth_box": clip.mouth_box[:, :1], "mel": None})


def test_an_identity_term_needs_an_embedder():
    with pytest.raises(ValueError, match="run `make train-identity`"):
        teacher(identity=None)


def test_cached_latents_stand_in_for_the_vae():
    stage, clip = teacher(), fake_clip()
    z, reference = stage.latents(clip)
    clip.latents, clip.reference_latent = z.half(), reference.half()
    clip.frames = torch.zeros_like(clip.frames)
    again, other = stage.latents(clip)
    assert torch.allclose(again, z, atol=1e-2) and torch.allclose(other, reference, atol=1e-2)
    assert again.dtype == torch.float32


def test_conditions_are_withheld_in_training_only():
    stage, clip = teacher(), fake_clip(batch=200, frames=2)
    _, reference = stage.latents(clip)
    torch.manual_seed(0)
    trained = stage.train().condition(clip, reference)
    unseen = (trained.visemes.abs().amax((1, 2, 3)) == 0).float().mean()
    assert 0.01 < unseen < 0.12 and 0.03 < (~trained.motion_known).float().mean() < 0.2
    shown = stage.eval().condition(clip, reference)
    assert torch.equal(shown.visemes, clip.visemes) and shown.motion_known.all()


def test_validation_of_a_clip_does_not_depend_on_its_batch():
    stage, clip = trained_by(teacher()).eval(), fake_clip()
    with torch.no_grad():
        whole, total = stage.validation_step(clip, 0)["pred"], stage.logged["val/total"]
        parts, totals = [], []
        for rows in ([2], [0, 1]):
            parts.append(stage.validation_step(part_of(clip, rows), 0)["pred"])
            totals.append(stage.logged["val/total"] * len(rows))
    assert torch.allclose(torch.cat([parts[1], parts[0]]), whole, atol=1e-4)
    assert sum(totals) / 3 == pytest.approx(total, rel=1e-4)


def test_noise_of_validation_differs_between_clips_windows_and_draws():
    clip = fake_clip(batch=2)
    clip.key = ["trainval/p0001/00001.mp4", "trainval/p0001/00002.mp4"]
    clip.start = torch.zeros(2, dtype=torch.long)
    like = torch.zeros(2, 4, 4, 8, 8)
    noise = clip_noise(clip, like, 0.0, 0)
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(noise, clip_noise(clip, like, 0.0, 1))
    clip.start = torch.ones(2, dtype=torch.long)
    assert not torch.equal(noise, clip_noise(clip, like, 0.0, 0))
    assert torch.equal(*clip_noise(clip, like, 1.0, 0)[0, :2])


def test_validation_shows_every_strength_and_a_sample_against_the_reconstruction():
    stage, clip = trained_by(teacher()).eval(), fake_clip()
    with torch.no_grad():
        outputs = stage.validation_step(clip, 0)
    assert {f"val/noise_{s:g}" for s in VALIDATION_STRENGTHS} < set(stage.logged)
    vae = stage.frozen["vae"]
    maps = frame_to_reference(clip.motion, clip.reference_motion, clip.motion_known)
    appearance = vae.appearance(clip.reference).along(maps)
    assert torch.equal(outputs["target"], vae.decode(vae.encode(clip.frames), appearance))
    assert outputs["pred"].shape == clip.frames.shape and not torch.allclose(
        outputs["pred"], outputs["target"], atol=0.1
    )


@torch.no_grad()
@pytest.mark.parametrize(("start", "end"), [(80.0, 1.0), (4.0, 1.2), (0.4, 0.0)])
def test_the_teacher_walks_to_the_strength_it_is_sent_to(start, end):
    """A teacher that knows the noise arrives at z + end * eps, in as many steps as it was given."""
    stage = student(teacher_steps=3)
    z, eps = torch.randn(2, 4, 4, 8, 8), torch.randn(2, 4, 4, 8, 8)
    asked = []
    stage.frozen["teacher"] = lambda z_s, s, condition: asked.append(float(s[0])) or (z_s - z) / s[0]
    landed = stage.teacher_walk(z + start * eps, start, end, None)
    assert torch.allclose(landed, z + end * eps, atol=1e-4)
    assert len(asked) == 3 and asked[0] == pytest.approx(start)
    assert asked == sorted(asked, reverse=True) and asked[-1] > end


def test_a_student_as_good_as_its_teacher_has_nothing_to_match():
    stage = student(LossWeights(distill=1.0))
    stage.hold_frozen(teacher=stage.net)
    torch.manual_seed(0)
    assert stage.match(fake_clip())["distill"] == 0


def test_own_steps_start_from_pure_noise_and_judge_one_step(monkeypatch):
    """Steps before the judged one carry no gradient; the judged strengths are those of the schedules."""
    stage, clip, calls = student(LossWeights(rollout=1.0)), fake_clip(), []
    forward = stage.net.forward

    def seen(z_s, s, condition):
        calls.append((float(s[0]), torch.is_grad_enabled(), float(z_s.std())))
        return forward(z_s, s, condition)

    monkeypatch.setattr(stage.net, "forward", seen)
    judged = set()
    for seed in range(40):
        calls.clear()
        torch.manual_seed(seed)
        stage.own_steps(clip)
        assert calls[0][0] == S_MAX and calls[0][2] == pytest.approx(S_MAX, rel=0.2)
        assert [grad for _, grad, _ in calls] == [False] * (len(calls) - 1) + [True]
        judged.add(calls[-1][0])
    assert sorted(judged) == pytest.approx(sorted({s for schedule in SCHEDULES.values() for s in schedule.strengths}))


def test_a_student_may_learn_some_of_its_schedules_only(monkeypatch):
    stage, clip, judged = student(LossWeights(rollout=1.0), learns=["k2"]), fake_clip(), set()
    forward = stage.net.forward

    def seen(z_s, s, condition):
        if torch.is_grad_enabled():
            judged.add(float(s[0]))
        return forward(z_s, s, condition)

    monkeypatch.setattr(stage.net, "forward", seen)
    for seed in range(10):
        torch.manual_seed(seed)
        stage.own_steps(clip)
    assert sorted(judged) == pytest.approx(sorted(SCHEDULES["k2"].strengths))
    assert set(stage.schedules) == set(SCHEDULES)  # it can be used with all


@pytest.mark.parametrize("learns", [[], ["k3"], ["k2", "k3"]])
def test_a_student_learns_schedules_that_there_are(learns):
    with pytest.raises(ValueError, match=r"learns must name some of the schedules k1, .*, got \["):
        student(learns=learns)


def test_a_share_of_the_batches_goes_on_matching_the_teacher():
    torch.manual_seed(0)
    loss = LossWeights(rollout=1.0, distill=1.0)
    kinds = [set(student(loss, done=0.6, match_share=0.25).step_losses(fake_clip(seed=n))) for n in range(80)]
    matched = sum(kind == {"noise", "distill"} for kind in kinds)
    assert 10 <= matched <= 30 and kinds.count({"rollout"}) == 80 - matched


@pytest.mark.parametrize("given", [{"own_steps_from": 50}, {"match_share": -0.5}])
def test_a_fraction_is_a_fraction(given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=rf"{name} is a .*, 0..1, got {value}"):
        student(**given)


# VAE, visemes, identity, mouth


def test_the_vae_learns_the_statistics_of_its_latents():
    stage = small_stage("vae")
    stage.net.latent_mean.zero_()
    stage.net.latent_std.fill_(1)
    clip = fake_clip()
    stage.training_step(clip, 0)
    with torch.no_grad():
        z = stage.net.encode(clip.frames)
    assert torch.allclose(z.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-4), "the first batch decides alone"
    assert torch.allclose(z.std((0, 1, 3, 4)), torch.ones(4), atol=1e-2)
    before = stage.net.latent_std.clone()
    stage.eval().step_losses(fake_clip(seed=1))
    assert torch.equal(stage.net.latent_std, before), "validation does not move them"
    for seed in range(300):
        stage.train().track_statistics(3 + 2 * torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(seed)))
    assert torch.allclose(stage.net.latent_mean, torch.full((4,), 3.0), atol=0.1)
    assert torch.allclose(stage.net.latent_std, torch.full((4,), 2.0), atol=0.1)


def test_vae_terms_are_named_as_their_weights():
    stage, clip = small_stage("vae"), fake_clip()
    assert set(stage.step_losses(clip)) == {"reconstruction", "moved", "edges", "kl"}
    stage.loss = LossWeights(mouth=1.0)
    assert set(stage.step_losses(clip)) == {"reconstruction", "moved", "edges", "kl", "mouth"}
    clip.mouth_box = None
    assert "mouth" not in stage.step_losses(clip), "recorded video without known boxes trains all the same"


def test_the_decoder_learns_to_move_the_reference():
    """Frames are the reference shifted: the moved picture must come nearer to them than the reference is."""
    torch.manual_seed(0)
    stage, clip = small_stage("vae"), fake_clip(batch=4)
    coarse = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4), size=clip.frames.shape[-2:], mode="bicubic")
    clip.reference = coarse * 2 - 1
    clip.motion_known[:] = False
    clip.frames = clip.reference[:, None].roll(2, -1).expand_as(clip.frames).contiguous()
    optimizer = torch.optim.Adam(stage.net.parameters(), 3e-3)
    before = losses.moved(clip.reference.repeat_interleave(clip.frames.shape[1], 0), clip.frames.flatten(0, 1))
    for _ in range(60):
        terms = stage.step_losses(clip)
        optimizer.zero_grad(), stage.loss.total(terms).backward(), optimizer.step()
    assert terms["moved"] < 0.6 * before


def test_frames_without_visemes_do_not_count_in_the_recogniser():
    stage = small_stage("visemes").eval()
    clip = fake_clip()
    clip.viseme_labels[:, 2:] = 0
    logits = stage.net(clip.mel)
    by_hand = -(clip.viseme_labels[:, :2] * logits[:, :2].log_softmax(-1)).sum(-1).mean()
    assert stage.cross_entropy(clip.mel, clip.viseme_labels).item() == pytest.approx(by_hand.item(), rel=1e-5)
    clip.viseme_labels[:] = 0
    assert stage.cross_entropy(clip.mel, clip.viseme_labels) == 0


def test_sound_is_changed_but_not_its_time():
    torch.manual_seed(0)
    mel = torch.zeros(64, 40, 80)
    mel[:, 20:] = 5.0
    heard = other_voices(mel)
    assert heard.shape == mel.shape and not torch.allclose(heard, mel, atol=0.1)
    step = heard.mean(2).diff(dim=1)
    assert (step.argmax(1) == 19).all(), "the onset stays in its column"


def test_identity_tells_people_apart_and_forgives_the_same_person():
    stage, clip = small_stage("identity"), fake_clip(batch=4, side=64)
    stage.net = torch.nn.Identity()  # the embedding is the input
    unit = torch.eye(4)
    loss, accuracy = stage.contrast(clip, unit, unit)
    assert accuracy == 1 and loss < 0.01
    loss, accuracy = stage.contrast(clip, unit, unit.roll(1, 0))
    assert accuracy == 0 and loss > 5
    clip.identity = torch.tensor([0, 0, 1, 2])
    same_face = unit[[0, 0, 2, 3]]
    loss, accuracy = stage.contrast(clip, same_face, same_face)
    assert accuracy == 1 and loss < 0.01, "two clips of one person are not each other's negatives"


def test_a_mouth_that_is_not_known_does_not_count():
    stage, clip = small_stage("mouth").eval(), fake_clip(side=64)
    frames, truth = clip.frames.flatten(0, 1), clip.mouth_open.flatten()
    truth[3:] = float("nan")
    with torch.no_grad():
        torch.testing.assert_close(stage.error(frames, truth), stage.error(frames[:3], truth[:3]))
        assert stage.error(frames[3:], truth[3:]) == 0
    clip.mouth_open = None
    assert stage.training_step(clip, 0) == 0, "the next batch may hold a drawn mouth"
    trained_by(stage, PATIENCE)
    with pytest.raises(ValueError, match="no clip whose mouth opening is known.*make a corpus with source=synthetic"):
        stage.training_step(clip, 0)


def test_a_recorded_mouth_is_as_open_as_drawn_ones_that_say_the_same():
    stage = small_stage("mouth")
    for seed in range(40):
        clip = fake_clip(batch=4, side=64, seed=seed)
        clip.visemes = viseme_windows(one_hot(clip.viseme_labels.argmax(-1), len(VISEMES)).float()).contiguous()
        clip.mouth_open = 0.1 * clip.visemes[..., VISEME_PAST, VISEMES.index("aa")]  # opened by /a/ alone
        stage.learn_speech(clip)
    drawn = clip.mouth_open.flatten()
    assert set(drawn.tolist()) == {0.0, drawn.max().item()}
    torch.testing.assert_close(stage.openings(clip), drawn)
    clip.mouth_open = torch.full_like(clip.mouth_open, torch.nan)
    torch.testing.assert_close(stage.openings(clip), drawn, atol=0.01, rtol=0)
    clip.visemes[0] = 0
    assert stage.openings(clip).view(4, -1)[0].isnan().all(), "nobody knows what is said"
    clip.mouth_open, learned = drawn.view(4, -1), stage.squares.clone()
    stage.learn_speech(clip)
    unheard = stage.squares - learned
    assert 0 < unheard[-1, -1] == 3 * clip.frames.shape[1], "and nothing is learned from it"


def test_every_named_weight_is_computed_by_some_stage():
    torch.manual_seed(0)
    terms = set(small_stage("vae").step_losses(fake_clip())) | set(teacher().step_losses(fake_clip()))
    for done in (0.0, 0.9):
        terms |= set(student(done=done).step_losses(fake_clip()))
    terms |= set(student(done=0.9, schedules={"k4": SCHEDULES["k4"]}).step_losses(fake_clip()))
    assert terms == set(vars(LossWeights())) and all(callable(getattr(losses, name)) for name in terms)
