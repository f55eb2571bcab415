"""Stage ``vae``: what it learns, alone or with its decoder only, and augmented latents."""

from dataclasses import replace

import pytest
import torch
from fake_stages import ADAMW, VAE_WEIGHTS, small_stage, trained_by
from fakes import LATENT_CHANNELS, fake_clip, fake_vae

from tsd import losses
from tsd.losses import LossWeights
from tsd.modules.augmentation import CARRY, similarities
from tsd.modules.base import mouth_region
from tsd.modules.vae import GUESS, VAEModule, guesses, roughness
from tsd.nets.affine import frame_to_reference
from tsd.nets.vae import OF_LATENTS


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


def test_a_decoder_that_is_trained_alone_leaves_latents_as_they_are():
    stage = trained_by(VAEModule(fake_vae(), VAE_WEIGHTS, ADAMW, decoder_only=True))
    before = {name: value.clone() for name, value in stage.net.state_dict().items()}
    optimizer = stage.configure_optimizers()["optimizer"]
    stage.training_step(fake_clip(), 0).backward()
    optimizer.step()
    assert "train/kl" not in stage.logged
    changed = {name for name, value in stage.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if not name.startswith(OF_LATENTS)}


def test_a_taught_decoder_learns_what_the_teacher_paints_of_guessed_latents(monkeypatch):
    """The target is the teacher's picture of encoded and of guessed latents; in validation it is the frame."""
    stage = trained_by(VAEModule(fake_vae(), VAE_WEIGHTS, ADAMW, decoder_only=True, taught=True))
    teacher, clip, wanted, told = fake_vae(), fake_clip(), [], []
    stage.learn_from(teacher.requires_grad_(False))
    assert not any(name.startswith("teacher") for name in stage.state_dict())
    real, decode = losses.reconstruction, stage.net.decode_raw
    monkeypatch.setattr(losses, "reconstruction", lambda a, b, region=None: wanted.append(b) or real(a, b))
    monkeypatch.setattr(stage.net, "decode_raw", lambda *given: told.append(given) or decode(*given))
    for share in (0.0, 1.0):
        monkeypatch.setattr("tsd.modules.vae.P_GUESSED", share)
        stage.step_losses(clip)
        torch.testing.assert_close(wanted[-1], teacher.decode_raw(*told[-1]).picture.clamp(-1, 1))
    assert (told[1][0] - told[0][0]).abs().mean() > 0.1
    stage.eval().step_losses(clip)
    assert torch.equal(wanted[-1], clip.frames.flatten(0, 1))
    with pytest.raises(ValueError, match="only a decoder of the same size can show"):
        stage.learn_from(fake_vae(64))


def test_a_taught_decoder_is_told_where_the_teacher_looks():
    """Its pictures may hardly show where a plain wall is looked up, so offsets count by themselves."""
    stage, clip = trained_by(VAEModule(fake_vae(), VAE_WEIGHTS, ADAMW, decoder_only=True, taught=True)), fake_clip()
    clip = replace(clip, frames=0 * clip.frames, reference=0 * clip.reference)
    teacher = fake_vae()
    stage.learn_from(teacher.requires_grad_(False))
    torch.manual_seed(0)
    same = stage.step_losses(clip)["moved"]
    with torch.no_grad():
        teacher.to_flow[-1].bias[0] += 1.0  # a tenth of the side
    torch.manual_seed(0)
    assert stage.step_losses(clip)["moved"] - same > 0.1


def test_guessed_latents_lie_between_frame_and_reference_and_their_errors_are_smooth():
    torch.manual_seed(0)
    z, reference = torch.zeros(4000, 2, 8, 8), torch.ones(4000, 2, 8, 8)
    made = guesses(z, reference, 2)
    ways = made.mean((1, 2, 3))
    assert GUESS[0] - 0.2 < ways.min() and ways.max() < GUESS[1] + 0.2
    assert ways.mean() == pytest.approx(sum(GUESS) / 2, abs=0.02)
    assert (ways[::2] - ways[1::2]).abs().mean() < 0.1, "by as much in all frames of a clip"
    inner = made - made.mean((2, 3), keepdim=True)
    assert (inner[..., 1:] * inner[..., :-1]).mean() > 0.4 * inner.square().mean()


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
        trained_by(VAEModule(fake_vae(), VAE_WEIGHTS, ADAMW, decoder_only=True, carried_share=0.5)),
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
