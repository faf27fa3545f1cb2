"""Random studies whose truth is known, run by the shipped driver with the sampler and the pruner of
a study file that names neither.

Training is replaced by a formula: a trial falls from `HEIGHT` nats above the level of its
configuration towards it, with the noise of its seed. All else is real: the study file and its
checks, the search with its pauses and promotions, confirmation, comparison and baselines.
`default_study` gives the tables, `truth_of` what was planted. A new kind is a row of `KINDS`.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna.storages import InMemoryStorage
from synthetic_study import study_attributes
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import run_repeats, search

from sweeps.engine.races import plan_of
from sweeps.lanes import Failure, Outcome, Progress, TrialResult, TrialSpec
from sweeps.results import Results
from sweeps.seeds import seed_of
from sweeps.storage import open_study, repeat_study
from sweeps.storage.study_record import read_state, write_study
from vaeexp.results.tables import study_tables
from vaeexp.study import open_study_file

optuna.logging.set_verbosity(optuna.logging.WARNING)

Params = Mapping[str, Any]
HEIGHT = 60.0
"""Nats by which an untrained model is above the level of its configuration."""
SPEED = 0.45
"""A trial keeps exp(−SPEED) of its distance to its level in each epoch."""
SHIFT = 4.0
"""Nats by which test is above validation."""
LEVEL = 100.0
"""−ELBO of a configuration that nothing speaks against, in nats."""
BETA = {"low": 0.01, "high": 10, "log": True}
RATE = {"low": 1.0e-4, "high": 1.0e-2, "log": True}
LATENT = {"low": 2, "high": 64, "log": True}
OPTIMIZER = {"values": ["adam", "adamax"]}
PRIOR = {"values": ["normal", "vampprior"]}
USUAL = {
    "beta": BETA,
    "learning_rate": RATE,
    "latent_size": LATENT,
    "optimizer": OPTIMIZER,
    "prior": PRIOR,
}


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is planted in a study."""

    search: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: USUAL)
    """Section of the study file."""
    level: Callable[[Params], float] = lambda params: LEVEL
    """Configuration → nats to which it falls."""
    speed: Callable[[Params], float] = lambda params: SPEED
    course: Callable[[Params, int], float] = lambda params, epoch: 0.0
    """Configuration, epoch → nats that are added to the curve."""
    noise: Callable[[np.random.Generator], float] = lambda random: float(random.normal())
    """What a seed adds to the level, standard deviation 1; `default_study(spread=…)` scales it."""
    diverges: Callable[[Params, np.random.Generator, bool], int | None] = (
        lambda params, random, repeat: None
    )
    """Configuration, randomness of the seed, whether it is a repeat → the epoch in which it
    diverges.
    """
    scale: Callable[[Params], float] = lambda params: 1.0
    """Configuration → what the noise of its seeds is multiplied by."""
    breaks: Callable[[Params, np.random.Generator], float] = lambda params, random: 0.0
    """Configuration, randomness of the seed → nats that are added to the level of this run."""
    rate: float = 20.0
    """Of every run, nats."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Further sections of the study file: `baselines`, `compare`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was drawn, by name, for the tests of the kind."""


def bowl(value: float, optimum: float, nats: float, decades: float) -> float:
    """Nats that a number costs that lies off its optimum: `nats` at a distance of `decades`, with
    the square of the distance.
    """
    return nats * (math.log10(value / optimum) / decades) ** 2


# ---- the kinds ----


def null(random: np.random.Generator) -> Truth:
    """Nothing matters."""
    return Truth(facts={"without": list(USUAL)})


def strong(random: np.random.Generator) -> Truth:
    """β and the learning rate cost 5 to 60 nats at the far end of their ranges; all else does
    nothing.
    """
    beta, rate = 10 ** random.uniform(-0.5, 0.3), 10 ** random.uniform(-3.3, -2.7)
    nats = {name: float(random.uniform(5, 60)) for name in ("beta", "learning_rate")}

    def level(params: Params) -> float:
        beta_cost = bowl(params["beta"], beta, nats["beta"], 1.5)
        return LEVEL + beta_cost + bowl(params["learning_rate"], rate, nats["learning_rate"], 1)

    facts = {"optimum": {"beta": beta, "learning_rate": rate}, "nats": nats}
    return Truth(level=level, facts=facts | {"without": ["latent_size", "optimizer", "prior"]})


def interaction(random: np.random.Generator) -> Truth:
    """Each optimizer has its own best learning rate, a decade apart, and where each has its own
    they are equally good.
    """
    rates = {"adam": 10 ** random.uniform(-3.6, -3.2)}
    rates["adamax"] = rates["adam"] * 10
    nats = float(random.uniform(10, 40))

    def level(params: Params) -> float:
        return LEVEL + bowl(params["learning_rate"], rates[params["optimizer"]], nats, 1)

    facts = {"optimum": rates, "nats": nats, "without": ["beta", "latent_size", "prior"]}
    return Truth(
        level=level,
        sections={"compare": {"parameters": ["optimizer"], "top": 3, "seeds": 3}},
        facts=facts,
    )


def bound(random: np.random.Generator) -> Truth:
    """The best learning rate lies at the upper end of its range or up to a decade beyond; β matters
    and is best inside.
    """
    rate = RATE["high"] * 10 ** random.uniform(0, 1)
    beta = 10 ** random.uniform(-0.5, 0.3)
    nats = {"learning_rate": float(random.uniform(10, 40)), "beta": 10.0}

    def level(params: Params) -> float:
        rate_cost = bowl(params["learning_rate"], rate, nats["learning_rate"], 1)
        return LEVEL + rate_cost + bowl(params["beta"], beta, nats["beta"], 1.5)

    facts = {
        "bound": ("learning_rate", "upper"),
        "optimum": {"learning_rate": rate, "beta": beta},
        "nats": nats,
    }
    return Truth(level=level, facts=facts | {"without": ["latent_size", "optimizer", "prior"]})


def bound_in_list(random: np.random.Generator) -> Truth:
    """Each doubling of the components of a mixture gains 4 to 12 nats, up to the last value of the
    list; the batch size does nothing.
    """
    gain = float(random.uniform(4, 12))
    searched = {"learning_rate": RATE, "optimizer": OPTIMIZER}
    searched |= {
        "components": {"values": [1, 2, 4, 8, 16]},
        "batch_size": {"values": [32, 64, 128, 256]},
    }
    facts = {"bound": ("components", "upper"), "gain": gain}
    facts |= {"without": ["learning_rate", "optimizer", "batch_size"]}
    return Truth(
        search=searched,
        level=lambda params: LEVEL - gain * math.log2(params["components"]),
        sections={"model": {"prior": "vampprior"}},
        facts=facts,
    )


def slow(random: np.random.Generator) -> Truth:
    """The best learning rate is 3e-4; higher ones fall faster at first and end higher."""
    nats = float(random.uniform(15, 40))

    def speed(params: Params) -> float:
        return SPEED * (params["learning_rate"] / 1e-3) ** 0.4

    def level(params: Params) -> float:
        return LEVEL + bowl(params["learning_rate"], 3e-4, nats, 1.5)

    facts = {
        "optimum": {"learning_rate": 3e-4},
        "nats": nats,
        "without": ["beta", "latent_size", "optimizer", "prior"],
    }
    return Truth(level=level, speed=speed, facts=facts)


def heavy(random: np.random.Generator) -> Truth:
    """Nothing matters, and the noise of seeds is Student's t with 3 degrees of freedom."""
    return Truth(
        noise=lambda own: float(own.standard_t(3) / math.sqrt(3)), facts={"without": list(USUAL)}
    )


def divergence(random: np.random.Generator) -> Truth:
    """Trials with a learning rate above 0.01 diverge, and the best one lies just below."""
    searched = USUAL | {"learning_rate": RATE | {"high": 0.1}}
    nats = float(random.uniform(10, 40))

    def level(params: Params) -> float:
        return LEVEL + bowl(params["learning_rate"], 8e-3, nats, 1)

    def diverges(params: Params, own: np.random.Generator, repeat: bool) -> int | None:
        return int(own.integers(1, 4)) if params["learning_rate"] > 0.01 else None

    facts = {
        "above": {"learning_rate": 0.01},
        "nats": nats,
        "without": ["beta", "latent_size", "optimizer", "prior"],
    }
    return Truth(search=searched, level=level, diverges=diverges, facts=facts)


def diverging_repeats(random: np.random.Generator) -> Truth:
    """As `strong`, and each run of confirmation and baselines diverges at epoch 5 with a chance
    that is drawn.
    """
    chance = float(random.choice([0.25, 0.5, 0.75, 1.0]))
    truth = strong(random)

    def diverges(params: Params, own: np.random.Generator, repeat: bool) -> int | None:
        return 5 if repeat and own.random() < chance else None

    return Truth(
        level=truth.level, diverges=diverges, facts=truth.facts | {"chance": chance, "epoch": 5}
    )


def tie(random: np.random.Generator) -> Truth:
    """A wide floor: β within a decade around its optimum and any learning rate are equally good."""
    beta, nats = 10 ** random.uniform(-0.5, 0.3), float(random.uniform(10, 40))

    def level(params: Params) -> float:
        return LEVEL + nats * max(0.0, abs(math.log10(params["beta"] / beta)) - 0.5)

    facts = {"floor": {"beta": (beta / 10**0.5, beta * 10**0.5)}, "nats": nats}
    return Truth(
        level=level,
        facts=facts | {"without": ["learning_rate", "latent_size", "optimizer", "prior"]},
    )


def hole(random: np.random.Generator) -> Truth:
    """β below 0.1 and above 1 is tried with adamax alone, which costs 15 to 40 nats, in the 40
    trials that the file gives; β does nothing.
    """
    nats = float(random.uniform(15, 40))
    start: list[dict[str, Any]] = []
    for place in range(40):
        outside = place % 4 == 0
        beta = (
            random.choice([random.uniform(-2, -1), random.uniform(0, 1)])
            if outside
            else random.uniform(-1, 0)
        )
        optimizer = "adamax" if outside else str(random.choice(OPTIMIZER["values"]))
        own = {
            "beta": float(10**beta),
            "learning_rate": float(10 ** random.uniform(-4, -2)),
            "optimizer": optimizer,
        }
        start.append(
            own
            | {
                "latent_size": int(random.integers(2, 65)),
                "prior": str(random.choice(PRIOR["values"])),
            }
        )
    facts = {
        "hole": {"beta": (0.1, 1.0)},
        "nats": nats,
        "without": ["beta", "learning_rate", "latent_size", "prior"],
    }
    return Truth(
        level=lambda params: LEVEL + nats * (params["optimizer"] == "adamax"),
        sections={"start": start},
        facts=facts,
    )


def baseline(random: np.random.Generator) -> Truth:
    """As `strong`; a baseline changes the prior of the best configuration, which does nothing, and
    one stands on the fixed settings.
    """
    truth = strong(random)
    rows = {
        "normal_prior": {
            "title": "the best configuration with a normal prior",
            "at": "best",
            "seeds": 3,
        },
        "usual": {"title": "the usual settings", "at": "fixed", "seeds": 3},
    }
    rows["normal_prior"]["settings"] = {"prior": "normal"}
    rows["usual"]["settings"] = {"beta": 1.0, "learning_rate": 1e-3, "latent_size": 16}
    compare = {"parameters": ["prior"], "top": 3, "seeds": 3}
    return Truth(
        level=truth.level, sections={"baselines": rows, "compare": compare}, facts=truth.facts
    )


# ---- comparisons, late effects and what to do next ----


def turning(random: np.random.Generator) -> Truth:
    """Adam is 10 to 20 nats better below a latent size, and Adamax above."""
    size, nats = float(random.uniform(8, 16)), float(random.uniform(10, 20))

    def level(params: Params) -> float:
        suits = (params["latent_size"] < size) == (params["optimizer"] == "adam")
        return LEVEL + nats * (not suits)

    return Truth(
        level=level,
        sections={"compare": {"parameters": ["optimizer"], "top": 4, "seeds": 3}},
        facts={"turns": "latent_size", "without": ["beta", "learning_rate", "prior"]},
    )


def late(random: np.random.Generator) -> Truth:
    """β far above 0.03 costs up to 13 nats at the end, and nothing in the first five epochs."""

    def course(params: Params, epoch: int) -> float:
        share = math.log10(max(1.0, params["beta"] / 0.03)) / math.log10(10 / 0.03)
        return 13 * share * max(0.0, epoch - 5) / 7

    return Truth(course=course, facts={"late": "beta", "without": list(USUAL)})


def over_fitting(random: np.random.Generator) -> Truth:
    """Validation rises after epoch 6, by 0.3 nats an epoch and more for large codes."""

    def course(params: Params, epoch: int) -> float:
        return (0.3 + params["latent_size"] / 30) * max(0, epoch - 6)

    truth = strong(random)
    return Truth(
        level=truth.level,
        speed=lambda params: 2 * SPEED,
        course=course,
        facts=truth.facts | {"rises": 6, "without": ["optimizer", "prior"]},
    )


def conditional_prior(random: np.random.Generator) -> Truth:
    """Components are searched under a mixture alone, which is 1.5 to 2.5 nats better; a baseline
    asks the same as the comparison.
    """
    nats = float(random.uniform(1.5, 2.5))
    prior = {"values": ["normal", "mixture"]}
    components = {"values": [4, 16, 64], "when": {"prior": ["mixture"]}}
    row = {"title": "a normal prior", "at": "best", "seeds": 3, "settings": {"prior": "normal"}}
    return Truth(
        search={"learning_rate": RATE, "prior": prior, "components": components},
        level=lambda params: LEVEL + nats * (params["prior"] == "normal"),
        sections={
            "compare": {"parameters": ["prior"], "top": 5, "seeds": 3},
            "baselines": {"normal": row},
        },
        facts={"better": ("prior", "mixture"), "without": ["learning_rate", "components"]},
    )


def fragile(random: np.random.Generator) -> Truth:
    """Half of the runs with a learning rate above 0.003 diverge, and the best one lies at 0.01."""
    nats = float(random.uniform(10, 40))

    def level(params: Params) -> float:
        return LEVEL + bowl(params["learning_rate"], 1e-2, nats, 1)

    def diverges(params: Params, own: np.random.Generator, repeat: bool) -> int | None:
        return 2 if params["learning_rate"] > 3e-3 and own.random() < 0.5 else None

    facts = {"above": {"learning_rate": 3e-3}, "bound": ("learning_rate", "upper")}
    facts |= {"without": ["beta", "latent_size", "optimizer", "prior"]}
    return Truth(level=level, diverges=diverges, facts=facts)


def unfinished(random: np.random.Generator) -> Truth:
    """As `strong`, and every run is far from its level at its last epoch."""
    truth = strong(random)
    return Truth(level=truth.level, speed=lambda params: 0.12, facts=truth.facts)


def two_optima(random: np.random.Generator) -> Truth:
    """adam at a learning rate of 0.001 and adamax at 0.005 are equally good."""
    nats = float(random.uniform(15, 40))
    rates = {"adam": 1e-3, "adamax": 5e-3}

    def level(params: Params) -> float:
        return LEVEL + bowl(params["learning_rate"], rates[params["optimizer"]], nats, 1)

    facts = {"optimum": rates, "nats": nats, "without": ["beta", "latent_size", "prior"]}
    return Truth(level=level, facts=facts)


def broken_seeds(random: np.random.Generator) -> Truth:
    """As `strong`, and one run in eight ends 25 to 60 nats above its level."""
    truth = strong(random)

    def breaks(params: Params, own: np.random.Generator) -> float:
        return float(own.uniform(25, 60)) if own.random() < 1 / 8 else 0.0

    return Truth(level=truth.level, breaks=breaks, facts=truth.facts)


def unequal_spread(random: np.random.Generator) -> Truth:
    """As `strong`, and seeds vary by 5 nats under adamax and by 0.3 under adam; the optimizers are
    compared.
    """
    truth = strong(random)
    return Truth(
        level=truth.level,
        scale=lambda params: 5.0 if params.get("optimizer") == "adamax" else 0.3,
        sections={"compare": {"parameters": ["optimizer"], "top": 3, "seeds": 3}},
        facts=truth.facts,
    )


def low_rate(random: np.random.Generator) -> Truth:
    """As `strong`, and the code of every model has 0.5 nats."""
    truth = strong(random)
    return Truth(level=truth.level, rate=0.5, facts=truth.facts)


KINDS: dict[str, Callable[[np.random.Generator], Truth]] = {
    "null": null,
    "strong": strong,
    "interaction": interaction,
    "bound": bound,
    "bound_in_list": bound_in_list,
    "slow": slow,
    "heavy": heavy,
    "divergence": divergence,
    "diverging_repeats": diverging_repeats,
    "tie": tie,
    "hole": hole,
    "baseline": baseline,
    "turning": turning,
    "late": late,
    "over_fitting": over_fitting,
    "conditional_prior": conditional_prior,
    "fragile": fragile,
    "unfinished": unfinished,
    "two_optima": two_optima,
    "broken_seeds": broken_seeds,
    "unequal_spread": unequal_spread,
    "low_rate": low_rate,
}
"""Name of a kind → draws what is planted in a study of this kind."""


def truth_of(kind: str, seed: int) -> Truth:
    """Return what is planted in the study of this kind and seed."""
    return KINDS[kind](np.random.default_rng(seed_of(f"{kind}:{seed}")))


# ---- the study ----


def study_file(
    kind: str, seed: int, truth: Truth, *, trials: int, epochs: int, confirm: int
) -> str:
    """Return the text of the study file: it names no sampler and no pruner."""
    content: dict[str, Any] = {
        "question": f"What is planted in {kind}?",
        "data": {"dataset": "mnist", "binarisation": "static"},
        "model": {"network": "mlp", "hidden": [64]},
        "train": {"epochs": epochs},
        "search": {name: dict(given) for name, given in truth.search.items()},
        "seed": seed,
        "budget": {"trials": trials},
        **({"confirm": {"top": confirm, "seeds": 3}} if confirm else {}),
    }
    for name, given in truth.sections.items():
        content[name] = content[name] | given if name in content else given
    return yaml.safe_dump(content, sort_keys=False)


@functools.lru_cache(maxsize=1_000)
def default_study(
    kind: str,
    seed: int,
    *,
    trials: int = 48,
    epochs: int = 12,
    spread: float = 1.0,
    lanes: int = 4,
    confirm: int = 3,
    overrides: tuple[str, ...] = (),
) -> Results:
    """Return the tables of a finished study of a kind, as `read_results` gives them. They are
    shared: change none.

    Args:
        kind: of `KINDS`.
        seed: of the study and of what is planted.
        spread: standard deviation of the noise of seeds, nats.
        lanes: trials side by side.
        confirm: best configurations that are confirmed, with 3 seeds each; 0 for none.
        overrides: changes of the study file, as of `--set`.
    """
    truth = truth_of(kind, seed)
    text = study_file(kind, seed, truth, trials=trials, epochs=epochs, confirm=confirm)
    study = open_study_file(f"{kind}_{seed}", text=text, overrides=overrides)
    storage = InMemoryStorage()
    opened = open_study(storage, study)
    clock = SimulatedClock(now=1.79e9)
    trained = FormulaLanes(width=lanes, epochs=epochs, truth=truth, spread=spread, clock=clock)
    described = study_attributes()
    record = {**described.provenance, "command": f"vaeexp sweep {study.name}", "study_file": text}
    about = {
        "budget": study.budget.model_dump(),
        "execution": described.execution,
        "provenance": record,
    }
    write_study(opened, **about, finished=False)
    search(opened, study, trained, [], clock=clock, timer=clock)
    plan = plan_of(read_state(storage, study.name), study)
    repeats = repeat_study(storage, study.name)
    run_repeats(repeats, plan, trained, [], clock=clock, timer=clock, warmup=study.warmup_of)
    write_study(opened, finished=True)
    return study_tables(read_state(storage, study.name), Path("mlruns"))


@dataclass
class FormulaLanes(ToyLanes):
    """Lanes in which a trial follows the curve of a planted truth; with the metrics of a VAE, and
    test figures where they are asked for.
    """

    truth: Truth = field(default_factory=Truth)
    spread: float = 1.0

    def _advance(self, lane: Any) -> Progress:
        trial, epoch = lane.trial, lane.epoch + 1
        if self.truth.diverges(trial.params, _random(trial, "divergence"), trial.repeat) == epoch:
            failure = Failure(kind="diverged", message=f"loss is not finite in epoch {epoch}")
            return Progress(
                number=trial.number, epoch=epoch, objective=math.nan, finished=True, failure=failure
            )
        lane.epoch, lane.state = epoch, self._value(trial, epoch)
        metrics = _metrics(trial.params, lane.state, self.truth.rate)
        last = epoch == self.epochs
        return Progress(
            number=trial.number, epoch=epoch, objective=lane.state, metrics=metrics, finished=last
        )

    def _train(self, lane: Any) -> None:
        lane.epoch += 1
        lane.state = self._value(lane.trial, lane.epoch)

    def _value(self, trial: TrialSpec, epoch: int) -> float:
        spread = self.spread * self.truth.scale(trial.params)
        level = self.truth.level(trial.params) + spread * self.truth.noise(_random(trial, "level"))
        level += self.truth.breaks(trial.params, _random(trial, "breaks"))
        jitter = 0.1 * self.spread * float(_random(trial, f"epoch {epoch}").normal())
        curve = HEIGHT * math.exp(-self.truth.speed(trial.params) * epoch)
        return level + curve + self.truth.course(trial.params, epoch) + jitter

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        results = []
        for number, outcome in ending.items():
            lane = self._lanes.pop(number)
            if outcome.state == "paused":
                self.checkpoints[lane.trial.checkpoint_name] = (lane.epoch, lane.state)
            metrics = {"parameters": 1e5, "best_epoch": float(lane.epoch)}
            if lane.trial.test and outcome.state == "complete":
                metrics |= _tested(lane.trial, lane.state, self.truth.rate)
            results.append(TrialResult(number=number, metrics=metrics))
        return results


def _random(trial: TrialSpec, purpose: str) -> np.random.Generator:
    """Return the randomness of a trial: of its configuration and its seed, so that a replayed epoch
    is the same.
    """
    text = ",".join(f"{name}={value}" for name, value in sorted(trial.params.items()))
    return np.random.default_rng(seed_of(f"{text}:{trial.seed}:{purpose}"))


def _metrics(params: Params, value: float, rate: float) -> dict[str, float]:
    split = {"neg_elbo": value, "distortion": value - rate, "rate": rate, "active_units": 16.0}
    split["loss"] = split["distortion"] + float(params.get("beta", 1.0)) * rate
    return {
        f"{place}/{name}": number for place in ("train", "val") for name, number in split.items()
    } | {"seconds": 1.0}


def _tested(trial: TrialSpec, value: float, rate: float) -> dict[str, float]:
    """Return the figures of a tested run: those of validation, and the noise of other images."""
    test = value + SHIFT + 0.2 * float(_random(trial, "test").normal())
    figures = {
        "neg_elbo": test,
        "distortion": test - rate,
        "rate": rate,
        "active_units": 16.0,
        "used_dimensions": 16.0,
    }
    made = {
        f"{place}/{name}": number
        for place in ("test", "test_last")
        for name, number in figures.items()
    }
    return made | {
        "test/neg_elbo_se": 0.5,
        "test/iw_nll": test - 5.0,
        "test/iw_nll_se": 0.4,
        "test/images": 500.0,
        "test/importance_samples": 500.0,
    }
