"""Identities of the noise, the preconditioning, the schedules and Algorithm 3."""

from pathlib import Path

import pytest
import torch
import yaml

from tsd.diffusion import S_MAX, S_MIN, Schedule, karras_schedule
from tsd.diffusion.noise import (
    Preconditioning,
    add_noise,
    draw_noise,
    draw_strengths,
    eps_from_z0,
    noise_weight,
    z0_from_eps,
)
from tsd.diffusion.sampler import sample
from tsd.runtime.talker import REFERENCE_START

STEPS = Path(__file__).parents[1] / "conf" / "steps"
SHIPPED = {path.stem: Schedule(yaml.safe_load(path.read_text())["strengths"]) for path in sorted(STEPS.glob("k*.yaml"))}
STRENGTHS = torch.tensor([S_MIN, 0.1, 1.0, 7.0, S_MAX], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start_of(kind: str, schedule: Schedule) -> tuple[torch.Tensor, Schedule]:
    """z^(0) [2, 3, 4, 8, 8] and the schedule from there on."""
    shape = (2, 3, 4, 8, 8)
    if kind == "noise":
        return schedule.strengths[0] * normal(*shape, seed=1), schedule
    if kind == "reference":
        begun = schedule.starting_at(min(REFERENCE_START, schedule.strengths[0]))
        return normal(2, 1, *shape[2:], seed=2) + begun.strengths[0] * normal(*shape, seed=1), begun
    begun = schedule.starting_at(1.7)
    return normal(*shape, seed=3) + 1.7 * normal(*shape, seed=1), begun


def test_every_number_of_steps_ships():
    assert {name: s.num_steps for name, s in SHIPPED.items()} == {"k1": 1, "k2": 2, "k4": 4, "k8": 8}
    assert all(s.strengths[0] == S_MAX for s in SHIPPED.values())


@pytest.mark.parametrize("start", ["noise", "reference", "driving"])
@pytest.mark.parametrize("steps", ["k1", "k2", "k4", "k8"])
def test_perfect_predictor_gives_back_z(steps, start):
    z, (begin, schedule) = normal(2, 3, 4, 8, 8), start_of(start, SHIPPED[steps])
    seen = []

    def oracle(z_s, s, k):
        seen.append((k, s.tolist()))
        return (z_s - z) / s[0]

    assert (sample(oracle, begin, schedule) - z).abs().max() < 1e-5
    assert seen == [(k, [s, s]) for k, s in enumerate(schedule.strengths)]


@pytest.mark.parametrize("steps", ["k1", "k2", "k4", "k8"])
def test_every_step_lands_on_the_next_strength(steps):
    """With the one true noise at every step, z^(k) = z + s_k eps all the way: the etas add up to s_0."""
    z, eps, schedule = normal(2, 3, 4, 8, 8), normal(2, 3, 4, 8, 8, seed=1), SHIPPED[steps]

    def true_noise(z_s, s, k):
        assert (z_s - add_noise(z, s, eps)).abs().max() < 1e-9
        return eps

    assert (sample(true_noise, z + schedule.strengths[0] * eps, schedule) - z).abs().max() < 1e-5


def test_noise_and_clean_estimate_are_two_names_of_one_thing():
    z, eps = normal(5, 3, 4, 8, 8), normal(5, 3, 4, 8, 8, seed=1)
    z_s = add_noise(z, STRENGTHS, eps)
    assert torch.allclose(z0_from_eps(z_s, eps, STRENGTHS), z)
    assert torch.allclose(eps_from_z0(z_s, z, STRENGTHS), eps)
    z0_hat = normal(5, 3, 4, 8, 8, seed=2)
    assert torch.allclose(z0_from_eps(z_s, eps_from_z0(z_s, z0_hat, STRENGTHS), STRENGTHS), z0_hat)


def test_preconditioning_keeps_input_and_target_at_unit_variance():
    p = Preconditioning.at(STRENGTHS)
    variance = 1 + STRENGTHS**2  # of z_s, for z of unit variance
    assert torch.allclose(p.inp**2 * variance, torch.ones_like(STRENGTHS))
    target = ((1 - p.skip) ** 2 + (p.skip * STRENGTHS) ** 2) / p.out**2  # of F = (z - skip z_s) / out
    assert torch.allclose(target, torch.ones_like(STRENGTHS))


def test_preconditioning_limits():
    near, far = Preconditioning.at(torch.tensor(1e-6)), Preconditioning.at(torch.tensor(1e6))
    assert near.skip == pytest.approx(1) and near.out == pytest.approx(0, abs=1e-5) and near.inp == pytest.approx(1)
    assert far.skip == pytest.approx(0, abs=1e-5) and far.out == pytest.approx(1) and far.inp * 1e6 == pytest.approx(1)
    assert Preconditioning.at(torch.tensor(1.0)).noise == 0


def test_noise_weight_makes_every_strength_equally_hard_for_an_untrained_net():
    """F = 0: z0_hat = skip z_s, whose weighted error of eps is 1 at every s."""
    z, eps = normal(5, 40_000), normal(5, 40_000, seed=1)
    z_s = add_noise(z, STRENGTHS, eps)
    eps_hat = eps_from_z0(z_s, Preconditioning.at(STRENGTHS).skip[:, None] * z_s, STRENGTHS)
    error = noise_weight(STRENGTHS) * (eps_hat - eps).square().mean(1)
    assert torch.allclose(error, torch.ones_like(error), atol=0.03)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_shared_noise(share):
    noise = draw_noise((400, 3, 4, 8, 8), share, generator=torch.Generator().manual_seed(0))
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert (noise[:, 0] * noise[:, 2]).mean().item() == pytest.approx(share, abs=0.02)
    assert (noise[:-1] * noise[1:]).mean().item() == pytest.approx(0, abs=0.01)  # clips share nothing


def test_shared_noise_per_clip():
    noise = draw_noise((2, 3, 4, 64, 64), torch.tensor([0.0, 1.0]), generator=torch.Generator().manual_seed(0))
    assert (noise[0, 0] * noise[0, 1]).mean().abs() < 0.05
    assert torch.equal(noise[1, 0], noise[1, 1])


def test_strengths_cover_the_whole_range():
    torch.manual_seed(0)
    s = draw_strengths(20_000)
    assert S_MIN <= s.min() and s.max() <= S_MAX
    for low, high in ((S_MIN, 0.1), (0.1, 0.5), (0.5, 2.0), (2.0, 8.0), (8.0, 30.0), (30.0, S_MAX)):
        assert ((s > low) & (s <= high)).float().mean() > 0.03, (low, high)


def test_strengths_below_a_start_lie_where_they_are_asked_for():
    torch.manual_seed(0)
    s = draw_strengths(20_000, p_start=0.0, log_normal=(0.5, 0.2)).log()
    assert s.mean() == pytest.approx(0.5, abs=0.01) and s.std() == pytest.approx(0.2, abs=0.01)
    assert draw_strengths(1000, p_start=1.0, log_normal=(0.5, 0.2)).min() >= 5


REFUSED = [(), (2.0, 2.0), (1.0, 2.0), (1.0, 0.0), (1.0, -1.0), (S_MAX + 1,), (float("nan"),), (3.0, 2.0, float("nan"))]


@pytest.mark.parametrize("strengths", REFUSED, ids=str)
def test_schedules_that_do_not_fall_are_refused(strengths):
    with pytest.raises(ValueError, match="steps.strengths must fall from at most 80"):
        Schedule(strengths)


@pytest.mark.parametrize("schedule", [*SHIPPED.values(), karras_schedule(10)], ids=lambda s: str(s.num_steps))
@pytest.mark.parametrize("s", [0.05, 0.4, 1.0, 5.0, S_MAX])
def test_schedules_begun_further_down(schedule, s):
    begun = schedule.starting_at(s)
    assert begun.strengths[0] == s and set(begun.strengths[1:]) <= set(schedule.strengths)
    assert all(eta > 0 for eta in begun.etas) and sum(begun.etas) == pytest.approx(s)


def test_karras_schedule():
    schedule = karras_schedule(18, s_max=80, s_min=0.002)
    # Karras et al. 2022, Eq. 5, by hand: rho = 7.
    by_hand = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert schedule.strengths == pytest.approx(by_hand)
