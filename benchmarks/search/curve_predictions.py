"""How well a process of learning curves says where they end, beside BoTorch's LatentKroneckerGP and
the last value, and how long it takes.

    PYTHONPATH=. python benchmarks/search/curve_predictions.py [--space A] [--draws 20]
        predictions
    PYTHONPATH=. python benchmarks/search/curve_predictions.py --timing
        seconds of a decision

Each draw takes `--curves` curves of a table (one seed), of which a quarter is seen to the end and
the others up to epoch 3, 5, 8 or 10. What is predicted is the last epoch of these others:
Spearman's rank correlation with the truth, median error in nats, and the mean log density of the
truth on the even scale on which both processes work (`sweeps.search.curves.learning_curves`), noise
of an epoch included. LatentKroneckerGP (Lin et al. 2025) has the same numbers, its own defaults,
and 256 samples; it runs where BoTorch is installed, which the project does not need, and what it
says is a mean over the draws in which its fit succeeds:

    uv pip install --python ../botorch/bin/python botorch

A decision of `--timing` is what a round with 64 lanes costs the driver: the process from all epochs
seen, predictions for 320 new configurations, and 64 choices. A fit of the parameters is rarer, and
from 200 epochs at the most.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from curve_table import TABLES, Table, load_table
from scipy.stats import norm, spearmanr

from sweeps.search.curves.acquisition import EPOCHS_SEEN, Acquisition, curves_of, key_of
from sweeps.search.curves.learning_curves import (
    LearningCurve,
    Scale,
    log_time,
    seen_epochs,
    to_point,
)
from sweeps.search.curves.process import CurveProcess, most_probable
from sweeps.search.curves.sampler import EPOCHS_FITTED
from sweeps.state.trial import Assignment, Trial
from sweeps.study.space import Space

sys.path.append(str(Path(__file__).resolve().parents[1]))

from table import markdown

__all__ = ["FitFailed", "Seen", "drawn", "errors", "last_value", "ours"]

SEEN_AT = (3, 5, 8, 10)
_SAMPLES = 256
_LANES = 64


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Curves of which some are cut off."""

    space: Space
    curves: Sequence[LearningCurve]
    cut: np.ndarray
    """bool [N]: whose end is to be predicted."""
    ends: np.ndarray
    """float64 [N]: nats after the last epoch."""
    last: int

    @property
    def scale(self) -> Scale:
        return Scale.of(self.curves)


class FitFailed(Exception):
    """A process whose parameters cannot be found predicts nothing."""


Prediction = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of the last epoch of the cut curves, on the even scale, float64 [n]
each.
"""


def drawn(table: Table, random: np.random.Generator, count: int, epochs: int) -> Seen:
    """Draw curves of seed 0, of which three quarters are cut off after so many epochs."""
    whole = np.flatnonzero(table.trained[:, 0] & ~table.diverged[:, 0])
    rows = random.choice(whole, size=min(count, len(whole)), replace=False)
    cut = np.arange(len(rows)) >= len(rows) // 4
    curves = [
        LearningCurve(
            number=number,
            params=table.configurations[row],
            objectives=tuple(table.neg_elbo[row, 0, : epochs if cut[number] else None]),
            diverged=False,
        )
        for number, row in enumerate(rows)
    ]
    ends = table.neg_elbo[rows, 0, -1]
    return Seen(space=table.space, curves=curves, cut=cut, ends=ends, last=table.epochs)


def ours(seen: Seen) -> Prediction:
    """Predict by the process of the sampler `curves`."""
    few, _ = seen_epochs(seen.space, seen.curves, seen.scale, seen.last, EPOCHS_FITTED)
    known, _ = seen_epochs(seen.space, seen.curves, seen.scale, seen.last, EPOCHS_SEEN)
    process = CurveProcess(most_probable(few), known)
    numbers = np.flatnonzero(seen.cut)
    mean, covariance = process.predict(
        known.points[numbers], numbers.tolist(), [1.0] * len(numbers)
    )
    return mean, np.sqrt(np.diag(covariance) + process.noise)


def latent_kronecker(seen: Seen) -> Prediction:
    """Predict by BoTorch's process.

    Raises:
        ImportError: BoTorch is not installed.
        FitFailed: none of BoTorch's attempts to find the parameters succeeds.
    """
    import torch
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.latent_kronecker_gp import LatentKroneckerGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(0)
    points = torch.tensor(
        [to_point(seen.space, curve.params) for curve in seen.curves], dtype=torch.float64
    )
    times = torch.tensor(
        [[log_time(epoch, seen.last)] for epoch in range(1, seen.last + 1)], dtype=torch.float64
    )
    values = torch.full((len(seen.curves), seen.last), math.nan, dtype=torch.float64)
    for row, curve in enumerate(seen.curves):
        values[row, : len(curve.objectives)] = torch.tensor(seen.scale(curve.objectives))
    model = LatentKroneckerGP(points, times, values)
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    with model.use_iterative_methods():
        try:
            fit_gpytorch_mll(likelihood)
        except ModelFittingError as error:
            raise FitFailed from error
        posterior = model.posterior(points[seen.cut], times[-1:])
        samples = (
            posterior.rsample(torch.Size([_SAMPLES]))
            .squeeze(-1)
            .detach()
            .numpy()
            .reshape(_SAMPLES, -1)
        )
    # The noise of an epoch, in the units of the values.
    noise = (model.likelihood.noise.detach() * model.outcome_transform.stdvs.detach() ** 2).item()
    return samples.mean(axis=0), np.sqrt(samples.var(axis=0, ddof=1) + noise)


def last_value(seen: Seen) -> Prediction:
    """Predict that nothing changes; the deviation is that of the whole curves after as many
    epochs.
    """
    values = np.array([seen.scale(curve.objectives[-1]) for curve in seen.curves])
    epochs = min(len(curve.objectives) for curve in seen.curves)
    whole = [curve.objectives for curve in seen.curves if len(curve.objectives) > epochs]
    gained = [
        seen.scale(objectives[-1]) - seen.scale(objectives[epochs - 1]) for objectives in whole
    ]
    return values[seen.cut] + np.mean(gained), np.full(seen.cut.sum(), np.std(gained, ddof=1))


def errors(seen: Seen, prediction: Prediction) -> tuple[float, float, float]:
    """Return rank correlation, median error in nats, and mean log density of the truth on the even
    scale.
    """
    mean, deviation = prediction
    scale, truth = seen.scale, seen.ends[seen.cut]
    nats = scale.best + scale.width * np.expm1(np.maximum(mean * scale.deviation + scale.mean, 0.0))
    density = norm.logpdf(scale(truth), mean, deviation).mean()
    return (
        float(spearmanr(mean, truth).statistic),
        float(np.median(np.abs(nats - truth))),
        float(density),
    )


PREDICTORS: dict[str, Callable[[Seen], Prediction]] = {
    "last value, and the mean gain of whole curves": last_value,
    "ours": ours,
    "BoTorch: LatentKroneckerGP": latent_kronecker,
}


def predictions(table: Table, count: int, draws: int) -> str:
    """Return the means over draws as Markdown, a row for each predictor and number of epochs
    seen.
    """
    rows = []
    for epochs in SEEN_AT:
        for name, predict in PREDICTORS.items():
            random, found, begun = np.random.default_rng(epochs), [], time.process_time()
            try:
                for _ in range(draws):
                    seen = drawn(table, random, count, epochs)
                    with suppress(FitFailed):
                        found.append(errors(seen, predict(seen)))
            except ImportError as error:
                rows.append([f"{epochs}", f"{name} (not installed: {error.name})", *["–"] * 5])
                continue
            seconds = (time.process_time() - begun) / draws
            means = [f"{mean:.2f}" for mean in np.mean(found, axis=0)] if found else ["–"] * 3
            rows.append(
                [f"{epochs}", name, *means, f"{seconds:.2f}", f"{draws - len(found)} of {draws}"]
            )
    head = [
        "epochs seen",
        "by",
        "rank correlation",
        "error, nats",
        "log density",
        "s",
        "failed fits",
    ]
    return markdown(head, rows, texts=2)


def timing(table: Table, random: np.random.Generator) -> str:
    """Return the seconds of a fit and of a decision by the number of trials, of which 64 train, as
    Markdown.
    """
    whole = np.flatnonzero(table.trained[:, 0] & ~table.diverged[:, 0])
    rows = []
    for count in (64, 128, 400):
        lengths = random.integers(1, table.epochs + 1, size=count)
        trials = [
            _trial(table, number, row, length, running=number >= count - _LANES)
            for number, (row, length) in enumerate(
                zip(random.choice(whole, size=count), lengths, strict=True)
            )
        ]
        curves = curves_of(trials)
        few, _ = seen_epochs(table.space, curves, Scale.of(curves), table.epochs, EPOCHS_FITTED)
        begun = time.process_time()
        parameters = most_probable(few)
        fitted = time.process_time()
        acquired = Acquisition(
            table.space, trials, last=table.epochs, seed=0, log_parameters=parameters
        )
        begin: list[Mapping[str, object]] = []
        while len(begin) < _LANES and (best := acquired.best(begin, {*map(key_of, begin)})):
            begin.append(best)
        decided = time.process_time()
        cells = [f"{count}", f"{lengths.sum():,}", f"{len(few.values)}"]
        rows.append([*cells, f"{fitted - begun:.2f}", f"{decided - fitted:.2f}"])
    return markdown(
        ["trials", "epochs", "epochs fitted", "s of a fit", "s of a decision"], rows, texts=0
    )


def _trial(table: Table, number: int, row: int, length: int, *, running: bool) -> Trial:
    objectives = {epoch: float(table.neg_elbo[row, 0, epoch - 1]) for epoch in range(1, length + 1)}
    return Trial(
        number=number,
        repeat=False,
        state="running" if running else "complete",
        params=table.configurations[row],
        objectives=objectives,
        value=None if running else min(objectives.values()),
        assigned=partial(Assignment, seed=0, round=0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="A", help="name of a table")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument("--curves", type=int, default=32, help="curves of a draw")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--timing", action="store_true", help="print seconds, and predict nothing")
    options = parser.parse_args()
    try:
        table = load_table(options.space, options.tables)
    except ValueError as error:
        parser.error(str(error))
    print(
        timing(table, np.random.default_rng(0))
        if options.timing
        else predictions(table, options.curves, options.draws)
    )


if __name__ == "__main__":
    main()
