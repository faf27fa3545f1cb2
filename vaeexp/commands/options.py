"""Kinds of values, arguments and options that several commands share, and titles for groups of options."""

import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sweeps.errors import masked
from vaeexp.machine import shipped_studies


class TitledCommand(click.Command):
    """A command whose help shows its options under the titles that `titled` gave them, those without one last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                sections.setdefault(getattr(parameter, "title", "Other options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


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


class Duration(click.ParamType):
    """A time: `90`, `90s`, `15m`, `2h` or `1h30m`; converted to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number = r"(\d+\.?\d*|\.\d+)"
        match = re.fullmatch(rf"(?:{number}h)?(?:{number}m(?:in)?)?(?:{number}s?)?", value.strip(), re.ASCII)
        parts = match.groups(default="0") if match else ()
        total = sum(float(part) * size for part, size in zip(parts, (3600, 60, 1), strict=False))
        if total <= 0:
            self.fail(f"'{value}' is not a time. Give seconds, or a number with a unit: 90s, 15m, 2h.", param, ctx)
        return total


class IntegerOrAuto(click.ParamType):
    """A whole number of at least 1, or `auto`."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return value
        if not re.fullmatch(r"0*[1-9][0-9]*", str(value)):
            self.fail(f"'{value}' is neither a whole number of at least 1 nor 'auto'.", param, ctx)
        return int(value)


def complete_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of study files at hand, and of the studies in the runs folder."""
    names = {path.stem for folder in (Path("studies"), shipped_studies()) for path in folder.glob("*.yaml")}
    names |= {path.name for path in (runs_folder(ctx) / "trials").glob("*") if path.is_dir()}
    return completions(names, incomplete)


def completions(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the names that begin with the text typed so far."""
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def runs_folder(ctx: click.Context) -> Path:
    """Return the runs folder while a command line is being completed."""
    return Path(ctx.params.get("runs") or os.environ.get("VAEEXP_RUNS", "mlruns"))


def study_argument(help: str, *, required: bool = True, names: str = "STUDY") -> Callable:
    """Decorate a command with STUDY, as an argument or as `--study STUDY`; the command gets `study`. The argument may have more `names`."""

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def with_study(*, study: str | None, named: str | None, **options: Any) -> Any:
            if study and named:
                raise click.UsageError(f"--study: got '{named}' besides '{study}'; give one study.")
            if "" in (study, named):
                raise click.UsageError("STUDY: got an empty name.")
            if required and not (study or named):
                raise click.UsageError(f"Missing argument '{names}'. `vaeexp studies` lists the studies at hand.")
            return command(study=study or named, **options)

        option = click.option("--study", "-s", "named", metavar="STUDY", help=help, shell_complete=complete_study)
        shown = names if required else f"[{names}]"
        argument = click.argument("study", required=False, metavar=shown, shell_complete=complete_study)
        return argument(option(with_study))

    return decorate


def place_options(runs: Path, storage: str | None) -> list[str]:
    """Return the options that name the runs folder and the storage in a further command, without what is the default or in the environment."""
    folder = os.environ.get("VAEEXP_RUNS", "mlruns")
    options = ["--runs", str(runs)] if runs != Path(folder) else []
    return options + (["--storage", masked(storage)] if storage and storage != os.environ.get("VAEEXP_STORAGE") else [])


def tracking_options(tracking: str | None) -> list[str]:
    """Return the option that names MLflow's store in a further command, without what is in the environment."""
    return ["--tracking", masked(tracking)] if tracking and tracking != os.environ.get("VAEEXP_TRACKING") else []


def overrides_option(help: str) -> Callable:
    return click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help=help)


def _folder_option(name: str, **attributes: Any) -> Callable:
    return click.option(name, type=click.Path(file_okay=False, path_type=Path), metavar="DIR", **attributes)


runs_option = _folder_option(
    "--runs",
    envvar="VAEEXP_RUNS",
    show_envvar=True,
    default="mlruns",
    help="Folder of runs: MLflow's store, Optuna's journal, weights and pictures.",
)
reports_option = _folder_option(
    "--reports", default="reports", help="Folder in which the report is written, as DIR/<study>/README.md."
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    envvar="VAEEXP_DATA",
    show_envvar=True,
    show_default="user cache, else download, else the bundled subset",
    help="Folder of the official data files, folder of images, or file of arrays.",
)


def choice_option(name: str, choices: Sequence[str], default: str, help: str) -> Callable:
    """Make an option with one of several values, None where it is not given. `default` says in the help what None means."""
    return click.option(name, type=click.Choice(choices), show_default=default, help=help)


def device_option(default: str, verb: str = "trains") -> Callable:
    text = f"Device that {verb}. auto: cuda if there is one, else mps, else cpu."
    return choice_option("--device", ("auto", "cpu", "cuda", "mps"), default, text)


def precision_option(default: str) -> Callable:
    text = "Arithmetic of training; evaluation is always float32. auto: bf16 where the processor has it."
    return choice_option("--precision", ("auto", "float32", "bf16"), default, text)


storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="VAEEXP_STORAGE",
    show_envvar=True,
    show_default="a journal file in the runs folder",
    help="PostgreSQL database of studies, as postgresql+psycopg://user@host/name. Keep its password out of the command: in ~/.pgpass, or in the environment as PGPASSWORD.",
)
tracking_option = click.option(
    "--tracking",
    metavar="URI",
    envvar="VAEEXP_TRACKING",
    show_envvar=True,
    show_default="mlflow.db in the runs folder",
    help="MLflow tracking server or store. Keep its password out of the command: in the environment as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
)
