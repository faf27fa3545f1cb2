"""The command report: of one study, of several beside each other, or of all; once, or whenever they
change.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps import State, UserError, study_names
from vaeexp import report as pages
from vaeexp import results
from vaeexp.commands.options import (
    complete_study,
    html_option,
    reports_option,
    runs_option,
    storage_option,
    tracking_option,
)
from vaeexp.launch.options import Duration

if TYPE_CHECKING:
    from vaeexp.results.study_summary import StudySummary

WATCH_SECONDS = 30.0


@dataclass(kw_only=True)
class ReportWriter:
    """Writes reports, and knows what it has read and written."""

    studies: tuple[str, ...]
    """Names of the studies; empty for all studies of the storage."""
    runs: Path
    reports: Path
    storage: str | None
    html: bool
    tracking: str | None
    watch: float | None
    """Seconds between two looks; None to write once."""
    marks: dict[str, str] = field(default_factory=dict)
    summaries: "dict[str, StudySummary]" = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    """Name of a study that cannot be read → the reason."""

    def write(self) -> None:
        """Write the reports and print their paths; with `watch` again at each change, until every
        study is finished.

        A study that has not changed keeps its report. Of all studies, those that can be read get
        their reports first.

        Raises:
            UserError: there is no such study or none at all, one cannot be read, or a folder cannot
                be written.
        """
        if not self.studies:
            pages.check_index(self.reports)
        while True:
            self._look()
            if self.watch is None or all(summary.finished for summary in self.summaries.values()):
                break
            time.sleep(self.watch)
        if self.unread:
            problems = "; ".join(
                f"{name}: {problem}" for name, problem in sorted(self.unread.items())
            )
            raise UserError("", f"some studies could not be read and have no report ({problems})")

    def _look(self) -> None:
        """Read the studies, and write what has changed since the last look."""
        written = dict(self.marks)
        read = dict(self.unread)
        form: dict[str, Any] = {"reports": self.reports, "html": self.html}
        # Studies given by name are all read before anything is written; of all studies one at a
        # time is in memory.
        for name, stored in [*self._read()] if self.studies else self._read():
            if self.marks.get(name) == (mark := _mark(stored)):
                continue
            view = results.StudyView(results.study_tables(stored, self.runs))
            path = pages.write_report(view, **form, tracking=self.tracking)
            self.marks[name], self.summaries[name] = mark, results.summarise_study(view)
            self._print(path, f" ({pages.state_words(self.summaries[name])})")
        if (self.marks, self.unread) == (written, read):
            return
        summaries = [*self.summaries.values()]
        if not self.studies:
            self._print(pages.write_index(summaries, self.unread, **form))
        elif len(summaries) > 1:
            self._print(pages.write_comparison(summaries, **form))

    def _read(self) -> Iterator[tuple[str, State]]:
        """Yield the records of each study; note those of all studies that cannot be read.

        The names of all studies are looked up at each look, because other studies may have started.
        """
        names = self.studies or study_names(self.runs, self.storage)
        if not names:
            store = str(self.runs) if self.storage is None else "--storage"
            raise UserError(store, "no study has run there; `vaeexp sweep` runs one.")
        for name in names:
            try:
                stored = results.stored_study(name, self.runs, self.storage)
            except UserError as error:
                if self.studies:
                    raise
                self.unread[name] = error.problem
            else:
                self.unread.pop(name, None)
                yield name, stored

    def _print(self, path: Path, state: str = "") -> None:
        """Print the path of the page, or of the README.md without one; while watching, with the
        time and the state of the study.
        """
        shown = path.with_name(pages.PAGE) if self.html else path
        click.echo(shown if self.watch is None else f"{time.strftime('%H:%M:%S')} {shown}{state}")


def _mark(stored: State) -> str:
    """Return a text that changes with every fact, epoch and end on record, because epochs are only
    ever added.
    """
    runs = [(run.state, len(run.epochs), run.results, run.duplicate_of) for run in stored.runs]
    return repr((stored.study, runs))


EXAMPLES = """\b
Examples:
  vaeexp report beta_mnist           its report again
  vaeexp report A B                  the reports of A and B, and their comparison
  vaeexp report --all                all studies, with an index
"""


@click.command(epilog=EXAMPLES)
@click.argument("studies", metavar="[STUDY]...", nargs=-1, shell_complete=complete_study)
@click.option(
    "--study",
    "-s",
    "more",
    metavar="STUDY",
    multiple=True,
    shell_complete=complete_study,
    help="Study to report on, as named in the runs folder. Given several: their reports, and a "
    "comparison.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Report on every study of the runs folder, with an index of them all.",
)
@html_option
@click.option(
    "--watch",
    type=Duration(),
    metavar="[TIME]",
    is_flag=False,
    flag_value=WATCH_SECONDS,
    help="Write again when a study has changed, looking at most every TIME (30s), until it is "
    "finished or Ctrl-C.",
)
@runs_option
@reports_option
@storage_option
@tracking_option
def report(*, studies: tuple[str, ...], more: tuple[str, ...], every: bool, **where: Any) -> None:
    """Write the report of a study, or compare studies.

    It is made from what the runs recorded; nothing is trained, and a study that still runs gets an
    interim report. Several studies, as `vaeexp report A B`, are also compared, in
    DIR/<study>+<study>, a table for each protocol. Prints the paths of the pages.
    """
    names = tuple(map(results.study_name, studies + more))
    if names and every:
        raise click.UsageError("Give studies or --all, not both.")
    if not (names or every):
        raise click.UsageError("Say which studies: vaeexp report STUDY..., or --all.")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError("STUDY", f"'{repeated[0]}' is given twice; give each study once.")
    ReportWriter(studies=names, **where).write()
