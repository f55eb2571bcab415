"""Every loss term: zero for equal inputs, its value by hand, what it must not see."""

from dataclasses import asdict

import pytest
import torch

from tsd import losses
from tsd.flow import warp
from tsd.losses import LossWeights


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_inputs_lose_nothing():
    z, weight, ones = normal(2, 3, 4, 8, 8), torch.tensor([1.0, 5.0]), torch.ones(2, 3, 1, 8, 8)
    frame = normal(2, 3, 16, 16)
    unit = torch.nn.functional.normalize(normal(5, 7), dim=-1)
    terms = {
        "noise": losses.noise(z, z, weight),
        "distill": losses.distill(z, z, weight),
        "trajectory": losses.trajectory(z, z),
        "rollout": losses.rollout(z, z, ones),
        "mouth": losses.mouth(z, z, weight, ones),
        "eyes": losses.eyes(z, z, weight, ones),
        "identity": losses.identity(unit, unit),
        "temporal": losses.temporal(frame, frame, torch.zeros(2, 2, 16, 16), torch.ones(2, 1, 16, 16)),
        "picture": losses.picture(frame, frame, torch.ones(2, 1, 16, 16)),
        "denoised": losses.denoised(frame, frame, torch.ones(2, 1, 16, 16)),
        "sync": losses.sync(torch.eye(1, 2), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(1, dtype=torch.long)),
        "mouth_motion": losses.mouth_motion(z, z, ones),
        "energy": losses.energy(z, z, ones, weight),
        "lips": losses.lips(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2)),
        "consistency": losses.consistency(z, z, weight),
        "reconstruction": losses.reconstruction(frame, frame),
        "edges": losses.edges(frame, frame),
        "moved": losses.moved(frame, frame),
        "kl": losses.kl(torch.zeros(3), torch.zeros(3)),
    }
    assert set(terms) == set(asdict(LossWeights())), "every named weight has a term here"
    for name, value in terms.items():
        assert value.shape == () and abs(value.item()) < 1e-6, name


def test_picture_counts_weighted_pixels_alone():
    frames, weight = normal(2, 3, 3, 8, 8), torch.zeros(2, 3, 1, 8, 8)
    weight[0, :, :, 2:4, 2:4] = 9.0
    weight[0, 0, :, 0, 0] = 1.0
    target = frames.clone()
    target[0, :, :, 2:4, 2:4] -= 0.5
    target[1] += 7.0  # a clip of weight 0
    by_hand = 0.5 * (9 * 3 * 4) / (9 * 3 * 4 + 1)
    assert losses.picture(frames, target, weight).item() == pytest.approx(by_hand, rel=1e-5)
    assert losses.picture(frames, target, 0 * weight) == 0


def test_noise_by_hand():
    eps, weight = normal(2, 3, 4, 8, 8), torch.tensor([1.0, 5.0])
    assert losses.noise(eps + 2, eps, weight).item() == pytest.approx((1 * 4 + 5 * 4) / 2, rel=1e-5)


def test_distill_teaches_the_student_only():
    student, teacher = normal(1, 2, 4).requires_grad_(), normal(1, 2, 4, seed=1).requires_grad_()
    losses.distill(student, teacher, torch.ones(1)).backward()
    assert student.grad.any() and teacher.grad is None


def test_trajectory_teaches_the_student_only():
    student, teacher = normal(1, 2, 4).requires_grad_(), normal(1, 2, 4, seed=1).requires_grad_()
    losses.trajectory(student, teacher).backward()
    assert student.grad.any() and teacher.grad is None


def test_huber_is_a_square_below_its_scale_and_a_distance_above():
    c = losses.HUBER_SCALE
    small, large = torch.tensor(c / 100), torch.tensor(c * 1000)
    assert losses.huber(small).item() == pytest.approx(small.item() ** 2 / (2 * c), rel=1e-3)
    assert losses.huber(large).item() == pytest.approx(large.item() - c, rel=1e-3)


@pytest.mark.parametrize("name", ["mouth", "eyes", "rollout"])
def test_terms_of_a_region_see_nothing_outside_it(name):
    z, weight = normal(2, 3, 4, 8, 8), torch.ones(2)
    region = torch.zeros(2, 3, 1, 8, 8)
    region[1, :, :, 2:5, 3:6] = 1
    of_noise = {"mouth": losses.mouth, "eyes": losses.eyes}

    def term(a):
        return of_noise[name](a, z, weight, region) if name in of_noise else losses.rollout(a, z, region)

    outside, inside = z + 9 * (1 - region), z + 2 * region
    assert term(outside).item() == pytest.approx(0, abs=1e-6)
    inside_only = 4.0 if name in of_noise else losses.huber(torch.tensor(2.0)).item()
    assert term(inside).item() == pytest.approx(inside_only, rel=1e-4), "a mean over the region, not the picture"


@pytest.mark.parametrize("term", [lambda a, b, r: losses.mouth(a, b, torch.ones(2), r), losses.rollout])
def test_no_region_loses_nothing(term):
    assert term(normal(2, 3, 4, 8, 8), normal(2, 3, 4, 8, 8, seed=1), torch.zeros(2, 3, 1, 8, 8)) == 0


def test_mouth_weighs_noise_strengths_as_noise_does():
    eps_hat, eps, weight = normal(2, 3, 4, 8, 8), normal(2, 3, 4, 8, 8, seed=1), torch.tensor([0.5, 7.0])
    everywhere = losses.mouth(eps_hat, eps, weight, torch.ones(2, 3, 1, 8, 8))
    assert everywhere.item() == pytest.approx(losses.noise(eps_hat, eps, weight).item(), rel=1e-5)


def test_mouth_motion_sees_changes_that_the_clip_has_not():
    z, region = normal(2, 5, 4, 8, 8), torch.zeros(2, 5, 1, 8, 8)
    region[:, :, :, 4:7, 2:6] = 1
    moving = 9 * torch.arange(5.0)[:, None, None, None] * (1 - region)
    assert losses.mouth_motion(z + 3 + moving, z, region).item() == pytest.approx(0, abs=1e-5), (
        "only changes, only inside"
    )
    flicker = 0.4 * (-1.0) ** torch.arange(5)[:, None, None, None]
    by_hand = losses.huber(torch.tensor(0.8)).item()
    assert losses.mouth_motion(z + flicker, z, region).item() == pytest.approx(by_hand, rel=1e-4)
    frozen = z[:, :1].expand_as(z)
    still = (losses.huber(z.diff(dim=1)) * region[:, 1:]).sum() / (region[:, 1:].sum() * 4)
    assert losses.mouth_motion(frozen, z, region).item() == pytest.approx(still.item(), rel=1e-4), "frozen lips lose"


def test_energy_sees_how_much_moves_at_each_position_and_not_when():
    z, weight = normal(2, 4, 3, 8, 8), torch.tensor([1.0, 3.0])
    ones = torch.ones(2, 4, 1, 8, 8)
    assert losses.energy(z.flip(1) + 5, z, ones, weight).item() == pytest.approx(0, abs=1e-5)
    assert losses.energy(z.roll(1, 2), z, ones, weight).item() == pytest.approx(0, abs=1e-5), "channels are one"
    assert losses.energy(z.roll(3, -1), z, ones, weight) > 0.1, "elsewhere is not there"
    rms = z.diff(dim=1).square().mean((1, 2)).sqrt()
    by_hand = (0.5 * rms.mean((1, 2)) * weight).sum() / 4
    assert losses.energy(0.5 * z, z, ones, weight).item() == pytest.approx(by_hand.item(), rel=1e-3)
    frozen = losses.energy(z[:, :1].expand_as(z), z, ones, weight).item()
    assert frozen == pytest.approx(2 * by_hand.item(), rel=0.02), "a frozen face lacks all of it"


def test_energy_counts_by_region_and_clip():
    z, weight = normal(2, 4, 3, 8, 8), torch.tensor([1.0, 0.0])
    region = torch.zeros(2, 4, 1, 8, 8)
    region[:, 1, :, :4] = 2.0
    other = z.clone()
    other[:, :, :, 4:] *= 3
    other[1] = 0
    assert losses.energy(other, z, region, weight) == 0
    assert losses.energy(3 * z, z, region, weight) > 0.5 and losses.energy(3 * z, z, region, 0 * weight) == 0
    assert losses.energy(z[:, :1], z[:, :1], region[:, :1], weight) == 0, "one frame has no changes"


def test_mouth_motion_counts_where_either_frame_has_the_mouth_and_each_clip_as_it_is_weighted():
    z, region = torch.zeros(2, 3, 4, 8, 8), torch.zeros(2, 3, 1, 8, 8)
    region[0, 0, :, 0, 0], region[1, 1, :, 1, 1] = 1.0, 0.5
    error = torch.zeros(2, 3, 4, 8, 8)
    error[0, 1:, :, 0, 0] = 2.0  # a change of 2 after frame 0, where frame 0 has the mouth and frame 1 has not
    by_hand = losses.huber(torch.tensor(2.0)) / (1 + 0.5 + 0.5)
    assert losses.mouth_motion(error, z, region).item() == pytest.approx(by_hand.item(), rel=1e-4)
    assert losses.mouth_motion(error, z, 0 * region) == 0
    assert losses.mouth_motion(error[:, :1], z[:, :1], region[:, :1]) == 0, "one frame has no changes"


def test_consistency_by_hand_moves_the_noisier_estimate_alone():
    noisier, target = normal(2, 3, 4, 8, 8).requires_grad_(), normal(2, 3, 4, 8, 8, seed=1).requires_grad_()
    value = losses.consistency(noisier, target, torch.tensor([1.0, 0.0]))
    assert value.item() == pytest.approx(losses.huber(noisier - target)[0].mean().item() / 2, rel=1e-5)
    value.backward()
    assert noisier.grad[0].any() and not noisier.grad[1].any() and target.grad is None


def test_sync_by_hand_and_it_moves_the_mouth_alone():
    heard = torch.eye(3, 4).requires_grad_()
    seen = heard.detach()[1:2].clone().requires_grad_()
    sharp = 1 / losses.SYNC_TEMPERATURE
    right, wrong = (losses.sync(seen, heard, torch.tensor([own])) for own in (1, 0))
    rest = (2.0 + torch.tensor(sharp).exp()).log().item()
    assert right.item() == pytest.approx(rest - sharp, abs=1e-5) and wrong.item() == pytest.approx(rest, rel=1e-5)
    wrong.backward()
    assert seen.grad[0, 0] < 0 < seen.grad[0, 1] and heard.grad is None, "towards its own sound, away from the other"


def test_identity_by_hand():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert losses.identity(x, x) == 0 and losses.identity(x, y) == 1 and losses.identity(x, -x) == 2


def test_identity_moves_the_face_and_not_the_target():
    face, target = normal(2, 4).requires_grad_(), normal(2, 4, seed=1).requires_grad_()
    losses.identity(face, target).backward()
    assert face.grad.any() and target.grad is None


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (4, 5)])
def test_temporal_follows_a_moving_picture(shift):
    """frame(x, y) = previous(x + dx, y + dy): no loss where the flow points into the picture, a loss without it."""
    (dx, dy), previous = shift, normal(1, 3, 32, 32)
    frame = torch.roll(previous, (-dy, -dx), (2, 3))
    flow = torch.tensor([dx, dy]).float()[None, :, None, None].expand(1, 2, 32, 32)
    inside = torch.zeros(1, 1, 32, 32)
    inside[..., 6:-6, 6:-6] = 1
    assert losses.temporal(frame, previous, flow, inside).item() == pytest.approx(0, abs=1e-4)
    assert losses.temporal(frame, previous, torch.zeros_like(flow), inside) > 0.5
    assert losses.temporal(frame, previous, -flow, inside) > 0.5


def test_warp_by_half_a_pixel_is_the_mean_of_two():
    picture = normal(1, 3, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = 0.5
    between = (picture[..., :-1] + picture[..., 1:]) / 2
    assert torch.allclose(warp(picture, flow)[..., :-1], between, atol=1e-5)


def test_temporal_ignores_occluded_pixels():
    frame, previous, flow = normal(1, 3, 8, 8), normal(1, 3, 8, 8, seed=1), torch.zeros(1, 2, 8, 8)
    visible = torch.ones(1, 1, 8, 8)
    visible[..., :4] = 0
    changed = torch.where(visible.bool(), frame, torch.full_like(frame, 99.0))
    assert losses.temporal(frame, previous, flow, visible) == losses.temporal(changed, previous, flow, visible)
    by_hand = (frame - previous)[..., 4:].abs().mean()
    assert losses.temporal(frame, previous, flow, visible).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert losses.temporal(frame, previous, flow, torch.zeros_like(visible)) == 0


def test_reconstruction_counts_inside_the_region():
    frames, recon, region = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    assert losses.reconstruction(recon, frames, region) == 0, "no region known: nothing to learn"
    region[0, :, :4] = 1
    recon[:, :, :4] = 3
    assert losses.reconstruction(recon, frames, region).item() == pytest.approx(3.0)
    assert losses.reconstruction(recon, frames).item() == pytest.approx(2.0)


def test_moved_sees_displacements_of_several_pixels_and_not_fine_texture():
    square = torch.zeros(1, 3, 32, 32)
    square[..., 8:16, 8:16] = 1.0
    near, far = losses.moved(square.roll(2, -1), square), losses.moved(square.roll(6, -1), square)
    assert 0 < near < far
    chequers = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float().expand(1, 3, -1, -1)
    assert losses.moved(chequers, 1 - chequers).item() == pytest.approx(0, abs=1e-6)


def test_edges_see_contours_and_not_brightness():
    frame = normal(2, 3, 16, 16)
    assert losses.edges(frame + 0.7, frame).item() == pytest.approx(0, abs=1e-6)
    blurred = torch.nn.functional.avg_pool2d(frame, 3, stride=1, padding=1)
    assert losses.edges(blurred, frame) > 0.5
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1.0
    # One of 7 column differences at full size, one of 3 at half size.
    assert losses.edges(step, torch.zeros_like(step)).item() == pytest.approx(1 / 7 + 1 / 3, rel=1e-5)


def test_kl_against_torch():
    mean, log_variance = normal(50), normal(50, seed=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    by_torch = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    assert losses.kl(mean, log_variance).item() == pytest.approx(by_torch.item(), rel=1e-5)


def test_total_is_the_weighted_sum_and_weight_0_gives_no_gradient():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    total = LossWeights(noise=0.5, distill=0.0).total({"noise": a, "distill": b})
    assert total == 1.0
    total.backward()
    assert a.grad == 0.5 and b.grad == 0


def test_a_term_without_a_weight_is_an_error():
    with pytest.raises(AttributeError, match="sharpness"):
        LossWeights().total({"sharpness": torch.tensor(1.0)})


def test_bad_weights_are_named_all_at_once():
    with pytest.raises(ValueError) as error:
        LossWeights(noise=-1.0, kl=float("nan"), mouth=float("inf"), edges=0.1)
    assert all(name in str(error.value) for name in ("noise", "kl", "mouth")) and "edges" not in str(error.value)
