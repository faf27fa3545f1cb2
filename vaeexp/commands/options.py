"""Arguments and options that several commands share."""

import functools
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from sweeps import UserError
from vaeexp.launch.options import OPTIONS, Places, usual_runs
from vaeexp.machine import shipped_studies


def complete_study(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of study files at hand, and of the studies in the runs folder."""
    files = chain(Path("studies").glob("*.yaml"), shipped_studies().glob("*.yaml"))
    names = {path.stem for path in files}
    names |= {path.name for path in (runs_folder(ctx) / "trials").glob("*") if path.is_dir()}
    return completions(names, incomplete)


def completions(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the names that begin with the text typed so far."""
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def runs_folder(ctx: click.Context) -> Path:
    """Return the runs folder while a command line is being completed."""
    return Path(ctx.params.get("runs") or usual_runs())


def one_study(
    study: str | None, named: str | None, *, required: bool = True, names: str = "STUDY"
) -> str | None:
    """Return the study that is given as an argument or with --study. Raises UsageError for two, and
    where one is `required`, for none.
    """
    if study and named:
        raise click.UsageError(f"--study: got '{named}' besides '{study}'; give one study.")
    if "" in (study, named):
        raise click.UsageError("STUDY: got an empty name.")
    if required and not (study or named):
        raise click.UsageError(
            f"Missing argument '{names}'. `vaeexp studies` lists the studies at hand."
        )
    return study or named


def study_argument(help: str, *, required: bool = True, names: str = "STUDY") -> Callable:
    """Decorate a command with STUDY, as an argument or as `--study STUDY`; the command gets
    `study`. The argument may have more `names`.
    """

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def with_study(*, study: str | None, named: str | None, **options: Any) -> Any:
            return command(study=one_study(study, named, required=required, names=names), **options)

        option = click.option(
            "--study", "-s", "named", metavar="STUDY", help=help, shell_complete=complete_study
        )
        shown = names if required else f"[{names}]"
        argument = click.argument(
            "study", required=False, metavar=shown, shell_complete=complete_study
        )
        return argument(option(with_study))

    return decorate


def _check_there(ctx: click.Context, param: click.Parameter, path: Path) -> Path:
    """Raise UserError for a folder that the command names and that does not exist; the default and
    the environment's may come later.
    """
    if (
        ctx.get_parameter_source(str(param.name)) == ParameterSource.COMMANDLINE
        and not path.exists()
    ):
        raise UserError(
            f"--{param.name}", f"there is no folder '{path}'; must be a folder of runs."
        )
    return path


runs_option = OPTIONS["runs"].click_option(callback=_check_there)
new_runs_option = OPTIONS["runs"].click_option()
"""Of a command that makes the folder."""
storage_option = OPTIONS["storage"].click_option()


def places_options(command: Callable) -> Callable:
    """Decorate a command with --runs and --storage; the command gets `places`."""

    @functools.wraps(command)
    def with_places(*, runs: Path, storage: str | None, **options: Any) -> Any:
        return command(places=Places(runs, storage), **options)

    return runs_option(storage_option(with_places))


reports_option = OPTIONS["reports"].click_option()
html_option = OPTIONS["html"].click_option()
data_option = OPTIONS["data"].click_option()
tracking_option = OPTIONS["tracking"].click_option()


def device_option(shown: str, verb: str = "trains") -> Callable:
    """Make the option --device of another command. `shown`: the device where the option is not
    given.
    """
    option = OPTIONS["device"]
    return option.click_option(show_default=shown, help=option.help.replace("trains", verb))


precision_option = OPTIONS["precision"].click_option(show_default="that of the record")
