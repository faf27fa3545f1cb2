"""The command sweep: its options, and what they become."""

from collections.abc import Callable
from typing import Any

import click

from sweeps import USUAL_WORDS, AllFailedError, preload
from vaeexp import launch
from vaeexp.commands.options import study_argument
from vaeexp.console import open_console
from vaeexp.launch.options import OPTIONS, SweepOptions
from vaeexp.settings import SECTIONS

EXAMPLES = """\b
Examples:
  vaeexp sweep smoke                             half a minute, to see it work
  vaeexp sweep beta_mnist --dry-run              the plan, nothing trained
  vaeexp sweep beta_mnist --trials 80            the same study, more trials
  vaeexp sweep my_images --data DIR --name cats  your own images
"""


class SweepCommand(click.Command):
    """The command `sweep`, whose help shows its options under their titles."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            option = OPTIONS.get(str(parameter.name))
            title = option.title if option else "Other options"
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            setting = find_setting(error.option_name.lstrip("-").replace("-", "_"))
            if setting is None:
                raise
            message = (
                f"No such option '{error.option_name}'. It is a setting of the study: --set "
                f"{setting}=VALUE."
            )
            raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None


def find_setting(word: str) -> str | None:
    """Return the setting of a study that a word names, in this project's words or in another's."""
    for model in SECTIONS.values():
        for name in model.model_fields:
            if word == name or word in USUAL_WORDS.get(name, ()):
                return name
    return None


def _with_options(command: Callable) -> Callable:
    """Give a command the options of the table."""
    for option in reversed([*OPTIONS.values()]):
        command = option.click_option()(command)
    return command


@click.command(cls=SweepCommand, epilog=EXAMPLES)
@study_argument()
@_with_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, print the plan, memory and a time estimate; train nothing, record "
    "nothing.",
)
@click.option(
    "--show",
    is_flag=True,
    help="With --dry-run, also draw nine training images, as the models are given them, into "
    "STUDY-images.png.",
)
def sweep(*, dry_run: bool, show: bool, **given: Any) -> int:
    """Run a study, or continue it.

    STUDY is a path, a name in ./studies, or one that comes with vaeexp (`vaeexp studies`). The
    command searches, trains the best settings again with fresh seeds, tests them, compares, and
    writes a report. The same command again goes on where the last one stopped. Ctrl-C stops at the
    end of the epoch at hand, within 20 seconds, and loses nothing.

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
