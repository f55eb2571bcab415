"""What teacher and student share: conditioning, noise, terms, validation."""

import pytest
import torch
from fake_stages import ADAMW, EVERYTHING, SCHEDULES, student, teacher, trained_by
from fakes import fake_clip, fake_denoiser, fake_vae, part_of

from tsd.diffusion.noise import noise_weight
from tsd.losses import TERMS, LossWeights
from tsd.modules.base import clip_noise, eyes_region, mouth_region
from tsd.modules.denoiser import VALIDATION_STRENGTHS
from tsd.modules.teacher import TeacherModule
from tsd.nets.affine import frame_to_reference


def test_teacher_terms_are_the_wanted_ones():
    torch.manual_seed(0)
    assert set(teacher().step_losses(fake_clip())) == TERMS["teacher"]
    only_noise = teacher(LossWeights(noise=1.0), identity=None, sync_loss=None)
    assert set(only_noise.step_losses(fake_clip())) == {"noise"} and set(only_noise.frozen) == {"vae"}


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
    noisy = student(shared_from=5.0).noisy(z)
    alike = [torch.equal(window[0], window[-1]) for window in noisy.eps]
    assert alike == [False, False, True, True] and torch.equal(noisy.s, strengths)
    stage = student()
    parts = [stage.noisy(z).eps for _ in range(20)]  # otherwise by any part, in half of the windows
    correlation = [float((window[0] * window[-1]).mean()) for eps in parts for window in eps]
    assert sum(c > 0.3 for c in correlation) > 10 and sum(abs(c) < 0.2 for c in correlation) > 20


def test_a_mismatched_reference_counts_where_the_noise_still_shows_the_frames():
    """Eq. 12: the weight of Eq. 5 times 1 / (s^2 + 1), so small strengths count as ever and pure noise hardly."""
    clip, s = fake_clip(batch=2), torch.tensor([40.0, 40.0])
    clip.mismatch = torch.tensor([False, True])
    assert torch.allclose(teacher().weight(clip, s), torch.tensor([40.0**2 + 1, 1.0]))
    assert torch.allclose(teacher().own_share(clip, s), torch.tensor([1.0, 1 / (40.0**2 + 1)]))
    low = torch.tensor([0.01, 0.01])
    assert torch.allclose(teacher().weight(clip, low), noise_weight(low), rtol=1e-3)


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
    made = stage.latents(clip)
    clip.latents, clip.reference_latent = made.z.half(), made.reference.half()
    clip.frames = torch.zeros_like(clip.frames)
    cached = stage.latents(clip)
    assert torch.allclose(cached.z, made.z, atol=1e-2) and cached.z.dtype == torch.float32
    assert torch.allclose(cached.reference, made.reference, atol=1e-2)


def test_conditions_are_withheld_in_training_only():
    stage, clip = teacher(), fake_clip(batch=200, frames=2)
    reference = stage.latents(clip).reference
    torch.manual_seed(0)
    trained = stage.train().condition(clip, reference)
    unseen = (trained.visemes.abs().amax((1, 2, 3)) == 0).float().mean()
    assert 0.01 < unseen < 0.12 and 0.03 < (~trained.motion_known).float().mean() < 0.2
    shown = stage.eval().condition(clip, reference)
    assert torch.equal(shown.visemes, clip.visemes) and shown.motion_known.all()


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
