"""Muon: what is a matrix, how far a matrix moves, and that all else is AdamW's."""

import copy

import pytest
import torch
from fakes import fake_denoiser
from torch import nn

from tsd.training import optimizers
from tsd.training.optimizers import AS_ADAMW, ITERATIONS, QUINTIC, Muon, is_matrix, orthogonal


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 24, 3), nn.GroupNorm(2, 24), nn.Conv2d(24, 32, 1), nn.Flatten(), nn.Linear(32, 3)
    )


def give_gradients(net: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("in_bfloat16", (False, True))
def test_all_directions_of_a_matrix_become_equally_long(in_bfloat16, monkeypatch):
    monkeypatch.setattr(optimizers, "computes_bfloat16", lambda device: in_bfloat16)
    generator = torch.Generator().manual_seed(0)
    ill = (
        torch.randn(2, 40, 40, generator=generator)
        @ torch.diag(torch.logspace(0, -2, 40))
        @ torch.randn(40, 90, generator=generator)
    )
    for matrices in (ill, ill.mT):
        before, values = torch.linalg.svdvals(matrices), torch.linalg.svdvals(orthogonal(matrices))
        assert (before.amin(1) < 0.01 * before.amax(1)).all(), "what is given is not ill at all"
        assert values.quantile(0.1) > 0.6 and values.max() < 1.3
        # Each iteration makes a short direction QUINTIC[0] times as long: the shortest one here, 4e-5 of the whole,
        # does not reach 0.1 in float32. bfloat16 rounds it up.
        within_reach = QUINTIC[0] ** ITERATIONS * before / before.norm(dim=1, keepdim=True)
        assert (values > 0.9 * within_reach.clamp(max=0.6)).all()
        if in_bfloat16:
            assert values.min() > 0.1
        # Along, not against: left and right directions stay.
        assert ((orthogonal(matrices) * matrices).sum((1, 2)) > 0).all()


def test_a_matrix_without_a_gradient_worth_naming_stays_finite():
    assert torch.isfinite(orthogonal(torch.zeros(1, 20, 30))).all()


def test_matrices_are_weights_and_neither_biases_nor_patterns():
    matrices = {name for name, parameter in fake_denoiser(channels=[16, 24]).named_parameters() if is_matrix(parameter)}
    assert {"viseme_emb.0.weight", "down.0.blocks.0.conv1.weight", "middle.conv2.weight"} <= matrices
    assert not {name for name in matrices if name.endswith("bias") or "norm" in name or name == "shapes"}
    for shape in ((16, 16), (32, 16, 5), (64, 2, 3, 3), (16, 16, 7, 7)):
        assert is_matrix(torch.zeros(shape)), shape
    assert not is_matrix(torch.zeros(15, 64)) and not is_matrix(torch.zeros(64, 1, 3, 3)), "fewer rows than 16"
    assert not is_matrix(torch.zeros(16, 24, 16, 16)), "a pattern as large as a latent"
    assert not is_matrix(torch.zeros(4096)) and not is_matrix(torch.zeros(16, 32, 64))


def test_a_matrix_moves_as_far_as_under_adamw_and_all_else_is_adamws():
    net, other = layers(), layers()
    muon = Muon(net.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    adamw = torch.optim.AdamW(other.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    before = copy.deepcopy(net)
    for seed in range(3):
        for optimizer, trained in ((muon, net), (adamw, other)):
            give_gradients(trained, seed)
            optimizer.step()
        if seed == 0:
            moved = net[0].weight - before[0].weight * (1 - 0.01 * 0.1)
            wide = max(24, 16 * 9)
            assert torch.linalg.matrix_norm(moved.flatten(1), 2) < 1.3 * 0.01 * AS_ADAMW * wide**0.5
            assert float(moved.detach().square().mean().sqrt()) == pytest.approx(0.01 * AS_ADAMW, rel=0.3)
    assert not torch.equal(net[0].weight, other[0].weight) and not torch.equal(net[2].weight, other[2].weight)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{name}: gradients are left as they were"
        if not is_matrix(parameter):
            assert torch.equal(parameter, other.get_parameter(name)), name


def test_a_training_goes_on_from_its_state_as_if_it_had_not_stopped():
    net = layers()
    muon = Muon(net.parameters(), lr=0.01)
    give_gradients(net, 0), muon.step()
    later = copy.deepcopy(net)
    again = Muon(later.parameters(), lr=0.01)
    again.load_state_dict(copy.deepcopy(muon.state_dict()))
    for optimizer, trained in ((muon, net), (again, later)):
        give_gradients(trained, 1), optimizer.step()
    for one, two in zip(net.parameters(), later.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("momentum", "remembers"), [(0.95, True), (0.0, False)])
def test_a_step_remembers_the_gradients_before(momentum, remembers):
    changes = []
    for first in (1, 2):
        net = layers()
        muon = Muon(net.parameters(), lr=0.01, momentum=momentum, weight_decay=0.0)
        give_gradients(net, first), muon.step()
        before = net[0].weight.detach().clone()
        give_gradients(net, 3), muon.step()
        changes.append(net[0].weight.detach() - before)
    assert torch.allclose(*changes, atol=1e-6) != remembers


def test_matrices_decay_too():
    net = layers()
    before = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Muon(net.parameters(), lr=0.1, weight_decay=0.5).step()
    for layer in (0, 2):
        assert torch.allclose(net[layer].weight, 0.95 * before[layer].weight)


def test_rates_are_each_groups_own():
    net = layers()
    before = copy.deepcopy(net)
    muon = Muon([{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.0}], lr=0.01)
    give_gradients(net), muon.step()
    assert not torch.equal(net[0].weight, before[0].weight) and torch.equal(net[2].weight, before[2].weight)


def test_a_closure_is_asked_once_and_its_loss_returned():
    net, asked = layers(), []
    muon = Muon(net.parameters(), lr=0.01)

    def closure():
        asked.append(1)
        muon.zero_grad()
        loss = net(torch.ones(1, 16, 3, 3)).square().sum()
        loss.backward()
        return loss

    first = muon.step(closure)
    for _ in range(20):
        last = muon.step(closure)
    assert len(asked) == 21 and last < 0.5 * first


def test_a_momentum_of_one_is_refused():
    with pytest.raises(ValueError, match="momentum is at least 0 and below 1, got 1"):
        Muon(layers().parameters(), momentum=1.0)
