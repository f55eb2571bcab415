"""The terms of teacher and student that compare more than two tensors: in step, steady, consistent."""

import pytest
import torch
from fake_stages import SCHEDULES, student, teacher, trained_by
from fakes import fake_clip
from torch import nn

from tsd.clip import MELS_PER_FRAME
from tsd.diffusion import S_MIN
from tsd.losses import LossWeights
from tsd.modules.denoiser import Latents


class Listener(nn.Module):
    """An expert of three frames: mouth and sound both point where a dial stands, read from brightness and loudness."""

    field = 3

    def see(self, frames):
        return self.point(frames.mean((2, 3, 4)))

    def hear(self, mel):
        return self.point(mel.unflatten(1, (-1, MELS_PER_FRAME)).mean((2, 3)))

    @staticmethod
    def point(dial):
        dial = 3 * dial[:, 1:-1]
        return torch.stack([dial.cos(), dial.sin()], -1)


class Screen(nn.Module):
    """Stands for the VAE: a latent's first channel is the picture's brightness."""

    def decode(self, z, appearance):
        return z[:, :, :1].expand(-1, -1, 3, -1, -1).repeat_interleave(4, -1).repeat_interleave(4, -2)


def speakers(batch: int = 4, frames: int = 7):
    """A clip as bright as it is loud, and its latents."""
    clip = fake_clip(batch, frames)
    dial = torch.rand(batch, frames) * 2 - 1
    clip.frames = dial[:, :, None, None, None].expand_as(clip.frames).contiguous()
    clip.mel = dial.repeat_interleave(MELS_PER_FRAME, 1)[..., None].expand_as(clip.mel).contiguous()
    z = dial[:, :, None, None, None].expand(batch, frames, 4, 8, 8).contiguous()
    return clip, z


def listening(**kwargs):
    return teacher(LossWeights(sync=1.0), identity=None, sync_loss=Listener(), vae=Screen(), **kwargs)


def sync_of(stage, clip, z) -> torch.Tensor:
    return stage.picture_terms(clip, Latents(z, torch.zeros(len(clip), 4, 8, 8)), z, ("sync",))["sync"]


# Lips and sound


@pytest.mark.parametrize("pair", range(1, 7))
def test_lips_in_step_lose_less_than_lips_out_of_step(pair):
    """Wherever the pair of neighbours lies in the window."""
    (clip, z), stage = speakers(), listening()
    clip.pair[:] = pair
    in_step = sync_of(stage, clip, z)
    for shift in (-2, -1, 1, 2):
        assert sync_of(stage, clip, z.roll(shift, 1)) > 1.2 * in_step
    assert sync_of(stage, clip, z.roll(1, 0)) > 1.2 * in_step, "another clip's lips"
    assert sync_of(stage, clip, torch.zeros_like(z)) > 1.2 * in_step, "lips that do not move"


def test_the_gradient_leads_into_step():
    (clip, z), stage = speakers(), listening()
    estimate = z.roll(2, 1).requires_grad_()
    begun = sync_of(stage, clip, estimate)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(sync_of(stage, clip, estimate), estimate)
        estimate = (estimate - 0.3 * gradient).detach().requires_grad_()
    assert sync_of(stage, clip, estimate) < 0.6 * begun


def test_only_the_frames_shown_are_moved_and_neither_sound_nor_expert():
    stage, clip = teacher(LossWeights(sync=1.0), identity=None, decoded=2), fake_clip(3, 7)
    clip.pair = torch.tensor([1, 6, 3])
    clip.mel.requires_grad_()
    latents = stage.latents(clip)
    estimate = latents.z.clone().requires_grad_()
    stage.picture_terms(clip, latents, estimate, ("sync",))["sync"].backward()
    moved = [frames.nonzero().flatten().tolist() for frames in estimate.grad.abs().sum((2, 3, 4)) > 0]
    assert moved == [[0, 1, 2], [4, 5, 6], []], "a moment of three frames of the first two clips"
    assert clip.mel.grad is None and all(p.grad is None for p in stage.frozen["sync_loss"].parameters())


def test_speech_is_kept_with_references_of_other_people():
    clip, z = speakers()
    matched = sync_of(listening(), clip, z)
    clip.mismatch[:] = True
    assert sync_of(listening(), clip, z) == matched


def test_pictures_of_other_terms_are_those_of_the_pair():
    """The frames that ``sync`` adds do not change what identity and flow are judged by."""
    clip, values = fake_clip(3, 7), []
    for weight in (0.0, 1.0):
        stage = teacher(LossWeights(sync=weight, identity=1.0, temporal=1.0, picture=1.0))
        latents = stage.latents(clip)
        values.append(stage.picture_terms(clip, latents, latents.z, ("identity", "temporal", "picture", "sync")))
    assert set(values[1]) - set(values[0]) == {"sync"}
    assert all(torch.allclose(values[0][name], values[1][name], atol=1e-5) for name in values[0])


def test_what_the_expert_lacks_is_said():
    with pytest.raises(ValueError, match="run `make train-sync_loss`"):
        teacher(sync_loss=None)
    clip = fake_clip(2, 7)
    clip.mel = None
    with pytest.raises(ValueError, match="set data.mel=true"):
        teacher().step_losses(clip)
    with pytest.raises(ValueError, match="windows of 3 frames or more: data.window is 2"):
        teacher().step_losses(fake_clip(2, 2))


# What is seen of noise that is taken away


def test_denoised_compares_the_pair_with_what_the_clean_latents_decode_to():
    """Two of three clips are decoded, of which the second has another person's picture."""
    stage = teacher(LossWeights(denoised=1.0), identity=None, sync_loss=None, vae=Screen(), decoded=2)
    clip = fake_clip(3, 5)
    clip.pair, clip.mismatch = torch.tensor([2, 4, 1]), torch.tensor([False, True, False])
    latents = Latents(torch.randn(3, 5, 4, 8, 8), torch.zeros(3, 4, 8, 8))
    z = latents.z
    estimate = (z + torch.randn_like(z)).requires_grad_()
    clip.frames = torch.full_like(clip.frames, torch.nan)
    ((name, value),) = stage.picture_terms(clip, latents, estimate, ("denoised", "picture")).items()
    assert name == "denoised"
    assert value.item() == pytest.approx((estimate - z)[0, 1:3, 0].abs().mean().item(), rel=1e-5)
    value.backward()
    moved = [frames.nonzero().flatten().tolist() for frames in estimate.grad.abs().sum((2, 3, 4)) > 0]
    assert moved == [[1, 2], [], []]
    assert stage.picture_terms(clip, latents, z, ("denoised",))["denoised"] == 0


# Teeth and tongue


def test_mouth_motion_looks_at_the_boxes_and_at_the_clips_own_share():
    stage, clip = teacher(LossWeights(mouth_motion=1.0), identity=None), fake_clip()
    z = torch.zeros(3, 4, 4, 8, 8)
    flicker = z + (-1.0) ** torch.arange(4)[:, None, None, None]
    of = lambda estimate, share: stage.mouth_motion(clip, z, estimate, share)["mouth_motion"]  # noqa: E731
    assert of(flicker, torch.ones(3)) > 1 and of(flicker, torch.zeros(3)) == 0
    flicker[..., 4:7, 2:6] = 0  # the mouth's box
    assert of(flicker, torch.ones(3)) == 0
    clip.mouth_box = None
    assert stage.mouth_motion(clip, z, z, torch.ones(3)) == {}


# Eyes


def eyes_of(stage, clip) -> float:
    torch.manual_seed(0)
    return float(stage.step_losses(clip)["eyes"].detach())


@pytest.mark.parametrize(
    "made", [teacher, lambda loss: student(loss, done=0.1), lambda loss: student(loss, done=0.9, match_share=0.0)]
)
def test_eyes_are_judged_where_the_head_is_known_and_by_where_they_are(made):
    stage, clip = trained_by(made(LossWeights(eyes=1.0))), fake_clip(frames=7)
    clip.motion_known[:] = True
    here = eyes_of(stage, clip)
    assert here > 0
    clip.motion_known[:] = False
    assert eyes_of(stage, clip) == 0, "nobody knows where the eyes are"
    assert "eyes" not in made(LossWeights(noise=1.0)).step_losses(clip)


# Estimates of two strengths


def watched(stage, knows=None):
    """Calls of the stage's net: (z_s, s, with gradient, eps_hat); ``knows`` z, it answers with the true noise."""
    calls, forward = [], stage.net.forward

    def seen(z_s, s, condition, *read):
        eps_hat = forward(z_s, s, condition, *read) if knows is None else (z_s - knows) / s[:, None, None, None, None]
        calls.append((z_s.detach(), s, torch.is_grad_enabled(), eps_hat.detach()))
        return eps_hat

    stage.net.forward = seen
    return calls


def test_the_target_lies_further_down_the_same_noise_path():
    stage, clip = student(LossWeights(consistency=1.0)), fake_clip()
    z = stage.latents(clip).z
    calls = watched(stage)
    terms = stage.match(clip)
    (z_s, s, moved, _), (z_r, r, target_moved, _) = calls
    path = [(noisy - z) / strength[:, None, None, None, None] for noisy, strength in ((z_s, s), (z_r, r))]
    assert torch.allclose(*path, rtol=1e-2, atol=1e-2) and moved and not target_moved
    assert (r <= s).all() and (r >= (s / 4).clamp(min=S_MIN)).all() and not torch.equal(r, s)
    assert terms["consistency"] > 0


def test_who_knows_the_truth_is_consistent():
    stage, clip = student(LossWeights(consistency=1.0), identity=None, learns=["k4"]), fake_clip()
    calls = watched(stage, knows=stage.latents(clip).z)
    assert stage.match(clip)["consistency"].item() == pytest.approx(0, abs=1e-4)
    own = []
    for seed in range(8):
        torch.manual_seed(seed)
        own += [value.item() for name, value in stage.own_steps(clip).items() if name == "consistency"]
    assert len(calls) > 8 and len(own) > 3 and max(own) < 1e-4


def test_on_its_own_steps_a_student_agrees_with_its_next_step():
    stage, clip = student(LossWeights(consistency=1.0), schedules={"k4": SCHEDULES["k4"]}), fake_clip(2, 2)
    calls, bounds, seen = watched(stage), (*SCHEDULES["k4"].strengths, 0.0), set()
    for seed in range(20):
        calls.clear()
        torch.manual_seed(seed)
        terms = stage.own_steps(clip)
        judged = [moved for _, _, moved, _ in calls].index(True)
        seen.add(judged)
        assert ("consistency" in terms) == (judged < 3) == (len(calls) == judged + 2)
        if judged < 3:
            (z_s, s, _, eps_hat), (z_r, r, moved, _) = calls[judged:]
            assert r[0] == pytest.approx(bounds[judged + 1]) and not moved
            assert torch.allclose(z_r, z_s - (s[0] - r[0]) * eps_hat, atol=1e-3)
    assert seen == {0, 1, 2, 3}


def test_a_mismatched_clip_is_not_made_consistent_with_its_own_frames():
    """Near pure noise the picture is the reference's, with little noise the clip's: they must not agree."""
    stage, clip = student(LossWeights(consistency=1.0)), fake_clip()
    clip.mismatch[:] = True
    z = torch.zeros(3, 4, 4, 8, 8)
    predict = stage.predictor(stage.condition(clip, z[:, 0]))
    far = lambda share: stage.consistency(z + 1, z, torch.ones(3), predict, share)  # noqa: E731
    assert far(torch.zeros(3)) == 0 and far(torch.ones(3)) > 0
