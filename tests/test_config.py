"""Every choice of every group composes, resolves and builds; what does not exist is refused."""

import functools
import re

import pytest
import torch
from compositions import quickly_composed
from fakes import CONF
from hydra.errors import HydraException
from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from tsd.commands.compose import composed, plain
from tsd.diffusion import Schedule
from tsd.losses import LossWeights
from tsd.training import check
from tsd.weights import checkpoint

pytestmark = pytest.mark.untraced

TOP = sorted(path.stem for path in CONF.glob("*.yaml"))
COMMANDS = TOP + [
    f"{group}/{path.stem}" for group in ("bench", "chain", "publish") for path in CONF.glob(f"{group}/*.yaml")
]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def resolved(command: str, *overrides: str) -> DictConfig:
    """The whole configuration with every ${...} replaced, as a run sees it. Never change what this returns."""
    cfg = quickly_composed(command, list(overrides))
    OmegaConf.resolve(cfg)
    return cfg


STAGES, MODELS = choices("stage"), choices("model")
DENOISERS = ("teacher", "student")
"""Stages that every model is about; with the others they are composed by `make test-all`."""

GROUPS = ["loss", "steps", "p_mismatch", "data", "optimizer", "trainer", "weights", "logger", "callbacks"]
ONE_BY_ONE = [f"{group}={choice}" for group in GROUPS for choice in choices(group)]
TOGETHER = [
    (f"stage={DENOISERS[row // 6 % 2]}", *(f"{group}={choices(group)[row % len(choices(group))]}" for group in GROUPS))
    for row in range(max(len(choices(group)) for group in GROUPS))
]
"""Every choice of every group, one of each group at a time. Every p_mismatch is there with both stages."""


def together(*wanted: str) -> DictConfig:
    """A configuration of ``TOGETHER`` with these choices."""
    return resolved("train", *next(row for row in TOGETHER if {*wanted} <= {*row}))


def test_nothing_to_choose_from_is_not_a_test():
    assert set(STAGES) >= {"vae", "visemes", "identity", "mouth", "teacher", "student"} and "tiny" in MODELS
    assert set(choices("steps")) >= {"k1", "k2", "k4", "k8"} and len(choices("p_mismatch")) >= 6
    assert set(COMMANDS) >= {"train", "sample", "prepare", "evaluate", "chain/demo", "publish/drawn"} and len(TOP) <= 9


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("train", ["steps=k4", "stage=student", "data.window=3", "loss=no_teacher", "steps.strengths=[80,4,2,1]"]),
        ("train", ["optimizer.lr=0.5", "+model.vae.decoder_channels=[8,8,16]", "++seed=3", "out='a b'", "~data.flip"]),
        ("sample", ["weights=demo", "steps=k1", "reference=null"]),
    ],
)
def test_the_quick_way_to_compose_gives_the_same(command, overrides):
    """As most configurations of the tests are made."""
    quick, usual = quickly_composed(command, overrides), composed(command, overrides)
    assert OmegaConf.to_yaml(quick) == OmegaConf.to_yaml(usual) and OmegaConf.is_struct(quick)
    for make in (quickly_composed, composed):
        with pytest.raises(HydraException, match="no_such_key"):
            make(command, ["no_such_key=1"])


def usual(stage: str, model: str):
    """Every stage of one model and the denoisers of every model; other pairs are slow."""
    return pytest.param(stage, model, marks=() if model == "small" or stage in DENOISERS else pytest.mark.slow)


@pytest.mark.parametrize(("stage", "model"), [usual(stage, model) for stage in STAGES for model in MODELS])
def test_every_stage_of_every_model_builds_its_net(stage, model):
    cfg = resolved("train", f"stage={stage}", f"model={model}", "p_mismatch=p100")
    assert cfg.stage.name == stage and cfg.out == f"outputs/{stage}" and cfg.model.name == model
    with torch.device("meta"):
        net = instantiate(cfg.stage.net, _convert_="all")
    assert type(net) is checkpoint.NETS[stage]
    assert set(cfg.stage.needs) <= set(cfg.weights) & set(checkpoint.NETS)
    module = instantiate(cfg.stage.module, _convert_="all")
    assert issubclass(module.func, torch.nn.Module)
    if stage in DENOISERS:
        with torch.device("meta"):
            checkpoint.check_latents(instantiate(cfg.model.vae, _convert_="all"), net, "vae", stage)
        assert all(
            isinstance(s, Schedule)
            for s in [module.keywords["schedule"], *module.keywords.get("schedules", {}).values()]
        )


@pytest.mark.parametrize(
    "overrides",
    [*TOGETHER, *(pytest.param((override,), marks=pytest.mark.slow) for override in ONE_BY_ONE)],
    ids=",".join,
)
def test_every_choice_builds(overrides):
    """In company in `make test`, by itself in `make test-all`."""
    cfg = resolved("train", *overrides)
    built = {"loss": LossWeights, "steps": Schedule}
    for group, kind in built.items():
        assert isinstance(instantiate(cfg[group], _convert_="all"), kind)
    instantiate(cfg.data, _convert_="all")
    instantiate(cfg.callbacks, _convert_="all")
    assert callable(instantiate(cfg.optimizer)) and callable(get_class(cfg.trainer._target_))
    assert all(get_class(node._target_) for node in cfg.logger.values())


@pytest.mark.parametrize("choice", choices("p_mismatch"))
def test_p_mismatch_says_what_its_name_says_and_reaches_the_data(choice):
    for stage in DENOISERS:
        assert together(f"stage={stage}", f"p_mismatch={choice}").data.p_mismatch == int(choice[1:]) / 100


@pytest.mark.parametrize("choice", choices("steps"))
def test_steps_say_how_many(choice):
    cfg = together("stage=student", f"steps={choice}")
    assert instantiate(cfg.steps, _convert_="all").num_steps == int(choice[1:])
    assert cfg.stage.module.schedule == cfg.steps


@pytest.mark.parametrize("learns", ["[k3]", "[]", "k2"])
def test_schedules_to_learn_are_some_that_there_are(learns):
    def faults(value):
        return check.faults(*plain(quickly_composed("train", ["stage=student", f"stage.module.learns={value}"])))

    assert faults("[k1,k8]") == faults("null") == []
    (fault,) = faults(learns)
    assert fault.startswith("stage.module.learns=")


@pytest.mark.parametrize("stages", [("student",), pytest.param(STAGES, marks=pytest.mark.slow)], ids=["student", "all"])
@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_over_every_stage(experiment, stages):
    changed = False
    for stage in stages:
        cfg = resolved("train", f"stage={stage}", f"experiment={experiment}")
        assert isinstance(instantiate(cfg.loss, _convert_="all"), LossWeights)
        instantiate(cfg.data, _convert_="all")
        changed = changed or cfg != resolved("train", f"stage={stage}")
    assert changed, "an experiment that changes nothing"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command):
    needed = {"prepare": ["root=somewhere"], "chain/real": ["videos=somewhere"]}.get(command, [])
    assert resolved(command, *needed)


@pytest.mark.parametrize("source", choices("source"))
def test_every_source_is_there(source):
    cfg = resolved("prepare", f"source={source}", "root=somewhere", "videos=elsewhere")
    assert callable(get_object(cfg.source._target_))
    assert cfg.source.get("root") == "somewhere" or cfg.source.videos == "elsewhere"


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_keys_are_refused(command):
    with pytest.raises(HydraException, match="no_such_key"):
        resolved(command, "no_such_key=1")


@pytest.mark.parametrize(
    "override", ["loss.sharpnes=1", "data.windw=3", "model.vae.channel=4", "trainer.max_step=3", "optimizer.lrr=1"]
)
def test_misspelt_keys_are_refused(override):
    with pytest.raises(HydraException, match=re.escape(override.split("=")[0].split(".")[-1])):
        resolved("train", override)


@pytest.mark.parametrize("override", ["+loss.sharpnes=1", "+data.windw=3", "+model.vae.channel=4", "+stage.module.x=1"])
def test_keys_forced_in_are_refused_when_built(override):
    cfg = resolved("train", "stage=vae", override)
    group, key = override.removeprefix("+").split("=")[0].rsplit(".", 1)
    node = OmegaConf.select(cfg, group)
    with pytest.raises((HydraException, TypeError), match=key):
        built = instantiate(node, _convert_="all")
        built(net=None, loss=None, optimizer=None)


@pytest.mark.parametrize("override", ["stage=vea", "steps=k3", "loss=nosuch", "model=huge", "experiment=none_such"])
def test_choices_that_do_not_exist_are_refused(override):
    group, choice = override.split("=")
    with pytest.raises(HydraException, match=choice):
        resolved("train", override)


@pytest.mark.parametrize("stage", sorted({*STAGES} - {*DENOISERS}))
def test_only_denoisers_see_other_peoples_references(stage):
    assert resolved("train", f"stage={stage}", "model=small", "p_mismatch=p100").data.p_mismatch == 0


@pytest.mark.parametrize(
    ("max_steps", "wanted"), [(1400, 400), (1500, 400), (20000, 250), (4, 2), (7, 100), (1001, 400)]
)
def test_the_last_validation_comes_at_the_end(max_steps, wanted):
    from tsd.commands.train import validation_interval

    interval = validation_interval(max_steps, wanted)
    assert 0 < interval <= wanted
    assert max_steps - max_steps // interval * interval < -(-max_steps // wanted)


def test_a_misspelt_key_of_a_partial_is_refused_by_name():
    from tsd.commands.train import build

    cfg = resolved("train", "+optimizer.learning_rate=1")
    with pytest.raises(ValueError, match="Muon.*learning_rate"):
        build(cfg.optimizer)
