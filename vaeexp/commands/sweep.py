"""The command sweep: its options, and what they become."""

from collections.abc import Callable
from typing import Any

import click

from sweeps import USUAL_WORDS, AllFailedError, preload
from vaeexp import launch
from vaeexp.commands.options import study_argument
from vaeexp.console import open_console
from vaeexp.launch.options import OPTIONS, STUDY, SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.settings import SECTIONS

BRIEF = {
    "named": "A path, or a name of `vaeexp studies`.",
    **{
        name: option.help if option.brief is True else option.brief
        for name, option in OPTIONS.items()
        if option.brief
    },
    "dry_run": "Check everything and print the plan; train nothing.",
    "help_all": "Show all options.",
}
"""Option → the line that `--help` has for it."""
EXAMPLES = """\b
Examples:
  vaeexp sweep smoke                             half a minute, to see it work
  vaeexp sweep beta_mnist --dry-run              the plan, nothing trained
  vaeexp sweep beta_mnist --trials 80            the same study, more trials
  vaeexp sweep my_images --data DIR --name cats  your own images
"""

_ALL = "vaeexp.commands.sweep.all"
_TITLES = {name: option.title for name, option in OPTIONS.items()} | dict.fromkeys(
    ("named", "dry_run", "show"), STUDY
)


class SweepCommand(click.Command):
    """The command `sweep`: `--help` fits on a screen, `--help-all` shows all options under their
    titles.
    """

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if ctx.meta.get(_ALL):
            super().format_help_text(ctx, formatter)
            return
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text((self.help or "").partition("\n\n")[0])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            name = str(parameter.name)
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            if ctx.meta.get(_ALL):
                sections.setdefault(_TITLES.get(name, "Other options"), []).append(record)
            elif name in BRIEF:
                sections.setdefault("Options", []).append((record[0], BRIEF[name]))
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


def _help_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def _with_options(command: Callable) -> Callable:
    """Give a command the options of the table."""
    for option in reversed([*OPTIONS.values()]):
        command = option.click_option()(command)
    return command


@click.command(cls=SweepCommand, epilog=EXAMPLES)
@study_argument(
    "Study to run: a path, a name in ./studies, or one that comes with vaeexp (`vaeexp studies`)."
)
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
@click.option(
    "--help-all",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_help_all,
    help="Show all options.",
)
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
    wanted = SweepOptions(**given)
    log = StudyLog(open_console())
    launch.definition.study_opener(wanted)()  # refuses mistakes before PyTorch is imported
    log.say("Loading PyTorch, then checking data and networks.")
    if dry_run:
        launch.run.plan_sweep(wanted, log, show=show)
        return 0
    if wanted.engine == "local":
        preload("vaeexp.runs.worker")  # workers import PyTorch while this process does
    return AllFailedError.status if launch.run.run_sweep(wanted, log) else 0
