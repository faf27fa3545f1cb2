"""Live progress of a sweep: one table that updates in place, or plain lines where there is no terminal."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sweeps.engine.events import Running, Snapshot
from vaeexp.console import minus_elbo, tolerant, write_line
from vaeexp.words import format_duration, format_params

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from sweeps.workload.protocol import Outcome, Progress, Trial, TrialResult

HEARTBEAT_SECONDS = 30.0
RATE_WINDOW_SECONDS = 120.0
FINISHED_SHOWN = 5
PHASES = {"search": "search", "repeats": "confirm, compare and baselines"}


@dataclass(frozen=True)
class _Ended:
    """A trial that ended, as it is shown."""

    name: str
    state: str
    epoch: int
    objective: float | None
    params: str


def time_left(snapshot: Snapshot, epochs_per_second: float | None) -> float | None:
    """Seconds until the planned trials have ended, or None while that cannot be told.

    It assumes that trials to come last as long as those that ended did on average, so it waits until as many have
    ended as are running: the first ones to end are the short ones.
    """
    ended = snapshot.complete + snapshot.pruned + snapshot.failed
    if snapshot.planned is None or not epochs_per_second or ended == 0 or ended < len(snapshot.running):
        return None
    mean = (snapshot.epochs - sum(running.epoch for running in snapshot.running)) / ended
    to_come = max(0, snapshot.planned - ended - len(snapshot.running)) * mean
    under_way = sum(max(mean - running.epoch, 0.0) for running in snapshot.running)
    return (to_come + under_way) / epochs_per_second


class LiveProgress:
    """Shows a study while it runs; a `sweeps.engine.events.Observer` and a context manager.

    study: name shown. epochs: epochs of a trial at most, where its own parameters do not say.
    """

    def __init__(
        self, console: "Console", *, study: str, epochs: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console, self.study, self.epochs, self.clock = tolerant(console), study, epochs, clock
        self._objective = minus_elbo(console)
        # The refreshing thread reads these while the driver's thread replaces them: each is immutable.
        self._snapshot: Snapshot | None = None
        self._running: tuple[Running, ...] = ()
        self._finished: tuple[_Ended, ...] = ()
        self._unprinted: list[_Ended] = []
        self._warned: set[str] = set()
        self._rates: tuple[tuple[float, int], ...] = ()
        self._started = self._snapshot_at = self._heartbeat = clock()
        self._live: Live | None = None

    def __enter__(self) -> "LiveProgress":
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self.render, console=self.console, refresh_per_second=2, vertical_overflow="crop"
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # What ended in a round that broke off is in no snapshot yet.
        self._print_ended(None)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def warn(self, message: str) -> None:
        """Say something above the table, such as a tracker that cannot reach its server; the same words only once."""
        if message not in self._warned:
            self._warned.add(message)
            write_line(self.console, f"warning: {message}", style="yellow")

    # What the driver tells.

    def trial_started(self, trial: "Trial", *, resumed: bool) -> None:
        self._running = (*self._without(trial), Running(trial=trial, epoch=trial.epoch, objective=None))

    def epoch_finished(self, trial: "Trial", progress: "Progress") -> None:
        self._running = tuple(
            replace(running, epoch=progress.epoch, objective=progress.objective)
            if running.trial.name == trial.name
            else running
            for running in self._running
        )

    def trial_ended(self, trial: "Trial", outcome: "Outcome", result: "TrialResult", duplicate_of: int | None) -> None:
        self._running = self._without(trial)
        state = str(outcome.state)
        if duplicate_of is not None:
            state = f"same as trial-{duplicate_of:04d}"
        elif outcome.failure is not None:
            state = f"failed: {outcome.failure.kind}"
        ended = _Ended(trial.name, state, outcome.epoch, outcome.objective, _settings(trial))
        self._finished = (*self._finished, ended)[-FINISHED_SHOWN:]
        self._unprinted.append(ended)

    def round_finished(self, snapshot: Snapshot) -> None:
        if self._snapshot is not None and snapshot.phase != self._snapshot.phase:
            self._rates = ()
        self._snapshot, self._running, self._snapshot_at = snapshot, snapshot.running, self.clock()
        recent = tuple(rate for rate in self._rates if snapshot.elapsed - rate[0] <= RATE_WINDOW_SECONDS)
        self._rates = (*(recent or self._rates[-1:]), (snapshot.elapsed, snapshot.epochs))
        self._print_ended(snapshot)
        if self._live is None and self.clock() - self._heartbeat >= HEARTBEAT_SECONDS:
            self._heartbeat = self.clock()
            write_line(self.console, self.summary())

    # What people see.

    def summary(self) -> str:
        """The state of the study on one line."""
        return "  ".join([self.study, *self._summary_parts()])

    def render(self) -> Group:
        """Header and table, as wide and as high as the terminal allows."""
        header = Text(_packed([self.study, *self._summary_parts()], self.console.width))
        header.stylize("bold", 0, len(self.study))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("trial", "epoch", self._objective, "state", "settings"):
            numeric = title in ("epoch", self._objective)
            # Where there is no room, the settings are cut first: they alone may be wrapped, and their text refuses.
            table.add_column(
                title, justify="right" if numeric else "left", no_wrap=title != "settings", overflow="crop"
            )
        running, finished = self._running, self._finished
        room = max(3, self.console.height - len(finished) - 6)
        for row in running[:room]:
            table.add_row(
                row.trial.name,
                self._epoch(row),
                _value(row.objective),
                self._doing(row),
                _one_line(_settings(row.trial)),
            )
        if len(running) > room:
            table.add_row(f"and {len(running) - room} more", "", "", "running", "")
        for ended in reversed(finished):
            table.add_row(
                ended.name, str(ended.epoch), _value(ended.objective), ended.state, _one_line(ended.params), style="dim"
            )
        return Group(header, table)

    def _summary_parts(self) -> list[str]:
        snapshot = self._snapshot
        if snapshot is None:
            return ["starting", format_duration(self.clock() - self._started)]
        since = self.clock() - self._snapshot_at
        ended = snapshot.complete + snapshot.pruned + snapshot.failed
        parts = [
            PHASES.get(snapshot.phase, snapshot.phase),
            f"{ended}/{snapshot.planned} trials" if snapshot.planned else f"{ended} trials",
        ]
        # Afterwards there are runs of other protocols, of which none is the best.
        if snapshot.best_objective is not None and snapshot.phase == "search":
            where = "" if snapshot.best_number is None else f" (trial-{snapshot.best_number:04d})"
            parts.append(f"best {self._objective} {snapshot.best_objective:.2f}{where}")
        parts += [f"{snapshot.pruned} pruned", f"{snapshot.failed} failed"]
        rate = self._rate()
        if rate is not None:
            parts.append(f"{rate:.2g} epochs/s" if rate < 10 else f"{rate:.0f} epochs/s")
        parts.append(format_duration(snapshot.elapsed + since))
        left = time_left(snapshot, rate)
        if left is not None and left - since > 0:
            parts.append(f"~{_rounded(left - since)} left")
        return parts

    def _rate(self) -> float | None:
        """Trial-epochs per second over the last two minutes, or since the beginning when there is but one round."""
        rates = self._rates
        if not rates:
            return None
        (first_time, first_epochs), (last_time, last_epochs) = rates[0], rates[-1]
        if last_time > first_time:
            return (last_epochs - first_epochs) / (last_time - first_time)
        return last_epochs / last_time if last_time > 0 else None

    def _doing(self, running: Running) -> str:
        """Figures on the test set can take longer than all epochs together, and nothing moves while they are made."""
        last = self._epochs(running) == running.epoch + 1
        return "last epoch, then test" if running.trial.test and last else "running"

    def _epochs(self, running: Running) -> Any:
        return running.trial.params.get("epochs", self.epochs)

    def _epoch(self, running: Running) -> str:
        total = self._epochs(running)
        return f"{running.epoch}/{total}" if total else str(running.epoch)

    def _without(self, trial: "Trial") -> tuple[Running, ...]:
        return tuple(running for running in self._running if running.trial.name != trial.name)

    def _print_ended(self, snapshot: Snapshot | None) -> None:
        """One line per trial that ended since the last round, counted by `snapshot`; the table shows them itself."""
        ended, self._unprinted = self._unprinted, []
        if self._live is not None:
            return
        count = 0 if snapshot is None else snapshot.complete + snapshot.pruned + snapshot.failed - len(ended)
        for position, item in enumerate(ended, start=1):
            value = f"{self._objective} {_value(item.objective)}" if item.objective is not None else "no value"
            of = f"/{snapshot.planned}" if snapshot is not None and snapshot.planned else ""
            where = f"[{count + position}{of}]  " if snapshot is not None else ""
            write_line(self.console, f"{where}{item.name}  {item.state}  epoch {item.epoch}  {value}  {item.params}")


def _settings(trial: "Trial") -> str:
    """What the trial varies, after the name of the baseline that it is."""
    shown = format_params(trial.params)
    return f"[{trial.baseline}] {shown}".rstrip() if trial.baseline else shown


def _one_line(text: str) -> Text:
    """Text on one line, whose end is cut where there is no room."""
    return Text(text, no_wrap=True, overflow="crop")


def _packed(parts: list[str], width: int) -> str:
    """The parts on as many lines as they need; a part is never broken."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _rounded(seconds: float) -> str:
    """An estimate in words, no finer than it deserves."""
    if seconds < 60:
        return format_duration(max(5, 5 * round(seconds / 5)))
    return format_duration(60 * round(seconds / 60))
