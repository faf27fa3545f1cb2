"""The command sweep: its options, and what they become."""

from pathlib import Path
from typing import Any

import click

from sweeps.workload.worker_process import preload
from vaeexp import sweep as sweeping
from vaeexp.commands.options import (
    Duration,
    IntegerOrAuto,
    TitledCommand,
    data_option,
    device_option,
    precision_option,
    reports_option,
    runs_option,
    storage_option,
    study_argument,
    titled,
    tracking_option,
)
from vaeexp.console import open_console

WHAT = (
    study_argument("Study to run: a path, a name in ./studies, or one that comes with vaeexp (`vaeexp studies`)."),
    click.option(
        "--name",
        metavar="NAME",
        show_default="the study's own",
        help="Keep it under another name, as a study of its own.",
    ),
    click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change one setting of the study file, as epochs=5 or search.beta.low=0.1. Repeatable.",
    ),
    click.option(
        "--extend", is_flag=True, help="Continue a study although its file has changed; trials done so far still count."
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Check everything, print the plan, memory and a time estimate; train nothing, record nothing.",
    ),
)
BUDGET = (
    click.option(
        "--trials",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="the study's",
        help="Budget in trials, of the whole study.",
    ),
    click.option(
        "--seconds",
        type=Duration(),
        metavar="TIME",
        show_default="the study's",
        help="Budget in time, of the whole study: 90, 90s, 15m or 2h.",
    ),
)
DATA = (
    data_option,
    click.option("--full-data", is_flag=True, help="Stop with an error rather than run on the bundled subset."),
)
EXECUTION = (
    device_option("auto"),
    precision_option("auto"),
    click.option(
        "--lanes",
        type=IntegerOrAuto(),
        metavar="N|auto",
        show_default="2 for each worker on cpu, auto elsewhere",
        help="Trials at once, of all workers together. auto: a few numbers are tried and the fastest is taken.",
    ),
    click.option(
        "--workers",
        type=IntegerOrAuto(),
        metavar="N|auto",
        show_default="auto",
        help="Processes that train. auto: one per device, or per CPU core.",
    ),
    click.option(
        "--fuse",
        type=click.Choice(["auto", "on", "off"]),
        show_default="auto",
        help="on: the trials of a worker train as one program; off: one after the other. auto: on for accelerators, off for cpu.",
    ),
    click.option(
        "--compile",
        type=click.Choice(["auto", "on", "off"]),
        show_default="auto",
        help="on: each training step is compiled, which takes half a minute at the start. auto: on where the study is long enough for this processor.",
    ),
    click.option(
        "--resident-mb",
        type=click.FloatRange(min=0),
        metavar="MB",
        show_default="half of an accelerator's free memory",
        help="Training images beyond this size stay on disk and stream to the device. The results are the same.",
    ),
)


@click.command(cls=TitledCommand)
@titled("What to run", *WHAT)
@titled("Budget", *BUDGET)
@titled("Data", *DATA)
@titled("Where it is kept", runs_option, reports_option, storage_option, tracking_option)
@titled("How it runs", *EXECUTION)
def sweep(
    *,
    study: str,
    name: str | None,
    overrides: tuple[str, ...],
    trials: int | None,
    seconds: float | None,
    data: Path | None,
    full_data: bool,
    runs: Path,
    reports: Path,
    storage: str | None,
    tracking: str | None,
    extend: bool,
    dry_run: bool,
    **execution: Any,
) -> None:
    """Run a study, or continue it.

    It searches, trains the best settings again with fresh seeds, tests them, compares, and writes a report. The same command again goes on where the last one stopped. Ctrl-C stops within seconds and loses nothing.
    """
    if not dry_run:
        preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    options = sweeping.job.SweepOptions(
        study=study,
        name=name,
        overrides=overrides,
        trials=trials,
        seconds=seconds,
        data=data,
        full_data=full_data,
        runs=runs,
        reports=reports,
        storage=storage,
        tracking=tracking,
        execution={key: value for key, value in execution.items() if value is not None},
        extend=extend,
    )
    run = sweeping.run.plan_sweep if dry_run else sweeping.run.run_sweep
    run(options, console=open_console())
