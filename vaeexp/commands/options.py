"""Kinds of values and options that several commands share."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from sweeps.workload.protocol import named_run
from vaeexp.cache import shipped_studies

if TYPE_CHECKING:
    from collections.abc import Callable


class Duration(click.ParamType):
    """A time: `90`, `90s`, `15m`, `2h` or `1h30m`; converted to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s?)?", value.strip())
        try:
            hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
        except ValueError:
            hours = minutes = seconds = 0.0
        total = hours * 3600 + minutes * 60 + seconds
        if total <= 0:
            self.fail(
                f"'{value}' is not a time. Give seconds, or a number with a unit: 90, 90s, 15m, 2h, 1h30m.", param, ctx
            )
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


class TrialName(click.ParamType):
    """`7` or `trial-0007` for a trial of the search, `repeat-0003` for a run of confirm or compare; (repeat, number)."""

    name = "trial"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[bool, int]:
        if isinstance(value, tuple):
            return value
        named = named_run(value)
        if named is None:
            self.fail(
                f"'{value}' names no trial. Give its number, as 7, or its name, as trial-0007 or repeat-0003.",
                param,
                ctx,
            )
        return named


def _complete_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = {path.stem for folder in (Path("studies"), shipped_studies()) for path in folder.glob("*.yaml")}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def study_option(help: str, *, required: bool = True, name: str = "study", multiple: bool = False) -> "Callable":
    """`--study NAME`, completed from the study files at hand; `name` is that of the command's argument."""
    return click.option(
        "--study",
        "-s",
        name,
        metavar="STUDY",
        required=required,
        multiple=multiple,
        help=help,
        shell_complete=_complete_study,
    )


def _folder_option(name: str, **attributes: Any) -> "Callable":
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


def device_option(default: str) -> "Callable":
    """`--device`; `default` is what help says of its absence."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        show_default=default,
        help="Device that trains. auto: cuda if there is one, else mps, else cpu.",
    )


def precision_option(default: str) -> "Callable":
    """`--precision`; `default` is what help says of its absence."""
    return click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bf16"]),
        show_default=default,
        help="Arithmetic of training; evaluation is always float32. auto: bf16 where the processor has it.",
    )


storage_option = click.option(
    "--storage",
    metavar="URL",
    show_default="a journal file in the runs folder",
    help="Optuna storage, as postgresql+psycopg://host/name.",
)
tracking_option = click.option(
    "--tracking", metavar="URI", show_default="mlflow.db in the runs folder", help="MLflow tracking server or store."
)
