"""How far the partial dependence of a search by promotion is from the true one, and how far the
importance is.

    PYTHONPATH=. python benchmarks/search/promoted_dependence.py [--spaces A B] [--trials 80]
    [--draws 20]

Random configurations of a table of real curves are paused at the default rungs, and the best third
goes on. A forest learns from what they had reached, or from the ends that `curve_process` expects;
the truth is a forest of all curves of the table to their ends. The importance (PED-ANOVA) learns
from the order of `learned_trials`; the truth is that of all whole curves. The same for the drawn
trials, trained to the end, says how much is due to there being few of them. Prints two tables for
benchmarks/search/search-notes.md.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from curve_table import Table, load_table
from vaeexp.results.forest import dependence, grow_forest

from sweeps.search.curves.learning_curves import LearningCurve, Scale, seen_epochs, to_point
from sweeps.search.curves.process import CurveProcess, most_probable
from sweeps.search.pruners import PromotionSettings
from vaeexp.results.parameters import SearchedParameter, importance_table, searched_parameter
from vaeexp.results.tables import learned_trials
from vaeexp.words import parameter_label

sys.path.append(str(Path(__file__).resolve().parents[1]))

from table import markdown

EPOCHS_SEEN = 1500
WIDER = 8.0
"""The scale of `Scale.of` resolves the best trials. Bad ones end less far below the truth where it
is so many times as wide.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spaces", nargs="*", default=["A", "B"])
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    spans, shares = [], []
    for space in options.spaces:
        more = compared(load_table(space), options.trials, options.draws)
        spans, shares = spans + more[0], shares + more[1]
    ways = ["all curves", "whole", "reached", "predicted ends"]
    print(markdown(["space", "parameter", *ways], spans, texts=2))
    print()
    print(markdown(["space", "parameter", *ways[:2], "furthest first"], shares, texts=2))


def compared(table: Table, trials: int, draws: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return a row of spans and one of shares for each parameter: of all curves, then means over
    the draws.
    """
    values, space = table.neg_elbo[:, 0], table.space
    whole = np.flatnonzero(table.trained[:, 0] & np.isfinite(values).all(axis=1))
    everything = _frame(table, whole, np.full(len(whole), table.epochs))
    parameters = {
        name: searched_parameter(name, one, everything) for name, one in space.as_dict().items()
    }
    true = _spans(parameters, _ordered(everything)), _shares(parameters, _ordered(everything))
    found: dict[str, list[Mapping[str, float]]] = {
        way: [] for way in ("whole", "reached", "predicted")
    }
    ranked: dict[str, list[Mapping[str, float]]] = {way: [] for way in ("whole", "furthest")}
    for draw in range(draws):
        rows = np.sort(np.random.default_rng(draw).choice(whole, trials, replace=False))
        lengths = _paused(values[rows], table.epochs)
        ends = _frame(table, rows, np.full(len(rows), table.epochs))
        reached = _frame(table, rows, lengths)
        predicted = reached.assign(objective=_predicted(table, rows, lengths))
        for way, frame in (("whole", ends), ("reached", reached), ("predicted", predicted)):
            found[way].append(_spans(parameters, _ordered(frame)))
        furthest = reached.sort_values(
            ["epochs", "objective"], ascending=[False, True], ignore_index=True
        )
        ranked["whole"].append(_shares(parameters, _ordered(ends)))
        ranked["furthest"].append(
            _shares(parameters, learned_trials(reached, furthest, promotes=True))
        )
    names = list(parameters)
    return (
        [_row(table, name, true[0], found, lambda nats: f"{nats:.1f}") for name in names],
        [
            _row(table, name, true[1], ranked, lambda share: f"{100 * share:.0f} %")
            for name in names
        ],
    )


def _row(table: Table, name: str, true: Mapping[str, float], ways, words) -> list[str]:
    means = [float(np.mean([one.get(name, 0.0) for one in drawn])) for drawn in ways.values()]
    return [table.name, parameter_label(name), *map(words, [true.get(name, 0.0), *means])]


def _frame(table: Table, rows: np.ndarray, lengths: np.ndarray) -> pd.DataFrame:
    """Return trials that have trained so many epochs, by row of the table."""
    params = [
        {f"params.{name}": value for name, value in table.configurations[row].items()}
        for row in rows
    ]
    fixed = {
        "number": range(len(rows)),
        "epochs": lengths,
        "repeat": False,
        "duplicate_of": None,
        "purposes": [()] * len(rows),
    }
    objective = [
        table.neg_elbo[row, 0, :length].min() for row, length in zip(rows, lengths, strict=True)
    ]
    return pd.DataFrame(params).assign(
        **fixed, objective=objective, baseline=None, state="complete"
    )


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return learned_trials(frame, frame, promotes=False)


def _spans(parameters: Mapping[str, SearchedParameter], learned: pd.DataFrame) -> dict[str, float]:
    forest = grow_forest(parameters, list(parameters), learned, 0)
    assert forest is not None
    return {name: dependence(forest, name).span for name in forest.parameters}


def _shares(parameters: Mapping[str, SearchedParameter], learned: pd.DataFrame) -> dict[str, float]:
    return importance_table(parameters, learned, 0)["share"].to_dict()


def _paused(values: np.ndarray, last: int) -> np.ndarray:
    """Return the epochs of each trial [N] when the best third of those at a rung goes on."""
    rungs = [*(PromotionSettings(name="promotion").for_epochs(last).rungs or ()), last]
    lengths, going = np.full(len(values), rungs[0]), np.arange(len(values))
    for rung, following in itertools.pairwise(rungs):
        going = going[np.argsort(values[going, :rung].min(axis=1), kind="stable")][
            : len(going) // 3
        ]
        lengths[going] = following
    return lengths


def _predicted(table: Table, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the objective of each trial [N], of those that were paused the end that the process
    expects.
    """
    curves = [
        LearningCurve(
            number=number,
            params=table.configurations[row],
            objectives=tuple(map(float, table.neg_elbo[row, 0, :length])),
            diverged=False,
        )
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True))
    ]
    scale = _wider(curves)
    seen, _ = seen_epochs(table.space, curves, scale, table.epochs, EPOCHS_SEEN)
    process = CurveProcess(most_probable(seen), seen)
    points = np.array([to_point(table.space, curve.params) for curve in curves])
    ends, _ = process.predict(points, range(len(curves)), [1.0] * len(curves))
    nats = scale.best + scale.width * np.expm1(ends * scale.deviation + scale.mean)
    reached = np.array([curve.lowest for curve in curves])
    return np.where(lengths < table.epochs, np.minimum(nats, reached), reached)


def _wider(curves: Sequence[LearningCurve]) -> Scale:
    narrow = Scale.of(curves)
    width = WIDER * narrow.width
    logs = np.concatenate(
        [np.log1p((np.array(curve.objectives) - narrow.best) / width) for curve in curves]
    )
    return Scale(
        best=narrow.best, width=width, mean=float(logs.mean()), deviation=float(logs.std())
    )


if __name__ == "__main__":
    main()
