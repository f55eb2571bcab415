"""Every stage on a batch of noise: finite terms, a gradient for everything trained, none for anything frozen."""

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from fake_stages import (
    ADAMW,
    SCHEDULES,
    STAGES,
    clip_for,
    small_stage,
    student,
    teacher,
    trained_by,
)
from fakes import fake_clip, fake_vae

from tsd import losses
from tsd.losses import TERMS, LossWeights
from tsd.modules.base import WARMUP
from tsd.modules.vae import VAEModule
from tsd.training.callbacks import Compile


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


def test_every_named_weight_is_computed_by_some_stage():
    torch.manual_seed(0)
    terms = set(small_stage("vae").step_losses(fake_clip())) | set(teacher().step_losses(fake_clip()))
    for done in (0.0, 0.9):
        terms |= set(student(done=done).step_losses(fake_clip()))
    terms |= set(student(done=0.9, schedules={"k4": SCHEDULES["k4"]}).step_losses(fake_clip()))
    assert terms == set(vars(LossWeights())) and all(callable(getattr(losses, name)) for name in terms)


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
    # Beside the net, only what is fitted without a gradient, and belongs to a run that goes on.
    assert {"net"} <= {key.split(".")[0] for key in stage.state_dict()} <= {"net", "lip_probe"}
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
