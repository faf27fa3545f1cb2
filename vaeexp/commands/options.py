"""Kinds of values, arguments and options that several commands share, and titles for groups of
options.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from sweeps import USUAL_WORDS, UserError
from vaeexp.launch.options import OPTIONS, Places, usual_runs
from vaeexp.machine import shipped_studies
from vaeexp.settings import SECTIONS


class TitledCommand(click.Command):
    """A command whose help shows its options under the titles that `titled` gave them, those
    without one last.

    `--help` of a command with `brief` options fits on a screen: it shows these options, a line
    each. `--help-all` shows all.
    """

    def __init__(
        self, *args: Any, brief: Mapping[str, str] = MappingProxyType({}), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.brief = brief
        if brief:
            text = "Show all options."
            self.params.append(
                click.Option(
                    ["--help-all"],
                    is_flag=True,
                    expose_value=False,
                    is_eager=True,
                    callback=_help_all,
                    help=text,
                )
            )

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self._is_brief(ctx):
            super().format_help_text(ctx, formatter)
            return
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text((self.help or "").partition("\n\n")[0])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            if not self._is_brief(ctx):
                sections.setdefault(getattr(parameter, "title", "Other options"), []).append(record)
            elif parameter.name in self.brief:
                sections.setdefault("Options", []).append((record[0], self.brief[parameter.name]))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def _is_brief(self, ctx: click.Context) -> bool:
        return bool(self.brief) and not ctx.meta.get(_ALL)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            if "overrides" in {parameter.name for parameter in self.params} and (
                setting := setting_of(name)
            ):
                message = (
                    f"No such option '{error.option_name}'. It is a setting of the study: --set "
                    f"{setting}=VALUE."
                )
                raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None
            raise


_ALL = "vaeexp.commands.options.all"


def _help_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def setting_of(word: str) -> str | None:
    """Return the setting of a study that a word names, in this project's words or in another's."""
    settings = [name for model in SECTIONS.values() for name in model.model_fields]
    return next(
        (name for name in settings if word == name or word in USUAL_WORDS.get(name, ())), None
    )


def titled(title: str, *options: Callable) -> Callable:
    """Decorate a command with options that its help shows together."""

    def decorate(command: Any) -> Any:
        before = len(getattr(command, "__click_params__", ()))
        for option in reversed(options):
            command = option(command)
        for parameter in command.__click_params__[before:]:
            parameter.title = title
        return command

    return decorate


def complete_study(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of study files at hand, and of the studies in the runs folder."""
    names = {
        path.stem
        for folder in (Path("studies"), shipped_studies())
        for path in folder.glob("*.yaml")
    }
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
