"""vaeexp for notebooks and scripts: runs a study, and hands out its tables, figures, answer and
models.
"""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import yaml

import vaeexp.launch
import vaeexp.runs
from sweeps import (
    UserError,
    check_name,
    did_you_mean,
    known_studies,
    named_run,
    preload,
    run_name,
    shown_path,
)
from sweeps.results import best_run
from vaeexp.console import open_console
from vaeexp.import_paths import check_not_importing, import_path
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.machine import shipped_studies
from vaeexp.models.vae import VAE
from vaeexp.plots import PLOTS
from vaeexp.report.answer import answer, notices
from vaeexp.report.headline import HEADER, headline_rows
from vaeexp.report.markup import escape, heading
from vaeexp.results.study_view import StudyView, open_study
from vaeexp.runs.run import Run
from vaeexp.words import is_missing, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")


def load_study(
    study: str | Path, runs: str | Path = "mlruns", storage: str | None = None
) -> "Study":
    """Load the present record of a study in any state. Of a running study, a later call loads more.

    Args:
        study: name of the study, or path of its file.
        runs: folder of runs, as `--runs` of the commands.
        storage: URL of the database that holds the study, as `--storage`; by default the journal in
            `runs`.

    Raises:
        UserError: there is no such study.
    """
    return Study(open_study(str(study), Path(runs), storage), Path(runs))


def _takes(
    options: Callable[P, SweepOptions],
) -> Callable[[Callable[[SweepOptions], R]], Callable[P, R]]:
    """Decorate a function of options: it takes the arguments of their class, checked, in the place
    of the options.
    """

    def decorate(function: Callable[[SweepOptions], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_options(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(SweepOptions.checked(*args, **kwargs))  # type: ignore[arg-type]

        returned = inspect.signature(function).return_annotation
        with_options.__signature__ = inspect.signature(options).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return with_options

    return decorate


@_takes(SweepOptions)
def run_study(options: SweepOptions) -> "Study":
    """Run a study, or continue it, as `vaeexp sweep` does, and return what it recorded.

    Progress is a bar in a notebook, a live table on a terminal, else lines. Ctrl-C, or "interrupt"
    in a notebook, raises KeyboardInterrupt and loses nothing: the same call continues the study.

    Args:
        study: path of a study file, or the name of a study in ./studies or of one that comes with
            vaeexp; or the content of a study file as a dict, which needs `name` and is stored with
            the study: `vaeexp sweep NAME` continues it.
        overrides: changes of the study file by key, such as `{"epochs": 5, "search.beta.low":
            0.1}`. A network is an import path or an imported class.
        html: whether to write the report as one page, `report.html`, too.
        **options: every other option of `vaeexp sweep` by its name with underscores, such as
            `trials=80` or `device="cpu"`. It takes the same values and has the same default.
            `vaeexp sweep --help-all` says what each does. Variables of the environment such as
            `VAEEXP_RUNS` are not read.

    Raises:
        UserError: an argument or the study file is wrong; found before any training.
        KeyboardInterrupt: the study was stopped; the same call continues it.
    """
    check_not_importing()
    study = options.study
    text = None
    if isinstance(study, Mapping):
        text = _as_text(study, options.name)
        options = replace(options, study=str(options.name), name=None)
    options = replace(options, overrides=_as_words(options.overrides))
    if options.engine == "local":
        preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    vaeexp.launch.run.run_sweep(options, StudyLog(open_console()), text)
    return load_study(options.name or str(options.study), options.runs, options.storage)


def load_model(
    run: str | Path,
    runs: str | Path = "mlruns",
    storage: str | None = None,
    *,
    allow_code: bool = False,
) -> VAE:
    """Load the model of a run: a `torch.nn.Module` in evaluation mode on the CPU, with the weights
    of its best epoch.

    Args:
        run: `beta_mnist/7`, `beta_mnist/r3` (a repeat), `beta_mnist/best`, or the folder of a run.
        runs: folder of runs, as `--runs` of the commands.
        storage: where the study is stored, as `--storage`; only `best` looks there.
        allow_code: run the modules that a run from elsewhere names.

    Raises:
        UserError: there is no such run, it left no weights, or it names a module that is not
            allowed.
    """
    return load_run(run, runs, storage, allow_code=allow_code).vae


def load_run(
    run: str | Path,
    runs: str | Path = "mlruns",
    storage: str | None = None,
    *,
    allow_code: bool = False,
) -> Run:
    """Load a run that left weights: its settings, its record and, as `vae`, its model. Arguments
    and errors as of `load_model`.
    """
    return vaeexp.runs.run.open_run(str(run), Path(runs), storage, allow_code=allow_code)


@dataclass(frozen=True, repr=False)
class Study:
    """A study as it stood when it was loaded. Its values are in nats per image, the smaller the
    better.
    """

    view: StudyView
    """All selections and statistics of the study: `view.search`, `view.confirmed`, `view.pairs`,
    `view.importances` …
    """
    runs: Path

    @property
    def name(self) -> str:
        return self.view.results.name

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, those of the search first: `name`, `state`, `objective` (best
        validation −ELBO), `epochs`, `params.<name>`, `result.<metric>` such as
        `result.test/neg_elbo`, and more (`sweeps.results.Results`)."""
        return self.view.trials

    @property
    def epochs(self) -> pd.DataFrame:
        """The learning curves, one row per trial and epoch: `repeat`, `number`, `epoch`,
        `objective` (validation −ELBO), `train/loss`, `val/rate`, `val/distortion` and the other
        metrics."""
        return self.view.epochs

    @property
    def best(self) -> pd.Series | None:
        """The row of the best run: the best run of the confirmed configuration with the lowest
        mean, else the best trial.

        It is chosen on validation. None where no trial is complete, and with two objectives
        (`view.front`).
        """
        run = best_run(self.view.results)
        return None if run is None else self._row(run["name"])

    @property
    def best_params(self) -> dict[str, Any] | None:
        """The configuration of the best run: each searched setting that it has, by name. None where
        `best` is None.
        """
        if (best := self.best) is None:
            return None
        params: dict[str, Any] = {}
        for name in self.view.study.space.names:
            value = best.get(f"params.{name}")
            if isinstance(value, np.generic):
                value = value.item()
            if not is_missing(value):  # a setting that this configuration has
                params[name] = value
        return params

    def table(self) -> pd.DataFrame:
        """Return the first table of the report as text, ready for a paper: a row for the best
        configuration and for each baseline, with the number n of seeds and the mean of each test
        figure ± its 95 % interval. Empty where nothing was confirmed and there is no baseline.
        """
        rows = ([*row.cells, row.comparable] for row in headline_rows(self.view))
        return pd.DataFrame(rows, columns=HEADER)

    def best_model(self) -> VAE:
        """Load the model of the best run; see `model`."""
        return self.best_run().vae

    def best_run(self) -> Run:
        """Load the best run, which takes new data: `encode`, `score`, `decode`. Raises UserError as
        `best_model`.
        """
        if self.best is None:
            problem = "no trial is complete, or it has two objectives, so none is the best."
            raise UserError(f"study '{self.name}'", problem)
        return self.run(self.best["name"])

    def run(self, trial: int | str) -> Run:
        """Load a trial's run, as `model` loads its model."""
        return load_run(self._model_name(trial), self.runs)

    def model(self, trial: int | str) -> VAE:
        """Load a trial's model: a `torch.nn.Module` in evaluation mode on the CPU, with the weights
        of its best epoch.

        `trial` is 7 or "beta_mnist/7", of a repeat "r3" or "beta_mnist/r3"; a duplicate has the
        model of the trial that it repeats. Raises UserError where there is no such trial or it has
        left no weights.
        """
        return self.run(trial).vae

    def _model_name(self, trial: int | str) -> str:
        row = self._row(trial)
        repeated = row["duplicate_of"]
        if pd.isna(repeated):
            return str(row["name"])
        return run_name(self.name, int(repeated), repeat=False)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures, in the order of the report."""
        return tuple(PLOTS)

    def figure(self, name: str) -> "Figure | None":
        """Draw one of `figures` as a matplotlib figure; None where the study has too little for
        it.
        """
        if name not in PLOTS:
            raise UserError("figure", f"there is no figure '{name}'. {did_you_mean(name, PLOTS)}")
        _show_figures()
        return PLOTS[name].draw(self.view)

    def answer(self) -> str:
        """Return the answer of the report as markdown: what is best, how sure that is, what
        mattered, what it cost.
        """
        return "\n\n".join([*notices(self.view), answer(self.view)])

    def _row(self, trial: int | str) -> pd.Series:
        named = named_run(str(trial).removeprefix(f"{self.name}/"))
        name = run_name(self.name, named[1], repeat=named[0]) if named else str(trial)
        names = self.trials["name"]
        if not (names == name).any():
            raise UserError(
                f"study '{self.name}'", f"has no trial '{name}'. {did_you_mean(name, names)}"
            )
        return self.trials[names == name].iloc[0]

    def _counts(self) -> str:
        """Count the trials by state."""
        search = self.trials[~self.trials["repeat"]]
        states = search["state"].value_counts()
        text = ", ".join(f"{count:,} {state}" for state, count in states.items())
        repeats = len(self.trials) - len(search)
        more = f" and {plural(repeats, 'repeat')}" if repeats else ""
        return f"{plural(len(search), 'trial')}{f' ({text})' if text else ''}{more}"

    def __repr__(self) -> str:
        best = self.best
        text = (
            ""
            if best is None
            else f"; best {best['name']}, −ELBO {best['objective']:.2f} nats per image"
        )
        return f"{self.name}: {self._counts()}{text}"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows: question, answer, and the tables and figures at hand."""
        question = self.view.study.question
        drawn = ", ".join(f"`{name}`" for name in PLOTS)
        blocks = [
            heading(escape(self.name), 3),
            *([f"*{escape(question)}*"] if question else []),
            self.answer(),
        ]
        rows = plural(len(self.epochs), "row")
        tables = f"`.trials`: {self._counts()}. `.epochs`: {rows}, one per trial and epoch."
        return "\n\n".join([*blocks, tables, f"`.figure(name)`: {drawn}."])


def _as_words(overrides: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Return changes of a study file as the command takes them, `KEY=VALUE`."""
    if isinstance(overrides, str):
        raise UserError("overrides", f"got {overrides!r}; must be a dict, as {{'epochs': 5}}.")
    if not isinstance(overrides, Mapping):
        return tuple(overrides)
    return tuple(f"{key}={json.dumps(value, default=_plain)}" for key, value in overrides.items())


def _as_text(study: Mapping[str, Any], name: str | None) -> str:
    """Return the YAML of a study that is given as a dict. Raises UserError where it has no name, or
    that of a file.
    """
    if name is None:
        raise UserError(
            "name",
            "is missing; a study given as a dict needs one, as in run_study({…}, name='my_study').",
        )
    check_name(name, "name")
    if file := known_studies(shipped_studies()).get(name):
        raise UserError(
            "name", f"'{name}' is the study of {shown_path(file)}. Choose another name."
        )
    content = json.loads(json.dumps(dict(study), default=_plain))
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a class or a function as its import path, a number or an array
    of NumPy as Python's.
    """
    if isinstance(value, type | FunctionType):
        return import_path(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, range):
        return list(value)
    raise UserError(
        "study",
        f"got {value!r}; must be text, a number, a list, a dict, or a class or function that a "
        "file defines.",
    )


def _show_figures() -> None:
    """Let a notebook show a figure that is a cell's value; without `%matplotlib inline` it would
    print the figure's class.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})
