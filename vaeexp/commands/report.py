"""The command report: of one study, of several beside each other, or of all; once, or whenever they change."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeps.errors import UserError
from vaeexp.commands.options import Duration, complete_study, reports_option, runs_option, storage_option

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from sweeps.results.rankings import Results
    from vaeexp.results.study_summary import StudySummary


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the command was given."""

    studies: tuple[str, ...]
    """Names, or paths of study files; empty for all studies of the storage."""
    runs: Path
    reports: Path
    storage: str | None
    html: bool
    watch: float | None
    """Seconds between two looks; None to write once."""


@dataclass
class _Seen:
    """What is known of the studies from earlier looks, by name."""

    storages: "dict[str, BaseStorage]" = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    summaries: "dict[str, StudySummary]" = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def write_reports(options: ReportOptions, *, say: Callable[[str], None]) -> None:
    """Write the reports and say where they are; with `watch` again at each change, until every study is finished.

    A study of several (or of all) that has not changed keeps its report. Of all studies, one that cannot be read does not
    keep the others from their reports.

    Raises:
        UserError: there is no such study or none at all, one cannot be read, or a folder cannot be written.
    """
    from vaeexp.report.several_studies import check_index

    if options.studies:
        _check_each_once(options)
    else:
        check_index(options.reports)
    seen = _Seen()
    while True:
        _look(options, seen, say)
        if options.watch is None or all(each.finished for each in seen.summaries.values()):
            break
        time.sleep(options.watch)
    if seen.unread:
        names = "; ".join(f"{name}: {problem}" for name, problem in sorted(seen.unread.items()))
        raise UserError("", f"some studies could not be read and have no report ({names})")


def _look(options: ReportOptions, seen: _Seen, say: Callable[[str], None]) -> None:
    """Read the studies, and write what has changed since they were read last."""
    from vaeexp.report import write_report
    from vaeexp.report.several_studies import write_comparison, write_index
    from vaeexp.results.study_summary import summarise_study
    from vaeexp.results.study_view import StudyView

    before = dict(seen.marks), dict(seen.unread)
    found = ((name, _read(name, options, seen)) for name in _names(options))
    # Studies given by name are all read before anything is written; of all studies one at a time is in memory.
    for name, results in list(found) if options.studies else found:
        if results is None or seen.marks.get(name) == (mark := _mark(results)):
            continue
        view = StudyView(results)
        path = write_report(view, reports=options.reports, html=options.html)
        seen.marks[name], seen.summaries[name] = mark, summarise_study(view)
        _tell(path, options, say, seen.summaries[name])
    if (seen.marks, seen.unread) == before:
        return
    known = list(seen.summaries.values())
    if not options.studies:
        path = write_index(known, seen.unread, reports=options.reports, html=options.html)
    elif len(known) > 1:
        path = write_comparison(known, reports=options.reports, html=options.html)
    else:
        return
    _tell(path, options, say)


def _tell(path: Path, options: ReportOptions, say: Callable[[str], None], study: "StudySummary | None" = None) -> None:
    """The path; while watching, the page alone and how far the study is, in one line."""
    from vaeexp.report.several_studies import state_words

    page = path.with_name("report.html")
    if options.watch is None:
        say(str(path))
        if options.html:
            say(str(page))
    else:
        shown = page if options.html else path
        say(f"{time.strftime('%H:%M:%S')} {shown}{f' ({state_words(study)})' if study is not None else ''}")


def _check_each_once(options: ReportOptions) -> None:
    names = _names(options)
    for name in names:
        if names.count(name) > 1:
            raise UserError("STUDY", f"'{name}' is given twice; give each study once.")


def _names(options: ReportOptions) -> list[str]:
    """The studies meant; those of the storage anew at each look, since others may have started."""
    from sweeps.storage.database import study_names

    if options.studies:
        return [Path(given).stem if given.endswith((".yaml", ".yml")) else given for given in options.studies]
    found = study_names(options.runs, options.storage)
    if not found:
        place = str(options.runs) if options.storage is None else "--storage"
        raise UserError(place, "no study has run there; `vaeexp sweep` runs one.")
    return found


def _read(name: str, options: ReportOptions, seen: _Seen) -> "Results | None":
    """What a study has recorded by now; None, with the reason noted, where one of all studies cannot be read."""
    from sweeps.storage.database import open_storage
    from sweeps.storage.study_record import read_study
    from vaeexp.results.open_study import study_tables

    try:
        if name not in seen.storages:
            seen.storages[name] = open_storage(options.storage, options.runs, name, must_exist=True)
        results = study_tables(read_study(seen.storages[name], name), options.runs)
    except UserError as error:
        if options.studies:
            raise
        seen.unread[name] = error.problem
        return None
    seen.unread.pop(name, None)
    return results


def _mark(results: "Results") -> str:
    """A checksum of everything that a report is made from."""
    import pandas as pd

    digest = hashlib.sha256(json.dumps(asdict(results.study), sort_keys=True, default=str).encode())
    digest.update(results.trials.to_csv(index=False).encode())
    digest.update(pd.util.hash_pandas_object(results.epochs, index=False).to_numpy().tobytes())
    return digest.hexdigest()


WATCH_SECONDS = 30.0


@click.command()
@click.argument("studies", metavar="[STUDY]...", nargs=-1, shell_complete=complete_study)
@click.option(
    "--study",
    "-s",
    "more",
    metavar="STUDY",
    multiple=True,
    shell_complete=complete_study,
    help="Study to report on, as named in the runs folder. Given several: their reports, and a comparison.",
)
@click.option(
    "--all", "every", is_flag=True, help="Report on every study of the runs folder, with an index of them all."
)
@click.option("--html", is_flag=True, help="Write report.html, too: one file with everything in it, light or dark.")
@click.option(
    "--watch",
    type=Duration(),
    metavar="[TIME]",
    is_flag=False,
    flag_value=WATCH_SECONDS,
    help="Write again when a study has changed, looking at most every TIME (30s), until it is finished or Ctrl-C.",
)
@runs_option
@reports_option
@storage_option
def report(
    *,
    studies: tuple[str, ...],
    more: tuple[str, ...],
    every: bool,
    html: bool,
    watch: float | None,
    runs: Path,
    reports: Path,
    storage: str | None,
) -> None:
    """Write the report of a study again.

    It is made from what the runs recorded; nothing is trained, and a study that still runs gets an interim report. Several studies are also compared, in DIR/<study>+<study>/README.md, a table for each protocol. Prints the paths.
    """
    if bool(studies + more) == every:
        problem = (
            "Give studies or --all, not both." if every else "Say which studies: vaeexp report STUDY..., or --all."
        )
        raise click.UsageError(problem)
    options = ReportOptions(studies=studies + more, runs=runs, reports=reports, storage=storage, html=html, watch=watch)
    write_reports(options, say=click.echo)
