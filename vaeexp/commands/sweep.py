"""The command sweep: its options, and what they become."""

from collections.abc import Callable
from typing import Any

import click

from sweeps import AllFailedError, preload
from vaeexp import launch
from vaeexp.commands import options
from vaeexp.console import open_console
from vaeexp.launch.options import OPTIONS, STUDY, TITLES, SweepOptions

BRIEF = {
    "named": "A path, or a name of `vaeexp studies`.",
    **{
        name: option.help if option.brief is True else option.brief
        for name, option in OPTIONS.items()
        if option.brief
    },
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

_DRY_RUN = click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, print the plan, memory and a time estimate; train nothing, record "
    "nothing.",
)
_SHOW = click.option(
    "--show",
    is_flag=True,
    help="With --dry-run, also draw nine training images, as the models are given them, into "
    "STUDY-images.png.",
)


def _with_options(command: Callable) -> Callable:
    """Give a command the options of the table, under their titles."""
    for title in reversed(TITLES):
        group = [option.click_option() for option in OPTIONS.values() if option.title == title]
        if title == STUDY:
            help = (
                "Study to run: a path, a name in ./studies, or one that comes with vaeexp "
                "(`vaeexp studies`)."
            )
            group = [options.study_argument(help), *group, _DRY_RUN, _SHOW]
        command = options.titled(title, *group)(command)
    return command


@click.command(cls=options.TitledCommand, brief=BRIEF, epilog=EXAMPLES)
@_with_options
def sweep(*, dry_run: bool, show: bool, **given: Any) -> int:
    """Run a study, or continue it.

    It searches, trains the best settings again with fresh seeds, tests them, compares, and writes a
    report. The same command again goes on where the last one stopped. Ctrl-C stops at the end of
    the epoch at hand, within 20 seconds, and loses nothing.

    Exit status: 0 the study is done, also where all trials were pruned or paused; 2 something that
    was given is wrong; 3 every trial failed.
    """
    if show and not dry_run:
        raise click.UsageError(
            "--show is for --dry-run. A sweep shows the same images in its report."
        )
    wanted, console = SweepOptions(**given), open_console()
    if dry_run:
        launch.run.plan_sweep(wanted, console=console, show=show)
        return 0
    if wanted.engine == "local":
        preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    return AllFailedError.status if launch.run.run_sweep(wanted, console=console) else 0
