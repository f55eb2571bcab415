"""A search with Optuna whose trials are kept in a file: killed and started again, it goes on.

Hydra's own plugin for Optuna asks for a version below 3, which does not run with present SQLAlchemy; hence this one.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:  # of the extra `sweeps`; imported when a search begins
    import optuna


def distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """``a,b`` and ``choice(...)``; ``range(low,high,step)``, high left out as in Python; ``interval(low,high)``, which
    ``tag(log,...)`` makes logarithmic."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    if isinstance(value, IntervalSweep):
        return FloatDistribution(float(value.start), float(value.end), log="log" in value.tags)
    assert isinstance(value, RangeSweep)
    if all(float(x) == int(x) for x in (value.start, value.stop, value.step)):
        return IntDistribution(int(value.start), int(value.stop) - 1, step=int(value.step))
    return FloatDistribution(float(value.start), float(value.stop) - float(value.step), step=float(value.step))


class OptunaSweeper(Sweeper):
    """``n_trials`` jobs, ``n_jobs`` at a time, whose values Optuna's TPE chooses by what the earlier ones came to.

    storage: an SQLite file. A trial that was under way when the search was killed is started again with its values, so
    that its run goes on in its folder; a job that fails counts as a trial and has no value.
    """

    def __init__(self, storage: str, n_trials: int, direction: str, n_jobs: int = 1, seed: int = 0):
        self.storage, self.n_trials, self.n_jobs = Path(storage), n_trials, n_jobs
        self.direction, self.seed = {"min": "minimize", "max": "maximize"}[direction], seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        import optuna

        parsed = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(arguments)
        fixed = [override.input_line for override in parsed if not override.is_sweep_override()]
        space = {o.get_key_element(): distribution(o) for o in parsed if o.is_sweep_override()}
        self.storage.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.storage.parent / "multirun.yaml")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=f"sqlite:///{self.storage}", study_name="sweep", direction=self.direction, load_if_exists=True
        )
        # Seeded by how far it has come, so that a search which goes on does not repeat its first draws.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        waiting = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
        while (left := self.n_trials - ended(study)) > 0:
            batch = waiting[: min(left, self.n_jobs)]
            waiting = waiting[len(batch) :]
            fresh = range(min(left, self.n_jobs) - len(batch))
            asked = [study.ask(space).number for _ in fresh]  # before they are looked up: ``trials`` is a copy
            batch += [study.trials[number] for number in asked]
            self.run(study, batch, fixed)
        for key, value in study.best_params.items() if study.best_trials else []:
            print(f"best: {key}={value}")

    def run(self, study: "optuna.Study", batch: list["optuna.trial.FrozenTrial"], fixed: list[str]) -> None:
        from optuna.trial import TrialState

        overrides = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in batch]
        for trial, job in zip(batch, self.launcher.launch(overrides, initial_job_idx=batch[0].number), strict=True):
            value = job.return_value
            if value is None or not math.isfinite(value):
                study.tell(trial.number, state=TrialState.FAIL)
            else:
                study.tell(trial.number, value)


def ended(study: "optuna.Study") -> int:
    from optuna.trial import TrialState

    return len(study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL)))
