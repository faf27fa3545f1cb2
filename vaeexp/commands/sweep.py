"""The command sweep: its options, and what they become."""

from dataclasses import fields
from typing import Any

import click

from sweeps.engine.trial_loop import STOP_SECONDS
from sweeps.errors import AllFailedError
from sweeps.lanes.worker_process import preload
from sweeps.storage.claim import SILENCE
from sweeps.storage.postgres import PATIENCE
from vaeexp import launch
from vaeexp.commands import options
from vaeexp.console import open_console

BRIEF = {
    "named": "A path, or a name of `vaeexp studies`.",
    "name": "Keep it under another name, as a study of its own.",
    "overrides": "Change a setting, as epochs=5 or search.beta.low=0.1.",
    "trials": "Budget in trials, of the whole study.",
    "seconds": "Budget in time: 90, 90s, 15m or 2h.",
    "data": "Folder or file with the images.",
    "extend": "Continue a study although its file has changed.",
    "dry_run": "Check everything and print the plan; train nothing.",
    "help_all": "Show all options.",
    "help": "Show this message and exit.",
}
"""Option → the line that `--help` has for it."""
EXAMPLES = """\b
Examples:
  vaeexp sweep smoke                             half a minute, to see it work
  vaeexp sweep beta_mnist --dry-run              the plan, nothing trained
  vaeexp sweep beta_mnist --trials 80            the same study, more trials
  vaeexp sweep my_images --data DIR --name cats  your own images
"""


def _limit(name: str, kind: click.ParamType, metavar: str, help: str) -> Any:
    return click.option(name, type=kind, metavar=metavar, show_default="the study's", help=help)


def _count(name: str, default: str, help: str) -> Any:
    return click.option(name, type=options.IntegerOrAuto(), metavar="N|auto", show_default=default, help=help)


def _time(name: str, shown: str, help: str, **default: Any) -> Any:
    return click.option(name, type=options.Duration(), metavar="TIME", show_default=shown, help=help, **default)


@click.command(cls=options.TitledCommand, brief=BRIEF, epilog=EXAMPLES)
@options.titled(
    "What to run",
    options.study_argument(
        "Study to run: a path, a name in ./studies, or one that comes with vaeexp (`vaeexp studies`)."
    ),
    click.option(
        "--name",
        metavar="NAME",
        show_default="the study's own",
        help="Keep it under another name, as a study of its own.",
    ),
    options.overrides_option("Change one setting of the study file, as epochs=5 or search.beta.low=0.1. Repeatable."),
    click.option(
        "--extend",
        is_flag=True,
        help="Continue a study although its file, its code or the kind of its machine has changed; trials done so far still count.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Train the trials and repeats that have failed once more, under their configuration and seed. Each stands in the place of the failed one, so that the budget counts it once. Mended code of a network needs --extend, too.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Check everything, print the plan, memory and a time estimate; train nothing, record nothing.",
    ),
    click.option(
        "--show",
        is_flag=True,
        help="With --dry-run, also draw nine training images, as the models are given them, into STUDY-images.png.",
    ),
)
@options.titled(
    "Budget",
    _limit("--trials", click.IntRange(min=1), "N", "Budget in trials, of the whole study."),
    _limit("--seconds", options.Duration(), "TIME", "Budget in time, of the whole study: 90, 90s, 15m or 2h."),
)
@options.titled(
    "Failures",
    click.option(
        "--max-failures",
        type=click.IntRange(min=1),
        metavar="N",
        default=10,
        help="Stop after N trials in a row, by number, that fail of the same cause: an error, a crash, too little memory. Trials that diverge do not count.",
    ),
    _time(
        "--trial-timeout",
        "no limit",
        "Fail a trial whose epoch, with what is measured after it, takes longer, or that trains no batch for so long while it is built, replayed or finished: 90, 90s, 15m or 2h. Trials that train as one program are stopped together, then run one by one to find the slow one. What fails depends on this machine's speed, so another run may give another table.",
    ),
    _time(
        "--stop-seconds",
        "20s",
        "After Ctrl-C or SIGTERM, give workers so long to end the epoch at hand and write checkpoints. A second Ctrl-C ends at once.",
        default=STOP_SECONDS,
    ),
)
@options.titled(
    "Data",
    options.data_option,
    click.option("--full-data", is_flag=True, help="Stop with an error rather than run on the bundled subset."),
)
@options.titled(
    "Where it is kept",
    options.new_runs_option,
    options.reports_option,
    options.no_html_option,
    options.storage_option,
    _time(
        "--storage-timeout",
        "60s",
        "Connect again for so long when the connection to the database drops.",
        default=PATIENCE,
    ),
    click.option(
        "--take-over",
        is_flag=True,
        help=f"Take the study in a database from a process that has gone: the command waits {SILENCE:g} seconds for its sign of life.",
    ),
    options.tracking_option,
)
@options.titled(
    "Many machines",
    click.option(
        "--engine",
        type=click.Choice(("local", "ray")),
        default="local",
        show_default=True,
        help="local: workers are processes of this machine; ray: they are actors on a running Ray cluster that this machine is part of, each with a CPU core or a GPU. The results are the same.",
    ),
    click.option(
        "--address",
        metavar="auto|HOST:PORT",
        default="auto",
        show_default=True,
        help="Ray cluster to use. auto: the one that RAY_ADDRESS names or that runs on this machine.",
    ),
    click.option(
        "--worker-timeout",
        type=options.Duration(),
        metavar="TIME",
        default="60s",
        show_default=True,
        help="On a Ray cluster, replace a worker that gives no sign of life for so long.",
    ),
    click.option(
        "--checkpoints",
        metavar="URL",
        envvar="VAEEXP_CHECKPOINTS",
        show_envvar=True,
        show_default="the runs folder",
        help="Folder for checkpoints that all machines reach, as s3://bucket/folder or file:///shared/folder: another machine goes on from them. Without one, it trains the running trials of a lost machine again where it does not see the runs folder.",
    ),
)
@options.titled(
    "How it runs",
    options.device_option("auto"),
    options.precision_option("auto"),
    _count(
        "--lanes",
        "2 for each worker on cpu, auto elsewhere",
        "Trials at once, of all workers together. auto: a few numbers are tried and the fastest is taken.",
    ),
    _count("--workers", "auto", "Processes that train. auto: one per device, or per CPU core."),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="1",
        help="CPU threads of a worker. More help where a machine has more cores than there are lanes; they may change the last bits.",
    ),
    options.choice_option(
        "--fuse",
        ("auto", "on", "off"),
        "auto",
        "on: the trials of a worker train as one program; off: one after the other. auto: on for accelerators, off for cpu.",
    ),
    options.choice_option(
        "--compile",
        ("auto", "on", "off"),
        "auto",
        "on: each training step is compiled, which takes half a minute at the start. auto: on where the study is long enough for this processor.",
    ),
    click.option(
        "--resident-mb",
        type=click.FloatRange(min=0),
        metavar="MB",
        show_default="half of an accelerator's free memory",
        help="Training images beyond this size stay on disk and stream to the device. The results are the same.",
    ),
    _time(
        "--checkpoint-seconds",
        "20",
        "Training between two checkpoints of a trial: 90, 90s or 15m. A study that is killed repeats at most this much, a stopped one nothing.",
    ),
)
def sweep(*, dry_run: bool, show: bool, **given: Any) -> int:
    """Run a study, or continue it.

    It searches, trains the best settings again with fresh seeds, tests them, compares, and writes a report. The same command again goes on where the last one stopped. Ctrl-C stops at the end of the epoch at hand, within 20 seconds, and loses nothing.

    Exit status: 0 the study is done, also where all trials were pruned or paused; 2 something that was given is wrong; 3 every trial failed.
    """
    if show and not dry_run:
        raise click.UsageError("--show is for --dry-run. A sweep shows the same images in its report.")
    if not dry_run and given["engine"] != "ray":
        preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    names = {field.name for field in fields(launch.job.SweepOptions)}
    execution = {name: value for name, value in given.items() if name not in names and value is not None}
    wanted = launch.job.SweepOptions(execution=execution, **{name: given[name] for name in names & given.keys()})
    if dry_run:
        launch.run.plan_sweep(wanted, console=open_console(), show=show)
        return 0
    return AllFailedError.status if launch.run.run_sweep(wanted, console=open_console()).all_failed else 0
