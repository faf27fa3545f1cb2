"""vaeexp for notebooks and scripts: runs a study, and hands out its tables, figures, answer and models."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

import vaeexp.runs
import vaeexp.sweep
from sweeps.errors import UserError, did_you_mean
from sweeps.workload import named_run, run_name
from sweeps.workload.worker_process import preload
from vaeexp.console import open_console
from vaeexp.plots import PLOTS
from vaeexp.report.answer import answer
from vaeexp.report.chapters import notices
from vaeexp.report.markup import escape, heading
from vaeexp.results.study_view import StudyView, open_study
from vaeexp.settings import ExecutionSettings
from vaeexp.words import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeexp.models.vae import VAE


def load_study(study: str | Path, runs: str | Path = "mlruns", storage: str | None = None) -> "Study":
    """Load the present record of a study in any state. Of a running study, a later call loads more.

    Args:
        study: name of the study, or path of its file.
        runs: folder of runs, as `--runs` of the commands.
        storage: URL of the database that holds the study, as `--storage`; by default the journal in `runs`.

    Raises:
        UserError: there is no such study.
    """
    return Study(open_study(str(study), Path(runs), storage), Path(runs))


def run_study(
    study: str | Path,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    full_data: bool = False,
    runs: str | Path = "mlruns",
    reports: str | Path = "reports",
    storage: str | None = None,
    tracking: str | None = None,
    extend: bool = False,
    take_over: bool = False,
    **execution: Any,
) -> "Study":
    """Run a study, or continue it, as `vaeexp sweep` does, and return what it recorded.

    Progress is printed as lines; on a terminal it is a live table. Ctrl-C, or "interrupt" in a notebook, raises
    KeyboardInterrupt and loses nothing: the same call continues the study.

    Args:
        study: path of a study file, or the name of a study in ./studies or of one that comes with vaeexp.
        trials: budget in trials of the whole study; by default the study's own.
        seconds: budget in seconds of the whole study; by default the study's own.
        name: keep the study under this name, as a study of its own.
        overrides: changes of the study file by key, such as `{"epochs": 5, "search.beta.low": 0.1}`.
        data: folder or file with the images; by default the user's cache, else a download.
        full_data: raise an error rather than run on the bundled subset.
        runs: folder that gets the runs.
        reports: folder that gets the report.
        storage: URL of a PostgreSQL database that holds the study; by default a journal in `runs`.
        tracking: MLflow server or store; by default a store in `runs`.
        extend: continue a study although its file, its code or the kind of its machine has changed.
        take_over: take the study in a database from a process that gives no sign of life for 30 s.
        **execution: hardware options by the name of the option of `vaeexp sweep`, such as `device="cpu"`.

    Raises:
        UserError: an argument or the study file is wrong; found before any training.
        KeyboardInterrupt: the study was stopped; the same call continues it.
    """
    _check_execution(execution)
    for option, value in (("trials", trials), ("seconds", seconds)):
        if value is not None and value <= 0:
            raise UserError(option, f"got {value}; must be above 0.")
    preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    options = vaeexp.sweep.job.SweepOptions(
        study=str(study),
        name=name,
        overrides=tuple(f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()),
        trials=trials,
        seconds=seconds,
        data=None if data is None else Path(data),
        full_data=full_data,
        runs=Path(runs),
        reports=Path(reports),
        storage=storage,
        tracking=tracking,
        execution=execution,
        extend=extend,
        take_over=take_over,
    )
    vaeexp.sweep.run.run_sweep(options, console=open_console())
    return load_study(name or str(study), runs, storage)


def load_model(
    run: str | Path, runs: str | Path = "mlruns", storage: str | None = None, *, allow_code: bool = False
) -> "VAE":
    """Load the model of a run: a `torch.nn.Module` in evaluation mode on the CPU, with the weights of its best epoch.

    Args:
        run: `beta_mnist/7`, `beta_mnist/r3` (a repeat), `beta_mnist/best`, or the folder of a run.
        runs: folder of runs, as `--runs` of the commands.
        storage: where the study is stored, as `--storage`; only `best` looks there.
        allow_code: run the module that a run from elsewhere names as its network, and remember the module until it changes.

    Raises:
        UserError: there is no such run, it left no weights, or it names a module that is not allowed.
    """
    return vaeexp.runs.run.open_run(str(run), Path(runs), storage, allow_code=allow_code).vae


@dataclass(frozen=True, repr=False)
class Study:
    """A study as it stood when it was loaded. Its values are in nats per image, the smaller the better."""

    view: StudyView
    """All selections and statistics of the study: `view.search`, `view.confirmed`, `view.pairs`, `view.importances` …"""
    runs: Path

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, those of the search first: `name`, `state`, `objective` (best validation −ELBO), `epochs`,
        `params.<name>`, `result.<metric>` such as `result.test/neg_elbo`, and more (`sweeps.results.Results`)."""
        return self.view.trials

    @property
    def epochs(self) -> pd.DataFrame:
        """The learning curves, one row per trial and epoch: `repeat`, `number`, `epoch`, `objective` (validation −ELBO),
        `train/loss`, `val/rate`, `val/distortion` and the other metrics."""
        return self.view.epochs

    @property
    def best(self) -> pd.Series | None:
        """The row of the best run: the best run of the confirmed configuration with the lowest mean, else the best trial.

        It is chosen on validation. None where no trial is complete, and with two objectives (`view.front`).
        """
        run = self.view.best_run
        return None if run is None else self._row(run["name"])

    def best_model(self) -> "VAE":
        """Load the model of the best run; see `model`."""
        if self.best is None:
            why = "none of its trials is complete" if self.view.front is None else "it has two objectives"
            raise UserError(f"study '{self.name}'", f"{why}, so none is the best.")
        return self.model(self.best["name"])

    def model(self, trial: int | str) -> "VAE":
        """Load a trial's model: a `torch.nn.Module` in evaluation mode on the CPU, with the weights of its best epoch.

        `trial` is 7 or "beta_mnist/7", of a repeat "r3" or "beta_mnist/r3"; a duplicate has the model of the trial that it
        repeats. Raises UserError where there is no such trial or it has left no weights.
        """
        row = self._row(trial)
        repeated = row["duplicate_of"]
        name = row["name"] if pd.isna(repeated) else run_name(self.name, int(repeated), repeat=False)
        return load_model(name, self.runs)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures, in the order of the report."""
        return tuple(PLOTS)

    def figure(self, name: str) -> "Figure | None":
        """Draw one of `figures` as a matplotlib figure; None where the study has too little for it."""
        if name not in PLOTS:
            raise UserError("figure", f"there is no figure '{name}'. {did_you_mean(name, PLOTS)}")
        _show_figures()
        return PLOTS[name].draw(self.view)

    def answer(self) -> str:
        """Return the answer of the report as markdown: what is best, how sure that is, what mattered, what it cost."""
        return "\n\n".join([*notices(self.view), answer(self.view)])

    def _row(self, trial: int | str) -> pd.Series:
        named = named_run(str(trial).removeprefix(f"{self.name}/"))
        name = run_name(self.name, named[1], repeat=named[0]) if named else str(trial)
        names = self.trials["name"]
        if not (names == name).any():
            raise UserError(f"study '{self.name}'", f"has no trial '{name}'. {did_you_mean(name, names)}")
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
        text = "" if best is None else f"; best {best['name']}, −ELBO {best['objective']:.2f} nats per image"
        return f"{self.name}: {self._counts()}{text}"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows: question, answer, and the tables and figures at hand."""
        question = self.view.study.question
        drawn = ", ".join(f"`{name}`" for name in PLOTS)
        blocks = [heading(escape(self.name), 3), *([f"*{escape(question)}*"] if question else []), self.answer()]
        rows = plural(len(self.epochs), "row")
        tables = f"`.trials`: {self._counts()}. `.epochs`: {rows}, one per trial and epoch."
        return "\n\n".join([*blocks, tables, f"`.figure(name)`: {drawn}."])


def _check_execution(execution: Mapping[str, Any]) -> None:
    """Raise UserError for an option that a sweep has not, or a value that the option does not take."""
    for option in execution:
        if option not in ExecutionSettings.model_fields:
            raise UserError(option, f"is no option of a sweep. {did_you_mean(option, ExecutionSettings.model_fields)}")
    try:
        ExecutionSettings(**execution)
    except ValidationError as error:
        problem = error.errors()[0]
        message = f"got {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}."
        raise UserError(str(problem["loc"][0]), message) from error


def _show_figures() -> None:
    """Let a notebook show a figure that is a cell's value; without `%matplotlib inline` it would print the figure's class."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})
