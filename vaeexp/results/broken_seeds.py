"""Runs with a fresh seed that ended far outside the other runs of their setting, and the spread of
the seeds without them.

A seed that breaks costs more than all that a study compares. So it is named, and counted in every
mean and test: the next seed may break, too.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from sweeps import baseline_names
from vaeexp.results.new_seeds import PURPOSES
from vaeexp.results.statements import NATS, Figure, Statement, Statements, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import text_of, values_of, with_purpose

FAR = 10.0
"""Seed deviations of the other settings, above the median of its siblings, from which a run is
broken.
"""
LOW_RATE = 1.0
"""Nats per image; a code of a lower rate says close to nothing of the input."""
_SHARE = 0.1
"""Share of the median rate of its siblings below which the code of a run has collapsed."""


@dataclass(frozen=True, kw_only=True)
class BrokenRun:
    """A complete run with a fresh seed that is far outside the others of its setting."""

    number: int
    """Of the repeat."""
    source_trial: int | None
    """The trial of the search whose configuration it has or changes."""
    purposes: frozenset[str]
    """What it was trained for: of `PURPOSES`."""
    value: float
    """Validation −ELBO, nats per image."""
    rate: float
    """Of its best epoch, nats per image; NaN where it is not known."""
    collapsed: bool
    """Whether its rate is far below those of its siblings."""
    siblings: tuple[float, ...]
    """Values of the other runs of its setting, the lowest first."""

    @property
    def behind(self) -> float:
        """By how much it is above the median of its siblings, nats."""
        return self.value - float(np.median(self.siblings))


def repeated_settings(view: StudyView) -> dict[tuple[str, ...], pd.DataFrame]:
    """Return the complete runs with fresh seeds of each configuration: confirmed, compared, and of
    baselines under the protocol of the search. By the configuration as text, followed by the names
    of baselines where it is theirs alone.
    """
    runs = with_purpose(view.trials, *PURPOSES)
    runs = runs[(runs["state"] == "complete") & np.isfinite(runs["objective"].astype(float))]
    # Another data set or measure has values of another size.
    other = {
        setting.baseline
        for setting in view.retrained.baselines
        if view.best and setting.same_protocol != view.best.same_protocol
    }
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, (_, run) in enumerate(runs.iterrows()):
        names = [] if set(run["purposes"]) - {"baseline"} else baseline_names(run["baseline"])
        if other.isdisjoint(names):
            groups.setdefault((text_of(values_of(run)), *names), []).append(place)
    return {key: runs.iloc[places] for key, places in groups.items()}


@lru_cache(maxsize=1)
def broken_runs(view: StudyView) -> tuple[BrokenRun, ...]:
    """Return the runs with a fresh seed that are far outside, the worst first.

    Far outside is a run that is above the median of its siblings by more than `FAR` deviations
    over the seeds of the other settings, and of all settings with its siblings, without the runs
    that are themselves far outside; or whose rate is below a tenth of their median, where that is
    `LOW_RATE` or more.
    """
    settings = [own for own in repeated_settings(view).values() if len(own) > 1]
    if not settings:
        return ()
    rates = _rates(view, repeat=True)
    groups = np.repeat(np.arange(len(settings)), [len(own) for own in settings])
    runs = pd.concat(settings).reset_index(drop=True)
    runs["rate"] = runs["number"].map(rates).astype(float)
    siblings = [runs[(groups == own) & (runs.index != place)] for place, own in enumerate(groups)]
    behind = runs["objective"] - [float(own["objective"].median()) for own in siblings]
    usual = pd.Series([own["rate"].median() for own in siblings], dtype=float)
    far = _far_outside(runs["objective"].to_numpy(float), behind.to_numpy(float), groups)
    runs["collapsed"] = (usual >= LOW_RATE) & (runs["rate"] < _SHARE * usual)
    far |= runs["collapsed"].to_numpy()
    found = [_run(runs.iloc[place], siblings[place]) for place in np.flatnonzero(far)]
    return tuple(sorted(found, key=lambda run: -run.behind))


def _run(run: pd.Series, siblings: pd.DataFrame) -> BrokenRun:
    source = run["source_trial"]
    return BrokenRun(
        number=int(run["number"]),
        source_trial=None if pd.isna(source) else int(source),
        purposes=frozenset(run["purposes"]),
        value=float(run["objective"]),
        rate=float(run["rate"]),
        collapsed=bool(run["collapsed"]),
        siblings=tuple(sorted(siblings["objective"].astype(float))),
    )


def _rates(view: StudyView, *, repeat: bool) -> pd.Series:
    """Return the rate of each trial of the search, or of each repeat, at its best epoch, by
    number.
    """
    epochs = view.epochs[view.epochs["repeat"] == repeat]
    if "val/rate" not in epochs:
        return pd.Series(dtype=float)
    best = view.trials[view.trials["repeat"] == repeat].set_index("number")["best_epoch"]
    own = epochs[epochs["epoch"] == epochs["number"].map(best)]
    return own.set_index("number")["val/rate"].astype(float)


def winner_rate(view: StudyView) -> float:
    """Return the mean validation rate of the winner's runs at their best epochs, nats per image:
    with fresh seeds, else that of the search; NaN where it is not known, or the code deterministic.
    """
    if view.best is None or view.best.deterministic:
        return math.nan
    runs = view.best.runs
    return float(_rates(view, repeat=bool(runs["repeat"].any())).reindex(runs["number"]).mean())


def _far_outside(values: np.ndarray, behind: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Tell of each run whether it is far outside; `behind`: how far it is above the median of its
    siblings, `groups`: its setting.

    Two broken runs in two settings hide each other, because each widens the deviation that the
    other is measured by. So the largest number of runs is taken, those furthest behind first, that
    are all far outside where none of them counts.
    """
    ranks = np.argsort(np.argsort(-behind))
    for count in range(len(values) // 2, 0, -1):
        chosen = ranks < count
        left = [values[(groups == own) & ~chosen] for own in range(groups.max() + 1)]
        squares = np.array([((own - own.mean()) ** 2).sum() if len(own) else 0.0 for own in left])
        freedom = np.array([max(len(own) - 1, 0) for own in left])
        own = groups[chosen]
        rest = freedom.sum() - freedom[own]
        others = (squares.sum() - squares[own]) / np.maximum(rest, 1)
        # Of three heavy-tailed runs one is soon far outside where the other settings vary little.
        variance = np.maximum(others, squares.sum() / max(freedom.sum(), 1))
        if rest.all() and (behind[chosen] > FAR * np.sqrt(variance)).all():
            return chosen
    return np.zeros(len(values), dtype=bool)


def seed_groups(view: StudyView) -> list[pd.Series]:
    """Return the validation −ELBO of the runs of each repeated setting by number, nats per image,
    without broken ones: what the spread over seeds is made of.
    """
    broken = {run.number for run in broken_runs(view)}
    values = [own.set_index("number")["objective"] for own in repeated_settings(view).values()]
    return [own[~own.index.isin(broken)].astype(float) for own in values]


def broken_statements(view: StudyView) -> Statements:
    """Return how many runs are far outside with the worst of them, then the others; empty where
    none is.
    """
    named = [_named(run) for run in broken_runs(view)]
    if not named:
        return ()
    runs = sum(map(len, repeated_settings(view).values()))
    return say("seeds.broken", broken=len(named), runs=runs, worst=named[0]), *named[1:]


def _named(run: BrokenRun) -> Statement:
    return say(
        "seeds.far",
        [f"r{run.number}"],
        run=f"r{run.number}",
        **{"trial" if "confirm" in run.purposes else "beside": run.source_trial},
        value=Figure(run.value, NATS),
        rate=Figure(run.rate, NATS) if run.collapsed else None,
        siblings=tuple(Figure(value, NATS) for value in run.siblings),
    )
