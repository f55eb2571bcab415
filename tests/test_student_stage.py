"""Stage ``student``: matching the teacher, and its own steps."""

import pytest
import torch
from fake_stages import SCHEDULES, student, teacher
from fakes import fake_clip

from tsd.diffusion import S_MAX
from tsd.losses import TERMS, LossWeights


def test_student_terms_are_the_wanted_ones():
    torch.manual_seed(0)
    assert set(student(done=0.49).step_losses(fake_clip())) == TERMS["teacher"] | {"distill", "consistency"}
    own = student(done=0.5, schedules={"k1": SCHEDULES["k1"]}).step_losses(fake_clip())
    assert set(own) == TERMS["teacher"] - {"noise", "denoised"} | {"rollout", "trajectory", "picture", "energy"}, (
        "one step has no next to agree with"
    )
    assert set(student(LossWeights(rollout=1.0), done=0.5).step_losses(fake_clip())) == {"rollout"}


def test_a_student_that_compares_pictures_is_shown_them():
    """Else frames whose latents are cached are grey, and so would its faces be."""
    assert student().pictures and not student(LossWeights(rollout=1.0)).pictures and not teacher().pictures


def test_a_student_as_good_as_its_teacher_has_nothing_to_match():
    stage = student(LossWeights(distill=1.0))
    stage.hold_frozen(teacher=stage.net)
    torch.manual_seed(0)
    assert stage.match(fake_clip())["distill"] == 0


def test_a_mismatched_reference_has_no_rollout():
    clip, stage = fake_clip(batch=2), student(LossWeights(rollout=1.0, mouth=1.0), done=0.9)
    clip.mismatch = torch.tensor([True, True])
    torch.manual_seed(0)
    assert all(term == 0 for term in stage.own_steps(clip).values())


def test_own_steps_start_from_pure_noise_and_judge_one_step(monkeypatch):
    """Steps before the judged one carry no gradient; the judged strengths are those of the schedules."""
    stage, clip, calls = student(LossWeights(rollout=1.0)), fake_clip(batch=1, frames=2), []
    forward = stage.net.forward

    def seen(z_s, s, condition, *read):
        calls.append((float(s[0]), torch.is_grad_enabled(), float(z_s.std())))
        return forward(z_s, s, condition, *read)

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
    stage, clip, judged = student(LossWeights(rollout=1.0), learns=["k2"]), fake_clip(batch=1, frames=2), set()
    forward = stage.net.forward

    def seen(z_s, s, condition, *read):
        if torch.is_grad_enabled():
            judged.add(float(s[0]))
        return forward(z_s, s, condition, *read)

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
    stage = student(loss, done=0.6, schedules={"k1": SCHEDULES["k1"]}, match_share=0.25)
    kinds = [set(stage.step_losses(fake_clip(batch=1, frames=2, seed=n))) for n in range(40)]
    matched = sum(kind == {"noise", "distill"} for kind in kinds)
    assert 5 <= matched <= 15 and kinds.count({"rollout"}) == 40 - matched


@pytest.mark.parametrize("given", [{"own_steps_from": 50}, {"match_share": -0.5}])
def test_a_fraction_is_a_fraction(given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=rf"{name} is a .*, 0..1, got {value}"):
        student(**given)


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
