"""Commands that only look: studies, show, status, trial, completion."""

import os
from pathlib import Path

import click

from vaeexp.commands.options import TrialName, runs_option, storage_option, study_option


@click.command()
def studies() -> None:
    """List the studies at hand.

    Each with the question it answers: first those in ./studies, then those that come with vaeexp.
    """
    from vaeexp.console import open_console
    from vaeexp.results.open_study import list_known

    list_known(console=open_console())


@click.command()
@click.argument("study")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, as in `vaeexp sweep`. Repeatable.",
)
def show(*, study: str, overrides: tuple[str, ...]) -> None:
    """Show what a study is made of.

    Every setting that STUDY resolves to, its search space, sampler, pruner, budget, and the file it comes from.
    """
    from vaeexp.console import open_console
    from vaeexp.results.open_study import show_study

    show_study(study, overrides, console=open_console())


@click.command()
@study_option("Study to show; without it, one line for each study in the runs folder.", required=False)
@runs_option
@storage_option
@click.option(
    "--watch", is_flag=True, help="Look again every two seconds until the study is finished or Ctrl-C is pressed."
)
def status(*, study: str | None, runs: Path, storage: str | None, watch: bool) -> None:
    """Show how far a study is.

    While it runs or afterwards, from any terminal; it only reads.
    """
    from vaeexp.commands.status import show_status
    from vaeexp.console import open_console

    show_status(study, runs, storage, watch=watch, console=open_console())


@click.command()
@click.argument("trial", type=TrialName(), metavar="N")
@study_option("Study that the trial belongs to.")
@runs_option
@storage_option
def trial(*, trial: tuple[bool, int], study: str, runs: Path, storage: str | None) -> None:
    """Show everything about one trial.

    N is 7 or trial-0007 for a trial of the search, repeat-0003 for a run that confirms, compares or is a baseline.
    """
    from vaeexp.console import open_console
    from vaeexp.results.open_study import show_trial

    repeat, number = trial
    show_trial(study, number, runs, storage, repeat=repeat, console=open_console())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
@click.pass_context
def completion(ctx: click.Context, *, shell: str | None) -> None:
    """Print the completion script of a shell.

    It completes vaeexp's commands, options and studies. Without an argument it is for the shell that SHELL names. For bash: eval "$(vaeexp completion bash)".
    """
    from click.shell_completion import get_completion_class

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    make = get_completion_class(chosen) if chosen in ("bash", "zsh", "fish") else None
    if make is None:
        raise click.UsageError("SHELL names none of bash, zsh and fish. Say which one: vaeexp completion bash", ctx)
    click.echo(make(ctx.find_root().command, {}, "vaeexp", "_VAEEXP_COMPLETE").source())
