"""The nets: exact inverses, affine maps, what may see the future, what a frame costs."""

import copy

import numpy as np
import pytest
import torch
from fakes import CONF, LATENT_CHANNELS, LATENT_SIDE, SIDE, awake, fake_condition, fake_denoiser, fake_motion, fake_vae
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tsd.clip import MEL_AUDIBLE, MELS, MELS_PER_FRAME, VISEMES
from tsd.diffusion.noise import Preconditioning, expand
from tsd.media.draws import integer, unit_noise
from tsd.media.head_motion import frames_to_reference, pose_of
from tsd.nets.affine import (
    CANONICAL_FACE,
    after,
    carried,
    frame_to_reference,
    landmarks_of,
    looked_up,
    offsets_along,
    pixel_grid,
    placed,
    placed_cells,
    similarity_between,
)
from tsd.nets.blocks import ResBlock
from tsd.nets.context import TemporalMean
from tsd.nets.denoiser import Condition, Denoiser, Reference
from tsd.nets.identity import IdentityNet
from tsd.nets.motion import MotionBank
from tsd.nets.mouth import MouthNet
from tsd.nets.vae import FLOW_SCALE, OF_LATENTS, VAE, enlarged
from tsd.nets.visemes import VisemeNet

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def visemes_by(net: VisemeNet, mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net.eval()(mel)


# VAE


def test_a_larger_picture_has_the_latents_of_the_one_at_half_its_size():
    small, torch_seed = fake_vae(), torch.manual_seed(5)
    large = awake(VAE(2 * SIDE, LATENT_CHANNELS, [8, 16], decoder_blocks=1, decoder_channels=[8, 8, 16]))
    parts = {k: v for k, v in small.state_dict().items() if k.startswith(OF_LATENTS)}
    large.load_state_dict(large.state_dict() | parts)
    frames = torch.rand(3, 3, 2 * SIDE, 2 * SIDE, generator=torch_seed) * 2 - 1
    halved = frames.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-1, -3))
    z = large.encode(frames)
    assert large.latent_size == small.latent_size and torch.allclose(z, small.encode(halved), atol=1e-5)
    assert large.decode(z, large.appearance(frames)).shape == frames.shape


def test_latents_leave_with_the_stored_statistics_removed():
    vae, frames = fake_vae(), torch.rand(5, 3, SIDE, SIDE) * 2 - 1
    mean, _ = vae.moments(frames)
    vae.latent_mean.copy_(mean.mean((0, 2, 3)))
    vae.latent_std.copy_(mean.std((0, 2, 3), correction=0))
    z = vae.encode(frames)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(LATENT_CHANNELS), atol=1e-5)
    assert torch.allclose(z.std((0, 2, 3), correction=0), torch.ones(LATENT_CHANNELS), atol=1e-4)


def test_vae_keeps_leading_dimensions_and_the_range_of_pictures():
    vae, frames = fake_vae(), torch.rand(2, 3, 3, SIDE, SIDE) * 2 - 1
    z = vae.encode(frames)
    assert z.shape == (2, 3, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    assert torch.allclose(vae.encode(frames[1, 2][None])[0], z[1, 2], atol=1e-5), "one picture as in a batch"
    recon = vae.decode(100 * z, vae.appearance(frames[:, 0]))
    assert recon.shape == frames.shape and recon.min() >= -1 and recon.max() <= 1
    alone = vae.decode(100 * z[1, 2][None], vae.appearance(frames[1:, 0]))[0]
    assert torch.allclose(alone, recon[1, 2], atol=1e-4), "every clip is decoded with its own appearance"


def test_an_untrained_decoder_shows_the_reference_where_it_paints_nothing():
    vae = fake_vae()
    for layer in (vae.to_flow[-1], vae.to_picture[-1]):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    vae.to_picture[-1].bias.data[12:] = -50
    picture, z = torch.rand(1, 3, SIDE, SIDE) * 2 - 1, torch.randn(4, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    appearance = vae.appearance(picture)
    assert torch.allclose(vae.decode(z, appearance), picture.expand(4, -1, -1, -1), atol=1e-5)
    to_the_right = torch.eye(2, 3)
    to_the_right[0, 2] = 4 / SIDE  # a head that stands 4 pixels farther to the left than in the picture
    along = appearance.along(to_the_right.expand(4, 2, 3))
    with torch.no_grad():
        vae.to_flow[-1].bias[2] = 50  # the head's map is followed everywhere
    moved = vae.decode(z, along)
    assert torch.allclose(moved[..., :-4], picture[..., 4:].expand(4, -1, -1, -1), atol=1e-4)
    with torch.no_grad():
        vae.to_flow[-1].bias[2] = -50  # nowhere
        vae.to_flow[-1].bias[0] = 4 / SIDE / FLOW_SCALE  # but everything comes from 4 pixels to the right
    moved = vae.decode(z, along)
    assert torch.allclose(moved[..., :-4], picture[..., 4:].expand(4, -1, -1, -1), atol=1e-4)


WINDOW = [2, 8, 1, 7]
"""Cells [top, bottom, left, right] of fake latents; a cell is four pixels."""


def changed_by(vae: VAE, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Change [2, 3, 32, 32] and offsets [2, 32, 32, 2] of random latents and a random picture."""
    torch.manual_seed(seed)
    z, picture = torch.randn(2, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        return vae.changes(z, vae.appearance(picture).along(torch.eye(2, 3).expand(2, 2, 3) + 0.02))


def test_a_window_is_all_that_is_painted_and_nothing_shows_where_it_ends():
    vae = fake_vae(painted=WINDOW)
    assert vae.painted == (8, 32, 4, 28) and fake_vae().painted == (0, 32, 0, 32)
    change, offsets = changed_by(vae)
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[8:32, 4:28] = False
    assert not change[..., outside].any() and change[..., ~outside].all()
    assert (offsets[:, outside] - offsets[:, :1, :1].flatten(0, 2).mean(0)).abs().amax() > 1e-3, "it moves everywhere"
    for times in (1, 4):
        share = vae.window.share(times)
        assert share[0].max() < 0.6 and share[:, 0].max() < 0.6 and share[:, -1].max() < 0.6, (
            "fades towards the picture"
        )
        assert share[-1].max() == 1, "and not at the picture's own edge"


def test_of_a_window_no_more_is_looked_up_than_it_takes():
    """What a stream composes is what the whole picture is made of."""
    vae = fake_vae(painted=WINDOW)
    torch.manual_seed(0)
    z, picture = torch.randn(2, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    appearance = vae.appearance(picture).along(torch.eye(2, 3).expand(2, 2, 3) + 0.02)
    with torch.no_grad():
        whole, (change, offsets) = vae.decode_raw(z, appearance, 2), vae.changes(z, appearance)
    torch.testing.assert_close(change, whole.change)
    assert torch.equal(offsets, whole.offsets)
    torch.testing.assert_close(looked_up(picture.expand(2, -1, -1, -1), offsets.flatten(2)), whole.moved)


def test_a_window_costs_less_than_the_whole():
    built = {"resolution": 128, "latent_channels": LATENT_CHANNELS, "channels": [16, 32, 64]}
    z, picture = torch.zeros(1, LATENT_CHANNELS, 16, 16), torch.zeros(1, 3, 128, 128)
    spent = []
    for window in ([], [5, 16, 3, 13]):
        vae = VAE(**built, painted=window, flow_channels=16)
        appearance = vae.appearance(picture)
        with FlopCounterMode(display=False) as counter:
            vae.changes(z, appearance)
        spent.append(counter.get_total_flops())
    assert spent[1] < 0.55 * spent[0]


@pytest.mark.parametrize("window", [[0, 9, 0, 8], [4, 4, 0, 8], [-1, 8, 0, 8], [5, 2, 0, 8]])
def test_a_window_outside_of_the_latents_is_refused(window):
    with pytest.raises(ValueError, match=r"model.vae.painted holds \[top, bottom, left, right\] in 0..8"):
        fake_vae(painted=window)


def test_vae_refuses_pictures_of_another_size():
    with pytest.raises(ValueError, match=r"takes frames \[3, 32, 32\], got \[3, 64, 64\]"):
        fake_vae().encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="resolution 30 must be a multiple of 4"):
        VAE(30, 4, [8, 16])
    with pytest.raises(ValueError, match=r"at least two widths, got \[8\]"):
        VAE(32, 4, [8])
    with pytest.raises(ValueError, match=r"decoder_channels must hold at least as many widths as channels=\[8, 16\]"):
        VAE(32, 4, [8, 16], decoder_channels=[8])


# Maps between faces


def test_similarities_carry_eyes_onto_eyes_and_keep_shapes():
    torch.manual_seed(0)
    known = torch.ones(50, dtype=torch.bool)
    source, target = (landmarks_of(fake_motion(50), known) for _ in range(2))
    maps = similarity_between(source, target)
    moved = source @ maps[..., :2].transpose(1, 2) + maps[:, None, :, 2]
    assert torch.allclose(moved[:, :2], target[:, :2], atol=1e-5)
    size = maps[:, :, :2].det()  # turned and resized, never sheared or mirrored
    assert (size > 0).all()
    unsheared = maps[:, :, :2].transpose(1, 2) @ maps[:, :, :2]
    assert torch.allclose(unsheared, size[:, None, None] * torch.eye(2), atol=1e-4)
    assert torch.allclose(similarity_between(source, source), torch.eye(2, 3).expand(50, 2, 3), atol=1e-5)
    one_point = torch.full((1, 3, 2), 0.5)
    assert similarity_between(one_point, source[:1]).isfinite().all()


def test_one_map_is_two_one_after_the_other():
    torch.manual_seed(0)
    first, second, points = torch.randn(5, 2, 3), torch.randn(5, 2, 3), torch.randn(7, 2)
    both = torch.stack([carried(carried(points, a[None])[0], b[None])[0] for a, b in zip(first, second, strict=True)])
    torch.testing.assert_close(carried(points, after(second, first)), both)


def test_pictures_are_placed_where_maps_shares_and_flow_say():
    """Against positions written down pair by pair."""
    torch.manual_seed(0)
    pictures, maps = torch.rand(5, 3, 16, 16), torch.eye(2, 3) + 0.3 * torch.randn(5, 2, 3)
    share, flow = torch.rand(5, 16, 16, 1).expand(-1, -1, -1, 2), 0.2 * torch.randn(5, 16, 16, 2)
    y, x = torch.meshgrid(*2 * [(torch.arange(16) + 0.5) / 16], indexing="ij")
    here = torch.stack([x, y, torch.ones_like(x)], -1)  # [16, 16, 3]
    there = torch.einsum("nij,yxj->nyxi", maps, here)
    half_way = there.lerp(here[..., :2].expand_as(there), 1 - share) + flow
    for given, positions in (((), there), ((share.flatten(2), flow.flatten(2)), half_way)):
        grid = 2 * positions - 1
        expected = torch.nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        moved = looked_up(pictures, offsets_along(maps, 16, *given))
        torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(placed(pictures, maps), looked_up(pictures, offsets_along(maps, 16)))


def test_pictures_are_enlarged_between_their_neighbours():
    """Their channels side by side at each position."""
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    for times in (2, 4):
        ours = enlarged(x, times)
        theirs = torch.nn.functional.interpolate(x, scale_factor=times, mode="bilinear").permute(0, 2, 3, 1).flatten(2)
        torch.testing.assert_close(ours, theirs)
        weight = torch.randn_like(ours)
        (a,), (b,) = (torch.autograd.grad((y * weight).sum(), x) for y in (ours, theirs))
        torch.testing.assert_close(a, b)


def test_cells_are_placed_as_pictures_are():
    """Within, between and beyond cells; gradients too."""
    torch.manual_seed(0)
    maps = torch.eye(2, 3) + 0.4 * torch.randn(20, 2, 3)
    x = torch.randn(20, 3, 12, 12, requires_grad=True)
    ours, theirs = placed_cells(x, maps), placed(x, maps)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(ours)
    (a,), (b,) = (torch.autograd.grad((y * weight).sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(placed_cells(x, torch.eye(2, 3).expand(20, 2, 3)), x, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(placed_cells(x, maps), ours)
        half = x.bfloat16()  # as products of matrices leave it there
        torch.testing.assert_close(placed_cells(half, maps), placed_cells(half.float(), maps))


def test_places_are_exact_where_nets_compute_in_bfloat16():
    torch.manual_seed(0)
    maps = similarity_between(*(landmarks_of(fake_motion(4), torch.ones(4, dtype=torch.bool)) for _ in range(2)))
    exact = placed(torch.rand(4, 1, 64, 64).cumsum(-1), maps)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        maps = similarity_between(*(landmarks_of(fake_motion(4), torch.ones(4, dtype=torch.bool)) for _ in range(2)))
        half = placed(torch.rand(4, 1, 64, 64).cumsum(-1), maps)
    assert torch.allclose(half, exact, atol=1e-5)


def test_where_motion_is_unknown_nothing_is_moved():
    motion, reference = fake_motion(2, 3), fake_motion(2)
    maps = frame_to_reference(motion, reference, torch.tensor([True, False])).unflatten(0, (2, 3))
    assert torch.allclose(maps[1], torch.eye(2, 3).expand(3, 2, 3), atol=1e-6)
    alone = similarity_between(motion[0, 2:, :6].unflatten(1, (3, 2)), reference[:1, :6].unflatten(1, (3, 2)))
    assert torch.allclose(maps[0, 2], alone[0], atol=1e-6)


def test_unknown_motion_is_the_canonical_face():
    motion = fake_motion(2, 3)
    points = landmarks_of(motion, torch.tensor([True, False]))
    assert torch.equal(points[0].flatten(1), motion[0, :, :6])
    assert torch.equal(points[1], torch.tensor(CANONICAL_FACE).expand(3, 3, 2))


def test_features_are_carried_with_the_face():
    """Features that say where they are: a frame's eyes look up what stood at the reference's eyes."""
    net = fake_denoiser()
    torch.manual_seed(0)
    here, there = (landmarks_of(fake_motion(1), torch.ones(1, dtype=torch.bool)) for _ in range(2))
    places = pixel_grid(LATENT_SIDE).permute(2, 0, 1)[None]
    latent = torch.cat([places] * LATENT_CHANNELS, 1)[:, :LATENT_CHANNELS]
    reference = Reference(latent, places, None, None, there, None, None)
    for brought in net.carry(reference, similarity_between(here, there), 1):
        at_face = torch.nn.functional.grid_sample(brought[:, :2], here[:, None] * 2 - 1, align_corners=False)
        assert torch.allclose(at_face[0, :, 0, :2].T, there[0, :2], atol=1e-4)


# Denoiser


@torch.no_grad()
def test_an_untrained_denoiser_predicts_the_reference():
    """F = 0 at the start: the clean estimate mixes z_s and the reference's latent as if z were unit noise around it."""
    torch.manual_seed(0)
    net = Denoiser(LATENT_CHANNELS, LATENT_SIDE, [8, 16], 1, 8, 16)
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 30.0])
    condition = fake_condition()
    condition.reference_latent = torch.full_like(condition.reference_latent, 0.7)
    z0_hat = z_s - expand(s, z_s) * net(z_s, s, condition)
    skip = expand(1 / (s.square() + 1), z_s)
    assert torch.allclose(z0_hat, skip * z_s + (1 - skip) * 0.7, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("s", [0.01, 1.0, 80.0])
def test_the_estimate_is_the_input_at_no_noise_and_bounded_at_much(s):
    net, z = fake_denoiser(), torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    strength = torch.full((2,), s)
    z_s = z + s * torch.randn_like(z)
    z0_hat = z_s - s * net(z_s, strength, fake_condition())
    gain = Preconditioning.at(torch.tensor(s))
    assert (z0_hat - gain.skip * z_s).abs().max() < 20 * gain.out


REACHES = pytest.mark.parametrize("mean_reaches", [[], [1, 3]])


@torch.no_grad()
@REACHES
def test_the_causal_net_never_sees_a_later_frame(mean_reaches):
    net, condition = fake_denoiser(causal=True, mean_reaches=mean_reaches), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    before = net(z_s, s, condition)
    later = copy.deepcopy(condition)
    later.visemes[:, 4:], later.motion[:, 4:] = torch.rand_like(later.visemes[:, 4:]), fake_motion(2, 2)
    after = net(torch.cat([z_s[:, :4], torch.randn_like(z_s[:, 4:])], 1), s, later)
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-5)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
def test_neighbouring_frames_are_seen(causal):
    """The teacher looks both ways, the student back."""
    net, condition = fake_denoiser(causal=causal), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    changed = z_s.clone()
    changed[:, 3] += 1
    moved = (net(z_s, s, condition) - net(changed, s, condition)).abs().amax((0, 2, 3, 4)) > 1e-4
    assert moved[4] and moved[2] == (not causal)


@torch.no_grad()
@REACHES
@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_streaming_equals_offline(chunk, mean_reaches):
    net, condition = fake_denoiser(causal=True, mean_reaches=mean_reaches), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    whole, reference, memory, parts = net(z_s, s, condition), net.read_reference(condition), None, []
    for begin in range(0, 6, chunk):
        here = slice(begin, begin + chunk)
        part = copy.copy(condition)
        part.visemes, part.motion = condition.visemes[:, here], condition.motion[:, here]
        eps_hat, memory = net.step(z_s[:, here], s, reference, net.read_frames(part, reference), memory)
        parts.append(eps_hat)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_means_over_time_are_of_the_frames_that_are_there(causal):
    """Against a sum by hand; what is the same in all frames stays as it is, also at the ends."""
    x, reaches = torch.randn(2, 7, 3, 4, 4), [1, 4]
    means, memory = TemporalMean(reaches, causal)(x, None)
    means = means.unflatten(0, (2, 7)).unflatten(2, (2, 4))
    assert memory.shape == (2, 4, 4, 4, 4)
    for i, reach in enumerate(reaches):
        for t in range(7):
            near = x[:, max(0, t - reach) : t + 1 if causal else t + reach + 1]
            torch.testing.assert_close(means[:, t, i, :3], near.mean(1))
            share = near.shape[1] / (reach + 1 if causal else 2 * reach + 1)
            torch.testing.assert_close(means[:, t, i, 3], torch.full((2, 4, 4), share))
    still = x[:, :1].expand(-1, 7, -1, -1, -1)
    same = TemporalMean(reaches, causal)(still, None)[0].unflatten(0, (2, 7)).unflatten(2, (2, 4))[:, :, :, :3]
    torch.testing.assert_close(same, still[:, :, None].expand_as(same))


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
def test_means_over_time_go_straight_into_the_estimate(causal):
    """As much of each as its gain says, times what the estimate owes to the net at that strength."""
    net, condition = fake_denoiser(causal=causal, mean_reaches=[1, 3]), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    net.to_mean_gains.weight.zero_()
    estimates = []
    for gains in ([0.0, 0.0], [0.25, 2.0]):
        net.to_mean_gains.bias.copy_(torch.tensor(gains))
        estimates.append(z_s - expand(s, z_s) * net(z_s, s, condition))
    scale = Preconditioning.at(s)
    means = TemporalMean([1, 3], causal)(expand(scale.inp, z_s) * z_s, None)[0]
    means = means.unflatten(0, (2, 6)).unflatten(2, (2, -1))[:, :, :, :LATENT_CHANNELS]
    added = expand(scale.out, z_s) * (0.25 * means[:, :, 0] + 2.0 * means[:, :, 1])
    torch.testing.assert_close(estimates[1] - estimates[0], added, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_clip_is_predicted_alone_as_in_a_batch():
    net, c = fake_denoiser(causal=False), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    fields = (c.visemes, c.motion, c.motion_known, c.reference_latent, c.reference_motion)
    alone = net(z_s[1:], s[1:], Condition(*(field[1:] for field in fields)))
    assert torch.allclose(alone, net(z_s, s, c)[1:], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("what", ["visemes", "motion", "reference_motion", "reference_latent", "s"])
def test_every_condition_reaches_the_prediction(what):
    net, condition = fake_denoiser(), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    before = net(z_s, s, condition)
    if what != "s":
        value = getattr(condition, what)
        setattr(condition, what, value + 0.3 * torch.rand_like(value))
    else:
        z_s, s = z_s * 1, s * 1.5
    assert (net(z_s, s, condition) - before).abs().max() > 1e-3


@torch.no_grad()
def test_motion_that_is_not_known_is_not_used():
    net, condition = fake_denoiser(), fake_condition()
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.tensor([0.5, 3.0])
    condition.motion_known = torch.tensor([True, False])
    other = copy.copy(condition)
    other.motion, other.reference_motion = fake_motion(2, 6), fake_motion(2)
    before, after = net(z_s, s, condition), net(z_s, s, other)
    assert torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])


def test_latents_of_another_size_are_refused():
    condition = fake_condition()
    condition.reference_latent = torch.zeros(2, LATENT_CHANNELS, 16, 16)
    with pytest.raises(ValueError, match=r"takes latents \[4, 8, 8\], got \[4, 16, 16\]"):
        fake_denoiser().read_reference(condition)


@torch.no_grad()
def test_eyes_choose_patterns_on_the_face():
    net, condition = fake_denoiser(eye_shapes=3), fake_condition()
    condition.motion_known = torch.tensor([True, False])
    condition.motion[..., -1], condition.reference_motion[..., -1] = 1.0, 1.0
    landmarks = landmarks_of(condition.motion, condition.motion_known).flatten(0, 1)
    opened = net.shape(condition, landmarks)
    plain = fake_denoiser()
    plain.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(opened, plain.shape(condition, landmarks))
    condition.motion[:, 2, -1] = 0.0
    shut = (net.shape(condition, landmarks) - opened).unflatten(0, (2, 6)).abs().amax((2, 3, 4))
    assert shut[0, 2] > 0 and shut.count_nonzero() == 1, "that frame alone, and only where the motion is known"


@pytest.mark.parametrize(
    ("causal", "more"), [(True, {}), (False, {}), (True, {"eye_shapes": 2}), (False, {"mean_reaches": [2]})]
)
def test_every_parameter_of_the_denoiser_gets_a_gradient(causal, more):
    net = fake_denoiser(causal=causal, **more)
    z_s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    net(z_s, torch.tensor([0.5, 3.0]), fake_condition()).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def flops_per_frame(net: Denoiser, frames: int = 8) -> float:
    """Multiplications and additions per frame of one step, the reference already read."""
    size = net.latent_size
    condition = fake_condition(1, frames)
    condition.reference_latent = torch.randn(1, net.latent_channels, size, size)
    z_s = torch.randn(1, frames, net.latent_channels, size, size)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        reference = net.read_reference(condition)
        read = counter.get_total_flops()
        net(z_s, torch.ones(1), condition, reference)
        return (counter.get_total_flops() - read) / frames


@pytest.mark.parametrize("model", MODELS)
def test_the_student_costs_at_most_a_quarter_of_the_teacher(model):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"model={model}"])
    teacher, student = (
        flops_per_frame(instantiate(cfg.model[name], _convert_="all")) for name in ("teacher", "student")
    )
    assert 0 < student <= teacher / 4, f"{student / 1e6:.1f} of {teacher / 1e6:.1f} MFLOPs"


def test_flops_of_a_convolution_by_hand():
    """The counter counts what we think: 2 * positions * out * in * kernel."""
    with FlopCounterMode(display=False) as counter:
        torch.nn.Conv2d(3, 5, 3, padding=1)(torch.zeros(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * 64 * 5 * 3 * 9


# Speech, faces, motion


@pytest.mark.parametrize("any_level", [False, True])
@pytest.mark.parametrize("look_ahead", [0, 1, 3, 4])
def test_visemes_see_no_further_ahead_than_they_say(look_ahead, any_level):
    torch.manual_seed(0)
    net, mel, t = VisemeNet(16, 3, look_ahead, any_level=any_level), torch.randn(1, 20 * MELS_PER_FRAME, MELS), 12
    later = mel.clone()
    later[:, t * MELS_PER_FRAME :] = torch.randn(1, 8 * MELS_PER_FRAME, MELS)  # from frame t on, everything differs
    changed = (visemes_by(net, mel) - visemes_by(net, later)).abs().amax((0, 2)) > 1e-6
    assert not changed[: t - look_ahead].any() and changed[t - look_ahead :].all()
    assert net.look_ahead_ms == 40 * look_ahead <= 160


def test_any_level_gives_the_same_visemes():
    """A gain is one constant in a log-mel: what a level-free net hears is the same, and another net's is not."""
    torch.manual_seed(0)
    mel = torch.randn(1, 20 * MELS_PER_FRAME, MELS)
    free, other = VisemeNet(16, 3, any_level=True).eval(), VisemeNet(16, 3).eval()
    for decibels in (-50, -20, 10):
        gain = decibels / 10 / 1.8  # log10 of a power, over LOG_STD
        assert (visemes_by(free, mel + gain) - visemes_by(free, mel)).abs().max() < 1e-4
    assert (visemes_by(other, mel + gain) - visemes_by(other, mel)).abs().max() > 1e-2


def test_a_net_of_one_level_hears_nothing_below_what_is_audible():
    net, quiet = VisemeNet(16, 3).eval(), torch.full((1, 40, MELS), -4.0)
    assert torch.equal(visemes_by(net, quiet), visemes_by(net, torch.full_like(quiet, MEL_AUDIBLE)))


def test_a_stem_of_other_widths():
    net = VisemeNet(16, 2, stem=[8, 12], dilations=[1, 3], any_level=True)
    assert visemes_by(net, torch.randn(1, 40, MELS)).shape == (1, 10, len(VISEMES))
    with pytest.raises(ValueError, match="stem must be two numbers"):
        VisemeNet(16, 2, stem=[8])


def test_visemes_of_any_length():
    net = VisemeNet(16, 2)
    for frames in (1, 2, 7):
        assert visemes_by(net, torch.randn(2, frames * MELS_PER_FRAME, MELS)).shape == (2, frames, len(VISEMES))


def test_more_look_ahead_than_promised_is_refused():
    with pytest.raises(ValueError, match="look_ahead must be 0..4 frames"):
        VisemeNet(look_ahead=5)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_identity_is_of_unit_length_at_every_size(side):
    torch.manual_seed(0)
    net = IdentityNet(dim=8, channels=8).eval()
    with torch.no_grad():
        embedding = net(torch.rand(3, 3, side, side) * 2 - 1)
    assert embedding.shape == (3, 8) and torch.allclose(embedding.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_mouth_is_read_below_the_eyes_at_every_size():
    torch.manual_seed(0)
    net, frames = MouthNet(channels=8).eval(), torch.rand(3, 3, 64, 64)
    assert net(torch.rand(3, 3, 128, 128)).shape == net(torch.rand(3, 3, 32, 32)).shape == (3,)
    forehead, chin = frames.clone(), frames.clone()
    forehead[..., :16, :], chin[..., 40:, :] = 0, 0
    assert torch.equal(net(forehead), net(frames)) and not torch.equal(net(chin), net(frames))


@pytest.mark.parametrize("build", [lambda: MouthNet(8), lambda: IdentityNet(8, 8), lambda: VisemeNet(16, 2)])
def test_every_parameter_of_the_small_nets_gets_a_gradient(build):
    torch.manual_seed(0)
    net = build()
    x = torch.randn(2, 24, MELS) if isinstance(net, VisemeNet) else torch.rand(2, 3, 64, 64)
    (net(x) * torch.randn_like(net(x))).sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


def test_recorded_motion_begins_at_any_face_and_lasts_any_time():
    torch.manual_seed(0)
    bank, start = MotionBank(3, 10), fake_motion()
    bank.tracks.copy_(fake_motion(3, 10))
    motion = bank.replay(start, 47, seed=1)
    assert motion.shape == (47, 7) and torch.allclose(motion[0, :6], start[:6], atol=1e-5)
    assert torch.allclose(motion[18:36], motion[:18], atol=1e-6), "there and back in 18 frames"
    assert (motion[1:] - motion[:-1]).abs().amax(1).min() > 0, "it moves between all frames"
    assert torch.equal(motion, bank.replay(start, 47, seed=1))
    assert any(not torch.equal(motion, bank.replay(start, 47, seed=seed)) for seed in range(2, 8))


def test_recorded_motion_begins_where_the_head_is_held_as_the_face_is():
    """So that the face turns and tilts no farther than the recorded one did, whatever the length of its nose."""
    angles = torch.linspace(-0.3, 0.3, 13)
    eyes = torch.stack([-angles.cos(), -angles.sin(), angles.cos(), angles.sin()], 1)  # tilted by the angle
    along, down = 0.4 * angles, torch.full_like(angles, 1.1)  # and turned by it
    nose = torch.stack([along * angles.cos() - down * angles.sin(), along * angles.sin() + down * angles.cos()], 1)
    bank = MotionBank(1, 13)
    bank.tracks[0] = torch.cat([0.5 + 0.1 * torch.cat([eyes, nose], 1), torch.ones(13, 1)], 1)
    pose = torch.from_numpy(pose_of(bank.tracks[0, :, :6].unflatten(1, (3, 2)).numpy()))
    face = bank.tracks[0, 9].clone()
    face[4:6] += 0.05 * (face[4:6] - (face[:2] + face[2:4]) / 2)  # a longer nose
    motion = bank.replay(face, 24)
    held = torch.from_numpy(pose_of(motion[:, :6].unflatten(1, (3, 2)).numpy()))
    assert torch.allclose(held[:4], pose[9:13], atol=0.01) and held.abs().amax(0).le(pose.abs().amax(0) + 0.01).all()
    assert torch.allclose(motion[0], face, atol=1e-5)


def test_recorded_motion_on_its_own_face_is_the_recording():
    torch.manual_seed(0)
    bank = MotionBank(1, 10)
    bank.tracks.copy_(fake_motion(1, 10))
    assert torch.allclose(bank.replay(bank.tracks[0, 0], 10), bank.tracks[0], atol=1e-4)
    assert torch.allclose(bank.replay(bank.tracks[0, 4], 6), bank.tracks[0, 4:], atol=1e-4)


@pytest.mark.parametrize("known", [True, False])
def test_the_runtime_maps_faces_as_nets_do(known):
    torch.manual_seed(0)
    motion, reference = fake_motion(9), fake_motion()
    ours = frames_to_reference(motion.numpy(), reference.numpy(), known)
    theirs = frame_to_reference(motion[None], reference[None], torch.tensor([known]))
    assert np.abs(ours - theirs.numpy()).max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 6, 16, 16), (3, 7), (4, 4)])
def test_random_numbers_of_a_seed_are_those_of_pytorch(shape):
    """Blocks of 16 and what is left over; integers; seeds beyond 32 bits."""
    for seed in (0, 7, 2**31, 2**40 + 5):
        expected = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()
        assert np.abs(unit_noise(shape, seed) - expected).max() < 1e-5
        assert integer(seed, 11) == int(torch.randint(11, (), generator=torch.Generator().manual_seed(seed)))
    with pytest.raises(ValueError, match="fewer than 16"):
        unit_noise((3, 5), 0)


def test_a_residual_block_starts_as_the_identity_and_knows_no_batch():
    torch.manual_seed(0)
    block, x = ResBlock(8, 8, emb_channels=4), torch.randn(5, 8, 6, 6)
    assert torch.equal(block(x, torch.randn(5, 4)), x)
    awake(block)
    emb = torch.randn(5, 4)
    assert torch.allclose(block(x, emb)[2:3], block(x[2:3], emb[2:3]), atol=1e-5)
