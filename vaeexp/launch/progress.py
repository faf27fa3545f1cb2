"""Shows the progress of a sweep: a table that updates in place, a bar in a notebook, or plain
lines.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sweeps import Running, Snapshot, run_name
from vaeexp.console import minus_elbo, tolerant, write_line
from vaeexp.words import format_duration, format_params

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from tqdm.auto import tqdm

    from sweeps import Outcome, Progress, TrialResult, TrialSpec

HEARTBEAT_SECONDS = 30.0
FINISHED_SHOWN = 5
BAR = "{desc}: {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
PHASES = {"search": "search", "repeats": "confirm, compare and baselines"}


Ended = tuple[str, str, str, str, str]
"""What shows an ended trial: its name, epoch, objective, state and configuration."""
_Unprinted = tuple[str, Ended]
"""The phase of an ended trial, and what shows it."""


def time_left(snapshot: Snapshot, epochs_per_second: float | None, later: int = 0) -> float | None:
    """Estimate the seconds until the planned trials have ended, and `later` trial-epochs; None
    while too few trials have ended.

    The estimate takes the mean length of ended trials for the trials to come. The first trials to
    end are short, so the estimate waits until as many trials have ended as are running.
    """
    ended = _ended_trials(snapshot)
    few = ended < max(1, len(snapshot.running))
    # Of paused trials, it is not known which resume.
    if snapshot.planned is None or not epochs_per_second or few or snapshot.paused:
        return None
    mean = (snapshot.epochs - sum(running.epoch for running in snapshot.running)) / ended
    to_come = max(0, snapshot.planned - ended - len(snapshot.running)) * mean
    under_way = sum(max(mean - running.epoch, 0.0) for running in snapshot.running)
    after = later if snapshot.phase == "search" else 0
    return (to_come + under_way + after) / epochs_per_second


class LiveProgress:
    """Shows a study while it runs; a `sweeps.engine.events.Observer` and a context manager."""

    def __init__(
        self,
        console: "Console",
        *,
        study: str,
        epochs: int | None = None,
        later: int = 0,
        warning: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            console: where the progress is shown.
            study: name of the study.
            epochs: epochs of a trial whose own parameters do not give them.
            later: trial-epochs of the runs that follow the search.
            warning: asked after each round for a warning to show.
            clock: seconds.
        """
        self.console = tolerant(console)
        self.study = study
        self.epochs = epochs
        self._later = later
        self._warning = warning
        self.clock = clock
        self._objective = minus_elbo(console)
        # The driver's thread replaces these values while the refreshing thread reads them, so none
        # is changed in place.
        self._snapshot: Snapshot | None = None
        self._running: Mapping[str, Running] = {}
        """Folder name of a trial → its state."""
        self._finished: tuple[Ended, ...] = ()
        self._unprinted: list[_Unprinted] = []
        self._warned: set[str] = set()
        self._started = self._snapshot_at = self._heartbeat = clock()
        self._live: Live | None = None

    def __enter__(self) -> "LiveProgress":
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self.render,
                console=self.console,
                refresh_per_second=2,
                vertical_overflow="crop",
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # Trials that ended in a round that broke off are in no snapshot yet.
        self._print_ended(None)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def warn(self, message: str) -> None:
        """Write a warning above the table, the same message only once."""
        if message not in self._warned:
            self._warned.add(message)
            write_line(self.console, f"warning: {message}", style="yellow")

    def trial_started(self, trial: "TrialSpec", *, resumed: bool) -> None:
        running = Running(trial=trial, epoch=trial.epoch, objective=None)
        self._running = {**self._running, trial.folder_name: running}

    def epoch_finished(self, trial: "TrialSpec", progress: "Progress") -> None:
        if running := self._running.get(trial.folder_name):
            running = replace(running, epoch=progress.epoch, objective=progress.objective)
            self._running = {**self._running, trial.folder_name: running}
            if trial.test and progress.finished and progress.failure is None:
                self._show_test(f"{self._name(trial.number, trial.repeat)}  trained; testing it")

    def _show_test(self, text: str) -> None:
        """Print that a trial is being tested, unless the table shows it."""
        if self._live is None:
            write_line(self.console, text)

    def trial_ended(
        self,
        trial: "TrialSpec",
        outcome: "Outcome",
        result: "TrialResult",
        duplicate_of: int | None,
    ) -> None:
        self._running = {
            name: running for name, running in self._running.items() if name != trial.folder_name
        }
        state = str(outcome.state)
        if duplicate_of is not None:
            state = f"same as {self._name(duplicate_of)}"
        elif outcome.failure is not None:
            state = f"failed: {outcome.failure.kind}"
        ended = (
            self._name(trial.number, trial.repeat),
            str(outcome.epoch),
            _two_decimals(outcome.objective),
            state,
            _configuration(trial),
        )
        self._finished = (*self._finished, ended)[-FINISHED_SHOWN:]
        self._unprinted.append(("repeats" if trial.repeat else "search", ended))

    def round_finished(self, snapshot: Snapshot) -> None:
        earlier = self._snapshot
        self._snapshot, self._snapshot_at = snapshot, self.clock()
        self._running = {running.trial.folder_name: running for running in snapshot.running}
        self._print_ended(snapshot, earlier)
        self._show_round(snapshot)
        if warning := self._warning():
            self.warn(warning)

    def _show_round(self, snapshot: Snapshot) -> None:
        """Print the state of the study every 30 seconds, unless a table shows it."""
        if self._live is None and self.clock() - self._heartbeat >= HEARTBEAT_SECONDS:
            self._heartbeat = self.clock()
            write_line(self.console, self.summary())

    def summary(self) -> str:
        """Return the state of the study on one line."""
        return "  ".join([self.study, *self._summary_parts()])

    def render(self) -> Group:
        """Return header and table, as wide and as high as the terminal allows."""
        header = Text(self.summary())
        header.stylize("bold", 0, len(self.study))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("trial", "epoch", self._objective, "state", "settings"):
            numeric = title in ("epoch", self._objective)
            # A narrow terminal cuts the settings first, because their column alone may shrink, and
            # between two of them.
            table.add_column(
                title,
                justify="right" if numeric else "left",
                no_wrap=title != "settings",
                overflow="ellipsis",
            )
        running = tuple(self._running.values())
        finished = self._finished
        room = max(3, self.console.height - len(finished) - 6)
        for row in running[:room]:
            name = self._name(row.trial.number, row.trial.repeat)
            epochs = row.epoch
            total = row.trial.params.get("epochs", self.epochs)
            # The test metrics can take longer than all epochs together, and the table does not
            # change meanwhile.
            last = row.trial.test and total and epochs + 1 >= total
            state = "last epoch, then test" if last else "running"
            epoch = f"{epochs}/{total}" if total else str(epochs)
            table.add_row(
                name,
                epoch,
                _two_decimals(row.objective),
                state,
                _one_line(_configuration(row.trial)),
            )
        if len(running) > room:
            table.add_row(f"and {len(running) - room} more", "", "", "running", "")
        for *cells, params in reversed(finished):
            table.add_row(*cells, _one_line(params), style="dim")
        return Group(header, table)

    def _summary_parts(self) -> list[str]:
        snapshot = self._snapshot
        if snapshot is None:
            return ["starting", format_duration(self.clock() - self._started)]
        since = self.clock() - self._snapshot_at
        ended = _ended_trials(snapshot)
        parts = [
            PHASES[snapshot.phase],
            f"{ended}{_of_planned(snapshot)} trials",
            *self._best_parts(snapshot),
            f"{snapshot.pruned} pruned",
            f"{snapshot.failed} failed",
        ]
        # Of the whole phase, so that a round that takes long changes the estimate little.
        rate = snapshot.epochs / snapshot.elapsed if snapshot.elapsed > 0 else None
        if rate is not None:
            parts.append(f"{rate:.2g} epochs/s" if rate < 10 else f"{rate:.0f} epochs/s")
        parts.append(format_duration(snapshot.elapsed + since))
        left = time_left(snapshot, rate, self._later)
        if left is not None and left > since:
            parts.append(f"~{format_duration(left - since)} left")
        return parts

    def _best_parts(self, snapshot: Snapshot) -> list[str]:
        """Return the best trial of a search, and how many are paused."""
        parts = []
        # The runs of the other phase have several protocols, so none of them is the best.
        if snapshot.best_objective is not None and snapshot.phase == "search":
            best = "" if snapshot.best_number is None else f" ({self._name(snapshot.best_number)})"
            parts.append(f"best {self._objective} {snapshot.best_objective:.2f}{best}")
        return parts + ([f"{snapshot.paused} paused"] if snapshot.paused else [])

    def _name(self, number: int, repeat: bool = False) -> str:
        return run_name(self.study, number, repeat=repeat)

    def _print_ended(self, snapshot: Snapshot | None, earlier: Snapshot | None = None) -> None:
        """Print one line for each trial that ended since the last round, unless the table shows it;
        `snapshot` counts them. Those of the phase before ended after its last round, `earlier`.
        """
        ended = self._unprinted
        self._unprinted = []
        if self._live is not None:
            return
        before = [row for phase, row in ended if snapshot is None or phase != snapshot.phase]
        after = [row for phase, row in ended if snapshot is not None and phase == snapshot.phase]
        self._print_lines(before, earlier, 0 if earlier is None else _ended_trials(earlier) + 1)
        first = 0 if snapshot is None else _ended_trials(snapshot) - len(after) + 1
        self._print_lines(after, snapshot, first)

    def _print_lines(self, ended: Sequence[Ended], counts: Snapshot | None, first: int) -> None:
        """Print a line for each of these trials, with its number from `first` on where that is
        known.
        """
        for position, (name, epoch, value, state, params) in enumerate(ended, start=first):
            count = f"[{position}{_of_planned(counts)}]  " if counts is not None else ""
            value = f"{self._objective} {value}" if value else "no value"
            line = f"{count}{name}  {state}  epoch {epoch}  {value}  {params}"
            write_line(self.console, line)


class BarProgress(LiveProgress):
    """Shows a study in a notebook as one progress bar: a widget, or a line of text without
    ipywidgets.
    """

    _bar: "tqdm | None" = None
    _phase: str | None = None

    def __enter__(self) -> "BarProgress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_round(self, snapshot: Snapshot) -> None:
        title = f"{self.study}: {PHASES[snapshot.phase]}"
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(desc=title, total=snapshot.planned, bar_format=BAR)
        elif snapshot.phase != self._phase:
            self._bar.set_description_str(title, refresh=False)
            self._bar.reset(snapshot.planned)
        self._phase = snapshot.phase
        self._bar.n = _ended_trials(snapshot)
        failed = [f"{snapshot.failed} failed"] if snapshot.failed else []
        self._bar.set_postfix_str(", ".join(self._best_parts(snapshot) + failed))

    def _show_test(self, text: str) -> None:
        """Print nothing, because the bar is there."""

    def _print_ended(self, snapshot: Snapshot | None, earlier: Snapshot | None = None) -> None:
        """Print nothing, because the bar counts the trials."""


def _ended_trials(snapshot: Snapshot) -> int:
    return snapshot.complete + snapshot.pruned + snapshot.failed


def _of_planned(snapshot: Snapshot) -> str:
    """Return `/40`; nothing without a planned number of trials, or where more trials have ended, as
    under an earlier budget.
    """
    return (
        f"/{snapshot.planned}"
        if snapshot.planned and snapshot.planned >= _ended_trials(snapshot)
        else ""
    )


def _configuration(trial: "TrialSpec") -> str:
    """Return the parameters of a trial, after the name of its baseline if it is one."""
    params = format_params(trial.params)
    return f"[{trial.baseline}] {params}".rstrip() if trial.baseline else params


def _one_line(text: str) -> Text:
    """Return a text of which a narrow terminal leaves out the end."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _two_decimals(objective: float | None) -> str:
    return "" if objective is None else f"{objective:.2f}"
