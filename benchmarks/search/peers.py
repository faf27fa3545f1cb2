"""Searches of other projects by their own code, on workers that look their epochs up in a table.

Every peer decides alone, through its documented calls: which configuration a free worker gets, and
after each epoch whether the trial goes on, waits or ends. Here are only workers and translations.
Workers are asynchronous, as these projects run them: each takes a job as soon as it is free, and
waits for nobody. A trial that a peer resumes goes on where it was, at no cost, whether the peer
keeps checkpoints or not.

| peer | by | spaces with conditions |
| --- | --- | --- |
| `optuna: …` | Optuna 5, `ask`, `report`, `should_prune`, `tell`: at one worker what `Study.optimize` does, call by call | asked only where active; its GP draws them at random |
| `syne-tune: …` | syne-tune 0.13, the last with promotion and MOBSTER; needs numpy below 1.27 | suggested always, dropped where not active |
| `dehb`, `smac` | DEHB 0.1, SMAC 2: `ask` and `tell` of a configuration and an epoch; one that is promoted goes on from its checkpoint | the same |
| `ray: asha` | the scheduler of Ray Tune, which stops trials; configurations are drawn at random | drawn only where active |
| `ray: bohb` | the scheduler of Ray Tune, which pauses trials, and the model that it takes, of hpbandster 0.7; needs ConfigSpace below 1 | suggested always, dropped where not active |

Each runs with its own defaults, but for the epochs of a trial (first rung 1, last the epochs of the
table) and the seed. One default is changed: syne-tune begins with the middle of all ranges, and
here no search begins with a configuration that somebody chose.
"""  # noqa: E501

import heapq
import itertools
import logging
import math
import tempfile
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from table_lanes import BudgetSpent, Trace, TrainedEpoch

from sweeps.study.space import Parameter, Space

__all__ = ["PEERS", "Job", "OptunaPeer", "Peer", "run_peer"]

optuna.logging.set_verbosity(optuna.logging.WARNING)
_WORST = 1e9
"""Nats of a diverged trial for peers that know no failed trials."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial for a worker, new or resumed."""

    key: Hashable
    """The same for a trial that is resumed."""
    params: Mapping[str, Any]
    handle: Any = field(compare=False)
    """What the peer knows the trial by."""
    until: int | None = None
    """Epoch up to which the trial is trained before the peer hears of it; None where it hears of
    each epoch.
    """


class Peer(Protocol):
    """A search that is asked by workers."""

    def ask(self) -> Job | None:
        """Return the next job of a free worker; None where there is none before a running trial
        reports.
        """

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        """Hear of an epoch (infinite: it diverged, and the trial has ended); return whether the
        worker trains the next one.

        `last`: the trial has no further epoch, and the answer does not matter.
        """


def run_peer(peer: Peer, trace: Trace, workers: int) -> None:
    """Run a search on asynchronous workers until the trial-epochs of the trace are spent, or it has
    no more jobs.

    A job whose epochs are trained already is reported at once.
    """
    running: list[tuple[float, int, Job, TrainedEpoch]] = []
    done: dict[Hashable, TrainedEpoch] = {}
    order, now = itertools.count(), 0.0

    def report(job: Job, trained: TrainedEpoch) -> bool:
        early = job.until is not None and trained.epoch < job.until and not trained.last
        return early or peer.report(job, trained.epoch, trained.objective, last=trained.last)

    def begin(job: Job) -> None:
        epoch = done[job.key].epoch + 1 if job.key in done else 1
        trained = trace.train(job.key, job.params, epoch, now)
        heapq.heappush(running, (trained.ended, next(order), job, trained))

    with suppress(BudgetSpent):
        while True:
            while len(running) < workers and (job := peer.ask()) is not None:
                known = done.get(job.key)
                if (
                    known is not None
                    and job.until is not None
                    and (known.last or known.epoch >= job.until)
                ):
                    report(job, known)
                else:
                    begin(job)
            if not running:
                return
            now, _, job, trained = heapq.heappop(running)
            done[job.key] = trained
            if report(job, trained) and not trained.last:
                begin(job)


class OptunaPeer:
    """Optuna's sampler and pruner."""

    def __init__(
        self, space: Space, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner
    ) -> None:
        self._space = space
        # Hyperband puts trials in brackets by the name, which is random by default.
        self.study = optuna.create_study(study_name="peer", sampler=sampler, pruner=pruner)

    def ask(self) -> Job:
        trial = self.study.ask()
        return Job(key=trial.number, params=self._space.suggest(trial), handle=trial)

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        trial: optuna.Trial = job.handle
        if math.isinf(objective):
            self.study.tell(trial, state=TrialState.FAIL)
            return False
        trial.report(objective, epoch)
        if last:
            reported = self.study.trials[trial.number].intermediate_values
            self.study.tell(trial, min(reported.values()))
            return False
        if trial.should_prune():
            self.study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


def _optuna(
    sampler: str, pruner: Callable[[int], optuna.pruners.BasePruner]
) -> Callable[[Space, int, int], Peer]:
    def make(space: Space, epochs: int, seed: int) -> Peer:
        return OptunaPeer(space, getattr(optuna.samplers, sampler)(seed=seed), pruner(epochs))

    return make


def _hyperband(epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)


class SynePeer:
    """A scheduler of syne-tune 0.13, which stops, pauses and resumes trials."""

    def __init__(self, name: str, space: Space, epochs: int, seed: int, **options: Any) -> None:
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.WARNING)
        self._space, self._make_trial = space, Trial
        self._trials: dict[int, Any] = {}
        self._scheduler = getattr(baselines, name)(
            {parameter.name: _syne_domain(parameter) for parameter in space.parameters}
            | {"epochs": epochs},
            metric="objective",
            mode="min",
            random_seed=seed % 2**31,
            # By default the middle of all ranges, which is where their author expects the best.
            points_to_evaluate=[],
            **options,
        )

    def ask(self) -> Job | None:
        suggestion = self._scheduler.suggest(trial_id=len(self._trials))
        if suggestion is None:
            return None
        if suggestion.spawn_new_trial_id:
            trial = self._make_trial(len(self._trials), suggestion.config, datetime(2026, 1, 1))
            self._trials[trial.trial_id] = trial
            self._scheduler.on_trial_add(trial=trial)
        else:
            trial = self._trials[suggestion.checkpoint_trial_id]
            trial.config = suggestion.config or trial.config
        return Job(key=trial.trial_id, params=_active(self._space, trial.config), handle=trial)

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        trial, result = job.handle, {"objective": objective, "epoch": epoch}
        if math.isinf(objective):
            self._scheduler.on_trial_error(trial)
            return False
        decision = self._scheduler.on_trial_result(trial, result)
        if last and decision == "CONTINUE":
            self._scheduler.on_trial_complete(trial, result)
        elif decision != "CONTINUE":  # a trial that waits is removed, too
            self._scheduler.on_trial_remove(trial)
        return decision == "CONTINUE"


def _syne(name: str, **options: Any) -> Callable[[Space, int, int], Peer]:
    return lambda space, epochs, seed: SynePeer(name, space, epochs, seed, **options)


def _syne_domain(parameter: Parameter) -> Any:
    """Return a parameter as syne-tune has it; a choice as the places of its values, because some
    are lists.
    """
    from syne_tune import config_space

    if parameter.kind == "choice":
        return config_space.choice([str(place) for place in range(len(parameter.values))])
    if parameter.kind == "int":
        make = config_space.lograndint if parameter.log else config_space.randint
        return make(int(parameter.low), int(parameter.high))
    return (config_space.loguniform if parameter.log else config_space.uniform)(
        parameter.low, parameter.high
    )


def _active(space: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of values of all parameters, in which choices are places; those that
    are not active are dropped.
    """
    values = {
        p.name: p.value(int(config[p.name])) if p.kind == "choice" else config[p.name]
        for p in space.parameters
    }
    return {name: values[name] for name in space.active(values)}


class DehbPeer:
    """Differential evolution with Hyperband (Awad et al. 2021) by its authors."""

    def __init__(self, space: Space, epochs: int, seed: int) -> None:
        from dehb import DEHB

        self._space, self._folder = space, tempfile.TemporaryDirectory()
        self._dehb = DEHB(
            cs=_config_space(space, seed),
            min_fidelity=1,
            max_fidelity=epochs,
            n_workers=1,
            seed=seed % 2**31,
            output_path=self._folder.name,
            log_level="ERROR",
        )

    def ask(self) -> Job:
        job = self._dehb.ask()
        params = _active(self._space, dict(job["config"]))
        return Job(key=job["config_id"], params=params, handle=job, until=round(job["fidelity"]))

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        self._dehb.tell(job.handle, {"fitness": min(objective, _WORST), "cost": float(epoch)})
        return False


class SmacPeer:
    """SMAC3's multi-fidelity facade: Hyperband with a random forest (Lindauer et al. 2022)."""

    def __init__(self, space: Space, epochs: int, seed: int) -> None:
        from smac import MultiFidelityFacade, Scenario
        from smac.runhistory.dataclasses import TrialValue

        self._space, self._folder, self._value = space, tempfile.TemporaryDirectory(), TrialValue
        scenario = Scenario(
            _config_space(space, seed),
            output_directory=Path(self._folder.name),
            deterministic=True,
            n_trials=1_000_000,
            min_budget=1,
            max_budget=epochs,
            seed=seed % 2**31,
        )
        self._facade = MultiFidelityFacade(
            scenario, lambda config, seed, budget: 0.0, logging_level=False
        )

    def ask(self) -> Job:
        info = self._facade.ask()
        values = dict(info.config)
        key = tuple(sorted((name, str(value)) for name, value in values.items()))
        return Job(
            key=key, params=_active(self._space, values), handle=info, until=round(info.budget)
        )

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        self._facade.tell(
            job.handle, self._value(cost=min(objective, _WORST), time=float(epoch)), save=False
        )
        return False


def _config_space(space: Space, seed: int) -> Any:
    from ConfigSpace import ConfigurationSpace

    domains = [_config_space_domain(parameter) for parameter in space.parameters]
    return ConfigurationSpace(space={domain.name: domain for domain in domains}, seed=seed % 2**31)


def _config_space_domain(parameter: Parameter) -> Any:
    import ConfigSpace

    name = parameter.name
    if parameter.kind == "choice":
        return ConfigSpace.CategoricalHyperparameter(
            name, [str(place) for place in range(len(parameter.values))]
        )
    if parameter.kind == "int":
        return ConfigSpace.UniformIntegerHyperparameter(
            name, int(parameter.low), int(parameter.high), log=parameter.log
        )
    return ConfigSpace.UniformFloatHyperparameter(
        name, parameter.low, parameter.high, log=parameter.log
    )


class RayPeer:
    """The rule of Ray Tune's ASHA, which stops trials, on configurations drawn at random."""

    def __init__(self, space: Space, epochs: int, seed: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._space = space
        self._random = np.random.default_rng(seed)
        self._numbers = itertools.count()
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch", metric="objective", mode="min", max_t=epochs, grace_period=1
        )

    def ask(self) -> Job:
        trial = SimpleNamespace(trial_id=str(next(self._numbers)))
        values = {
            parameter.name: parameter.at(self._random.random())
            for parameter in self._space.parameters
        }
        self._scheduler.on_trial_add(None, trial)
        params = {name: values[name] for name in self._space.active(values)}
        return Job(key=trial.trial_id, params=params, handle=trial)

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        result = {"objective": objective, "epoch": epoch}
        if math.isinf(objective):
            self._scheduler.on_trial_remove(None, job.handle)
            return False
        return self._scheduler.on_trial_result(None, job.handle, result) == "CONTINUE"


@dataclass(eq=False)
class _RayTrial:
    """The fields of a trial that Ray's schedulers read."""

    trial_id: str
    params: Mapping[str, Any]
    status: str = "PENDING"
    is_saving = False


class RayBohbPeer:
    """BOHB (Falkner et al. 2018) as Ray Tune has it: its HyperBand, and hpbandster's model of good
    and bad configurations.

    Stands for Ray's controller, and calls scheduler and model in the order in which
    `ray.tune.execution.tune_controller` does.
    """

    def __init__(self, space: Space, epochs: int, seed: int) -> None:
        import hpbandster  # noqa: F401  Ray raises an AssertionError without it
        from ray.tune.schedulers import HyperBandForBOHB
        from ray.tune.search.bohb import TuneBOHB

        np.random.seed(seed % 2**32)  # hpbandster draws from this generator alone
        logging.getLogger("hpbandster").setLevel(logging.ERROR)
        self._space, self._trials = space, list[_RayTrial]()
        self._model = TuneBOHB(_config_space(space, seed), metric="objective", mode="min")
        self._scheduler = HyperBandForBOHB(
            time_attr="epoch", metric="objective", mode="min", max_t=epochs
        )
        self.search_alg = SimpleNamespace(searcher=self._model)

    def get_trials(self) -> list[_RayTrial]:
        return self._trials

    def stop_trial(self, trial: _RayTrial) -> None:
        # The status is still the one that the trial had, as in Ray.
        self._scheduler.on_trial_remove(self, trial)
        self._model.on_trial_complete(trial.trial_id)
        trial.status = "TERMINATED"

    def ask(self) -> Job | None:
        if not any(trial.status == "PENDING" for trial in self._trials):
            name = str(len(self._trials))
            self._trials.append(
                trial := _RayTrial(name, _active(self._space, self._model.suggest(name)))
            )
            self._scheduler.on_trial_add(self, trial)
        if (trial := self._scheduler.choose_trial_to_run(self)) is None:
            return None
        trial.status = "RUNNING"
        return Job(key=trial.trial_id, params=trial.params, handle=trial)

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        trial, result = job.handle, {"objective": objective, "epoch": epoch}
        if math.isinf(objective):
            self._scheduler.on_trial_error(self, trial)
            self._model.on_trial_complete(trial.trial_id, error=True)
            trial.status = "ERROR"
            return False
        decision = self._scheduler.on_trial_result(self, trial, result)
        if decision == "STOP":
            self.stop_trial(trial)
            return False
        self._model.on_trial_result(trial.trial_id, result)
        trial.status = "PAUSED" if decision == "PAUSE" else trial.status
        return decision == "CONTINUE"


PEERS: dict[str, Callable[[Space, int, int], Peer]] = {
    "optuna: tpe + median": _optuna("TPESampler", lambda epochs: optuna.pruners.MedianPruner()),
    "optuna: tpe + hyperband": _optuna("TPESampler", _hyperband),
    "optuna: gp + median": _optuna("GPSampler", lambda epochs: optuna.pruners.MedianPruner()),
    "optuna: random + halving": _optuna(
        "RandomSampler", lambda epochs: optuna.pruners.SuccessiveHalvingPruner()
    ),
    "syne-tune: asha, stopping": _syne(
        "ASHA", resource_attr="epoch", max_resource_attr="epochs", type="stopping"
    ),
    "syne-tune: asha, promotion": _syne(
        "ASHA", resource_attr="epoch", max_resource_attr="epochs", type="promotion"
    ),
    "syne-tune: mobster": _syne(
        "MOBSTER", resource_attr="epoch", max_resource_attr="epochs", type="promotion"
    ),
    "syne-tune: bore": _syne("BORE"),
    "dehb": DehbPeer,
    "smac": SmacPeer,
    "ray: asha": RayPeer,
    "ray: bohb": RayBohbPeer,
}
"""Name → makes the peer for a space, the epochs of a trial, and a seed. Raises ImportError where
its package is not installed.
"""
