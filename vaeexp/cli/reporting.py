"""The command report: of one study, of several beside each other, or of all."""

from pathlib import Path

import click

from vaeexp.cli.options import Duration, reports_option, runs_option, storage_option, study_option

__all__ = ["report"]

WATCH_SECONDS = 30.0


@click.command()
@study_option(
    "Study to report on, as named in the runs folder. Given several times: their reports, and a comparison.",
    required=False,
    name="studies",
    multiple=True,
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
    if bool(studies) == every:
        problem = "Give --study or --all, not both." if every else "Say which study with --study NAME, or --all."
        raise click.UsageError(problem)
    from vaeexp.reporting import ReportOptions, write_reports

    options = ReportOptions(studies=studies, runs=runs, reports=reports, storage=storage, html=html, watch=watch)
    write_reports(options, say=click.echo)
