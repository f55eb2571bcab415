"""The search finds what costs least, knows nothing of test people, and leaves its find in the student's weights."""

import json
import math
import shutil

import pytest
import torch
from compositions import quickly_composed
from finished import SCHEDULES, finished_chain, place

from tsd.commands import schedules
from tsd.diffusion import S_MAX, Schedule
from tsd.evaluation.clips import Chain, swaps
from tsd.evaluation.loading import clip_of, open_split
from tsd.evaluation.schedules import rollout, search
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint

BEST = {1: (80.0,), 2: (80.0, 0.7), 4: (60.0, 9.0, 1.5, 0.3), 8: (80.0, 30.0, 11.0, 5.0, 2.0, 0.9, 0.5, 0.1)}


class Bowl:
    """Costs less the nearer a schedule is to the best one; few clips see it through noise."""

    def __init__(self, best: tuple[float, ...]):
        self.best, self.asked = best, []

    def __call__(self, schedule: Schedule, count: int) -> float:
        self.asked.append((schedule, count))
        apart = sum(math.log(a / b) ** 2 for a, b in zip(schedule.strengths, self.best, strict=True))
        return apart + (0.3 / count) * math.sin(1000 * sum(schedule.strengths))


@pytest.mark.parametrize("num_steps", BEST)
def test_the_search_finds_what_costs_least(num_steps):
    known, bowl = Schedule(tuple(SCHEDULES[f"k{num_steps}"])), Bowl(BEST[num_steps])
    found = search.search(known, bowl, 100)
    for other in (known, search.uniform_schedule(num_steps), search.usual_schedule(num_steps)):
        assert bowl(found, 100) <= bowl(other, 100)
    assert all(abs(math.log(a / b)) < 0.45 for a, b in zip(found.strengths, bowl.best, strict=True))
    assert len(bowl.asked) - 6 <= search.most_costs(num_steps)
    counts = [count for _, count in bowl.asked]
    assert {25, 50, 100} == set(counts) if num_steps > 1 else {25, 50, 100} >= set(counts)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_everything_that_is_tried_is_a_schedule_of_as_many_steps(num_steps):
    tried = search.candidates(Schedule(tuple(SCHEDULES[f"k{num_steps}"])))
    assert len(set(tried)) == len(tried) and all(s.num_steps == num_steps for s in tried)
    uniform = search.uniform_schedule(num_steps)
    assert uniform.etas == pytest.approx([S_MAX / num_steps] * num_steps)
    for schedule in tried:
        for k in range(num_steps):
            for factor in (0.01, 0.5, 2.0, 100.0):
                other = search.moved(schedule, k, factor)
                if other is not None:
                    differ = [a != b for a, b in zip(other.strengths, schedule.strengths, strict=True)]
                    assert differ.index(True) == k and sum(differ) == 1 and max(other.strengths) <= S_MAX


def test_a_blur_costs_more_than_its_errors_say():
    known = {"rollout": 0.2, "mouth": 0.1, "temporal_l1_ratio": 1.0, "sharpness_ratio": 1.0}
    assert rollout.cost(known, known) == 2
    safe = {"rollout": 0.18, "mouth": 0.09, "temporal_l1_ratio": 0.6, "sharpness_ratio": 0.8}
    assert safe["rollout"] < known["rollout"] and rollout.cost(safe, known) > 2.5
    restless = known | {"temporal_l1_ratio": 1.5}
    assert rollout.cost(restless, known) == pytest.approx(2 + math.log(1.5))
    assert math.isfinite(rollout.cost(known | {"temporal_l1_ratio": 0.0}, known | {"mouth": 0.0}))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A finished chain whose test people cannot be read."""
    root = tmp_path_factory.mktemp("chain")
    finished_chain(root)
    manifest = root / "corpus/manifests/lrs3_test.jsonl"
    for line in manifest.read_text().splitlines():
        (root / "corpus" / json.loads(line)["video"]).unlink()
    manifest.unlink()
    return root


@pytest.fixture
def chain(untouched, tmp_path):
    """A copy of it."""
    return shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def searched(untouched, tmp_path_factory):
    """Another copy, with what was found; and the report of the search."""
    root = shutil.copytree(untouched, tmp_path_factory.mktemp("searched"), dirs_exist_ok=True)
    return root, schedules.run(config(root))


def config(root, *overrides: str):
    weights = [f"weights.{stage}={place(root, stage)}" for stage in ("vae", "visemes", "student")]
    given = [*weights, f"data.root={root / 'corpus'}", f"out={root / 'searched/report.json'}", "schedules=[k1,k2]"]
    return quickly_composed("schedules", [*given, *overrides])


def probe_of(root) -> tuple[Chain, rollout.Probe]:
    talker = Talker.load({stage: place(root, stage) for stage in ("vae", "visemes", "student")})
    chain, dataset = Chain(talker), open_split("val", 32, str(root / "corpus"))
    return chain, rollout.Probe.of(chain, clip_of(dataset, 0), 0)


def test_terms_are_those_of_what_is_said(chain, monkeypatch):
    chain, probe = probe_of(chain)
    schedule = Schedule((80.0, 1.0))
    assert len(probe.z) == rollout.FRAMES and probe.decoded.tolist() == [0, 1, 6, 7, 12, 13, 18, 19]
    by_hand = rollout.roll_out(chain, probe, schedule)
    assert set(by_hand) == set(rollout.TERMS) and by_hand["rollout"] > 0.01
    assert by_hand == rollout.roll_out(chain, probe, schedule), "the noise is the clip's own"

    def saying(z):
        monkeypatch.setattr(rollout, "Speaking", lambda *_: lambda *_: z)
        return rollout.mean_terms([rollout.roll_out(chain, probe, schedule)])

    right = saying(probe.z)
    assert right["rollout"] == right["mouth"] == 0 and right["temporal_l1_ratio"] == right["sharpness_ratio"] == 1
    still = saying(probe.z.mean(0, keepdim=True).expand_as(probe.z))
    assert still["rollout"] > 0 and still["temporal_l1_ratio"] < 0.9
    assert rollout.cost(still, by_hand) > rollout.cost(right, by_hand)


def test_mouths_are_where_the_boxes_are():
    region = swaps.inside(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 8)
    assert region.shape == (1, 8, 8) and region.sum() == 4 * 4 and region[0, 4:, 2:6].all()


def test_what_is_found_lies_in_the_weights_and_nothing_else_changes(untouched, searched):
    (chain, report), student = searched, place(untouched, "student")
    before, header = checkpoint.load(student, "student").state_dict(), checkpoint.read_header(student)
    student = place(chain, "student")
    after, card = checkpoint.load(student, "student").state_dict(), checkpoint.read_header(student)["card"]
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert card["stands_on"] == header["card"]["stands_on"] and card["schedule_search"]["trained"] == SCHEDULES
    for name in ("k1", "k2"):
        row = report["schedules"][name]
        assert set(row["schedules"]) == {"found", "trained", "uniform", "karras"}
        kept = row["schedules"]["found" if row["better"] else "trained"]
        assert card["schedules"][name] == kept["strengths"]
        assert kept["cost"] == min(row["schedules"][kind]["cost"] for kind in ("found", "trained"))
    assert card["schedules"]["k8"] == SCHEDULES["k8"], "not searched"
    assert set(report["stored"]) == {name for name, row in report["schedules"].items() if row["better"]}
    assert not set(report["searched_on"]) & set(report["judged_by"])
    folder = chain / "searched"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md"]
    text = (folder / "report.md").read_text()
    assert text.count("**found**") + text.count("**trained**") == 2 and "| 2 | uniform |" in text
    again = schedules.run(config(chain, "store=false", f"out={chain / 'again/report.json'}", "schedules=[k1]"))
    assert again["schedules"] == {"k1": report["schedules"]["k1"]}, "from what was trained, not from what was found"


def test_a_search_that_was_cut_goes_on_and_finds_the_same(chain, searched, monkeypatch):
    _, whole = searched
    real, made = schedules.roll_out, []

    def stops(nets, probe, schedule):
        if len(made) == 7:
            raise KeyboardInterrupt
        made.append((probe.seed, schedule))
        return real(nets, probe, schedule)

    monkeypatch.setattr(schedules, "roll_out", stops)
    cfg = config(chain, "store=false", "workers=1")
    with pytest.raises(KeyboardInterrupt):
        schedules.run(cfg)
    monkeypatch.setattr(schedules, "roll_out", lambda n, p, s: made.append((p.seed, s)) or real(n, p, s))
    report = schedules.run(cfg)
    assert len(made) == len(set(made)) and report["schedules"] == whole["schedules"]


def test_nothing_is_stored_where_that_is_not_asked_or_not_better(chain, monkeypatch):
    before = place(chain, "student").read_bytes()
    schedules.run(config(chain, "store=false", "schedules=[k1]"))
    assert place(chain, "student").read_bytes() == before
    monkeypatch.setattr(schedules, "search", lambda known, *_: known)
    assert schedules.run(config(chain))["stored"] == {}
    card = checkpoint.read_header(place(chain, "student"))["card"]
    assert card["schedules"] == card["schedule_search"]["trained"] == SCHEDULES


def test_all_that_is_wrong_is_said_at_once(chain):
    wrong = ["clips=0", "workers=0", "out=here.txt", "schedules=[k2,k3]"]
    with pytest.raises(ValueError) as error:
        schedules.run(config(chain, *wrong))
    for words in ("schedules=k3: the student's weights hold k1, k2, k4, k8", "clips=0", "workers=0", "out=here.txt"):
        assert words in str(error.value)
    with pytest.raises(ValueError, match="no student weights at .*none.safetensors"):
        schedules.run(config(chain, "weights.student=none.safetensors"))
