"""The options of `vaeexp sweep` in one table.

The command, `vaeexp.run_study`, `vaeexp slurm` and the command that a study records are made from
it: a new option is one field of `SweepOptions`, and the code that reads the field.
"""
# ruff: noqa: RUF009 (`_option` makes a field)

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import click

from sweeps import (
    ENGINES,
    MAX_FAILURES,
    PATIENCE,
    SILENCE,
    STOP_SECONDS,
    UserError,
    did_you_mean,
    masked,
)
from vaeexp.console import program

CHECKPOINT_SECONDS = 20.0
"""Training between two checkpoints of a trial."""


class Duration(click.ParamType):
    """A time: `90`, `90s`, `15m`, `2h` or `1h30m`; converted to seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        number = r"(\d+\.?\d*|\.\d+)"
        match = re.fullmatch(
            rf"(?:{number}h)?(?:{number}m(?:in)?)?(?:{number}s?)?", value.strip(), re.ASCII
        )
        parts = match.groups(default="0") if match else ()
        total = sum(float(part) * size for part, size in zip(parts, (3600, 60, 1), strict=False))
        if total <= 0:
            self.fail(
                f"'{value}' is not a time. Give seconds, or a number with a unit: 90s, 15m, 2h.",
                param,
                ctx,
            )
        return total


class OrAuto(click.ParamType):
    """A value of another kind, or `auto`."""

    def __init__(self, kind: click.ParamType) -> None:
        self.kind, self.name = kind, f"{kind.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else self.kind.convert(value, param, ctx)


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of `sweep`. Its field gives the name, the default, and the kind of its values
    unless `kind` does.
    """

    name: str = ""
    default: Any = None
    title: str
    """Group of options that the help shows together."""
    help: str
    brief: str | bool = False
    """Its line in `--help`, True for its help; False: only `--help-all` shows the option."""
    shown: str | bool = True
    """The default in the help, where the value itself does not say what happens."""
    kind: click.ParamType = click.STRING
    multiple: bool = False
    flag: str = ""
    """Its name on the command line."""
    metavar: str | None = None
    envvar: str | None = None
    recorded: bool = True
    """Whether the command that continues the study repeats it."""
    address: bool = False
    """Whether its value is an address, which may hold a password."""

    def click_option(self, **changes: Any) -> Any:
        """Return the option of a command, with `changes` of what Click is given."""
        given: dict[str, Any] = {
            "help": self.help,
            "show_default": self.shown,
            "metavar": self.metavar,
        }
        if self.default not in (None, False, ()):
            given["default"] = self.default
        if isinstance(self.default, float):
            given["show_default"] = f"{self.default:g}s"
        if self.envvar:
            given |= {"envvar": self.envvar, "show_envvar": True}
        if self.multiple:
            given["multiple"] = True
        if self.kind is click.BOOL:
            # The flag of an option that is on by default, as --no-html, turns it off.
            given |= {"is_flag": True, "flag_value": not self.default, "show_default": False}
        else:
            given["type"] = self.kind
        return click.option(self.flag, self.name, **given | changes)

    def checked(self, value: Any) -> Any:
        """Return a value that Python code gives, as the command would have it; None is the default.
        Raises UserError.
        """
        if value is None:
            return self.default
        if self.multiple:
            return value
        try:
            return self.kind.convert(str(value), None, None)
        except click.BadParameter as error:
            raise UserError(self.name, error.message) from None

    def words(self, value: Any) -> list[str]:
        """Return the words that give this value on a command line, without a password; none for
        the default, and for an address that the environment gives again.
        """
        from_environment = self.address and value == os.environ.get(str(self.envvar))
        if value in (self.default, "") or from_environment:
            return []
        if self.kind is click.BOOL:
            return [self.flag]
        if self.multiple:
            return list(chain.from_iterable((self.flag, each) for each in value))
        text = f"{value:.15g}" if isinstance(value, float) else str(value)
        return [self.flag, masked(text) if self.address else text]


def _option(title: str, help: str, default: Any = None, **attributes: Any) -> Any:
    return field(default=default, metadata={"option": Option(title=title, help=help, **attributes)})


STUDY = "What to run"
BUDGET = "Budget"
FAILURES = "Failures"
DATA = "Data"
PLACES = "Where it is kept"
MACHINES = "Many machines"
EXECUTION = "How it runs"
"""Of options whose default None leaves the choice to the study's record, or to the machine."""


@dataclass(frozen=True)
class SweepOptions:
    """The study to run, and the options of `vaeexp sweep`: as the user gave them, else the
    defaults.
    """

    study: str | Path | Mapping[str, Any]
    _: KW_ONLY
    name: str | None = _option(
        STUDY,
        "Keep it under another name, as a study of its own.",
        brief=True,
        shown="the study's own",
        metavar="NAME",
    )
    overrides: Mapping[str, Any] | tuple[str, ...] = _option(
        STUDY,
        "Change one setting of the study file, as epochs=5 or search.beta.low=0.1. Repeatable.",
        (),
        brief="Change a setting, as epochs=5 or search.beta.low=0.1.",
        flag="--set",
        multiple=True,
        metavar="KEY=VALUE",
    )
    extend: bool = _option(
        STUDY,
        "Continue a study although its file, its code or the kind of its machine has changed; "
        "trials done so far still count.",
        False,
        brief="Continue a study although its file has changed.",
        recorded=False,
    )
    retry_failed: bool = _option(
        STUDY,
        "Train the trials and repeats that have failed once more, under their configuration and "
        "seed. Each stands in the place of the failed one, so that the budget counts it once. "
        "Corrected code of a network needs --extend, too.",
        False,
        recorded=False,
    )
    trials: int | None = _option(
        BUDGET,
        "Budget in trials, of the whole study.",
        brief=True,
        shown="the study's",
        metavar="N",
    )
    seconds: float | None = _option(
        BUDGET,
        "Budget in time, of the whole study: 90, 90s, 15m or 2h.",
        brief="Budget in time: 90, 90s, 15m or 2h.",
        shown="the study's",
        kind=Duration(),
    )
    max_failures: int = _option(
        FAILURES,
        "Stop after N trials in a row, by number, that fail of the same cause: an error, a "
        "crash, too little memory. Trials that diverge do not count.",
        MAX_FAILURES,
        metavar="N",
    )
    trial_timeout: float | None = _option(
        FAILURES,
        "Fail a trial whose epoch, with what is measured after it, takes longer, or that trains "
        "no batch for so long while it is built, replayed or finished: 90, 90s, 15m or 2h. "
        "Trials that train as one program are stopped together, then run one by one to find the "
        "slow one. What fails depends on this machine's speed, so another run may give another "
        "table.",
        shown="no limit",
        kind=Duration(),
    )
    stop_seconds: float = _option(
        FAILURES,
        "After Ctrl-C or SIGTERM, give workers so long to end the epoch at hand and write "
        "checkpoints. A second Ctrl-C ends at once.",
        STOP_SECONDS,
        kind=Duration(),
    )
    data: str | Path | None = _option(
        DATA,
        "Folder of the official data files, folder of images, or file of arrays.",
        brief="Folder or file with the images.",
        shown="user cache, else download, else the bundled subset",
        kind=click.Path(path_type=Path),
        metavar="PATH",
        envvar="VAEEXP_DATA",
    )
    full_data: bool = _option(
        DATA, "Stop with an error rather than run on the bundled subset.", False
    )
    runs: str | Path = _option(
        PLACES,
        "Folder of runs: MLflow's store, Optuna's journal, weights and pictures.",
        Path("mlruns"),
        kind=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        envvar="VAEEXP_RUNS",
    )
    reports: str | Path = _option(
        PLACES,
        "Folder in which the report is written, as DIR/<study>/report.html and README.md.",
        Path("reports"),
        kind=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
    )
    html: bool = _option(
        PLACES,
        "Write no report.html, which has the report in one file, with all trials and pictures to "
        "look at.",
        True,
        flag="--no-html",
    )
    storage: str | None = _option(
        PLACES,
        "PostgreSQL database of studies, as postgresql+psycopg://user@host/name. Keep its "
        "password out of the command: in ~/.pgpass, or in the environment as PGPASSWORD.",
        shown="a journal file in the runs folder",
        metavar="URL",
        envvar="VAEEXP_STORAGE",
        address=True,
    )
    storage_timeout: float = _option(
        PLACES,
        "Connect again for so long when the connection to the database drops.",
        PATIENCE,
        kind=Duration(),
    )
    take_over: bool = _option(
        PLACES,
        "Take the study in a database from a process that has gone: the command waits "
        f"{SILENCE:g} seconds for its sign of life.",
        False,
        recorded=False,
    )
    tracking: str | None = _option(
        PLACES,
        "MLflow tracking server or store. Keep its password out of the command: in the "
        "environment as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        shown="mlflow.db in the runs folder",
        metavar="URI",
        envvar="VAEEXP_TRACKING",
        address=True,
    )
    engine: str = _option(
        MACHINES,
        "local: workers are processes of this machine; ray: they are actors on a running Ray "
        "cluster that this machine is part of, each with a CPU core or a GPU. The results are "
        "the same.",
        "local",
        kind=click.Choice([*ENGINES]),
    )
    address: str = _option(
        MACHINES,
        "Ray cluster to use. auto: the one that RAY_ADDRESS names or that runs on this machine.",
        "auto",
        metavar="auto|HOST:PORT",
    )
    worker_timeout: float = _option(
        MACHINES,
        "On a Ray cluster, replace a worker that gives no sign of life for so long.",
        60.0,
        kind=Duration(),
    )
    checkpoints: str | None = _option(
        MACHINES,
        "Folder for checkpoints that all machines reach, as s3://bucket/folder or "
        "file:///shared/folder: another machine goes on from them. Without one, it trains the "
        "running trials of a lost machine again where it does not see the runs folder.",
        shown="the runs folder",
        metavar="URL",
        envvar="VAEEXP_CHECKPOINTS",
        address=True,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] | None = _option(
        EXECUTION,
        "Device that trains. auto: cuda if there is one, else mps, else cpu.",
        shown="auto",
    )
    precision: Literal["auto", "float32", "bf16"] | None = _option(
        EXECUTION,
        "Arithmetic of training; evaluation is always float32. auto: bf16 where the processor "
        "has it.",
        shown="auto",
    )
    lanes: int | Literal["auto"] | None = _option(
        EXECUTION,
        "Trials at once, of all workers together. auto: a few numbers are tried and the fastest "
        "is taken.",
        shown="2 for each worker on cpu, auto elsewhere",
        kind=OrAuto(click.IntRange(min=1)),
        metavar="N|auto",
    )
    workers: int | Literal["auto"] | None = _option(
        EXECUTION,
        "Processes that train. auto: one per device, or per CPU core.",
        shown="auto",
        kind=OrAuto(click.IntRange(min=1)),
        metavar="N|auto",
    )
    threads: int | None = _option(
        EXECUTION,
        "CPU threads of a worker. More help where a machine has more cores than there are lanes; "
        "they may change the last bits.",
        shown="1",
        metavar="N",
    )
    fuse: Literal["auto", "on", "off"] | None = _option(
        EXECUTION,
        "on: the trials of a worker train as one program; off: one after the other. auto: on for "
        "accelerators, off for cpu.",
        shown="auto",
    )
    compile: Literal["auto", "on", "off"] | None = _option(
        EXECUTION,
        "on: each training step is compiled, which takes half a minute at the start. auto: on "
        "where the study is long enough for this processor.",
        shown="auto",
    )
    resident_mb: float | Literal["auto"] | None = _option(
        EXECUTION,
        "Training images beyond this size stay on disk and stream to the device. The results are "
        "the same.",
        shown="half of an accelerator's free memory",
        kind=OrAuto(click.FloatRange(min=0)),
        metavar="MB",
    )
    checkpoint_seconds: float | None = _option(
        EXECUTION,
        "Training between two checkpoints of a trial: 90, 90s or 15m. A study that is killed "
        "repeats at most this much, a stopped one nothing.",
        shown=f"{CHECKPOINT_SECONDS:g}",
        kind=Duration(),
    )

    @classmethod
    def checked(cls, study: str | Path | Mapping[str, Any], **given: Any) -> "SweepOptions":
        """Return what Python code gives, checked as the command checks it. Raises UserError, which
        names the option.
        """
        for name in given:
            if name not in OPTIONS:
                raise UserError(name, f"is no option of a sweep. {did_you_mean(name, OPTIONS)}")
        return cls(study, **{name: OPTIONS[name].checked(value) for name, value in given.items()})

    @property
    def execution(self) -> dict[str, Any]:
        """The options that were given of those that say how a study is executed."""
        values = {
            name: getattr(self, name)
            for name, option in OPTIONS.items()
            if option.title == EXECUTION
        }
        return {name: value for name, value in values.items() if value is not None}

    def words(self, *, budget: bool = True) -> Iterator[str]:
        """Yield the words after `sweep` that continue the study, with `***` in place of passwords;
        without its budget if not `budget`.
        """
        yield str(self.study)
        for name, option in OPTIONS.items():
            if option.recorded and (budget or option.title != BUDGET):
                yield from option.words(getattr(self, name))


PLACELESS = ("completion", "init", "slurm")
"""Commands without `--runs`."""
TRACKED = ("doctor", "report", "sweep", "sync", "ui")
"""Commands that messages name and that take `--tracking`."""


def usual_runs() -> Path:
    """Return the runs folder of a command that names none."""
    return Path(os.environ.get("VAEEXP_RUNS", "mlruns"))


class Places(NamedTuple):
    """Where studies are kept."""

    runs: Path
    storage: str | None = None
    tracking: str | None = None
    """MLflow's store."""

    @property
    def store(self) -> str:
        """The storage in words."""
        return masked(self.storage or str(self.runs))

    def command(self, name: str, words: str = "") -> str:
        """Return a command on these places, started as here, with the options that are neither
        default nor in the environment or its `words`.
        """
        given: dict[str, str] = {}
        if name not in PLACELESS and "--runs" not in words and "--storage" not in words:
            if self.runs != usual_runs():
                given["runs"] = str(self.runs)
            if self.storage and name != "ui":
                given["storage"] = self.storage
        if self.tracking and name in TRACKED and "--tracking" not in words:
            given["tracking"] = self.tracking
        options = list[str]()
        for option, place in given.items():
            if place != os.environ.get(f"VAEEXP_{option.upper()}"):
                options += [f"--{option}", shlex.quote(masked(place))]
        return " ".join([program(), name + words, *options])

    def typeable(self, text: str) -> str:
        """Return a message in which each `vaeexp …` between backticks can be typed as it stands."""
        # `vaeexp sweep` alone is its name.
        return re.sub(
            "`vaeexp (?!sweep`)([a-z]+)([^`]*)`",
            lambda match: f"`{self.command(*match.groups())}`",
            text,
        )


def _kind(annotation: Any, kind: click.ParamType) -> click.ParamType:
    """Return the kind of an option's values by the type of its field; `kind` for a type that says
    too little.
    """
    types = [part for part in get_args(annotation) or (annotation,) if part is not NoneType]
    if get_origin(annotation) is Literal:
        types = [annotation]
    if get_origin(types[0]) is Literal:
        return click.Choice(get_args(types[0]))
    return (
        {bool: click.BOOL, int: click.IntRange(min=1)}.get(types[0], kind)
        if len(types) == 1
        else kind
    )


def _options() -> Iterator[Option]:
    types = get_type_hints(SweepOptions)
    for each in fields(SweepOptions):
        if option := each.metadata.get("option"):
            flag = option.flag or f"--{each.name.replace('_', '-')}"
            kind = _kind(types[each.name], option.kind)
            yield replace(option, name=each.name, default=each.default, flag=flag, kind=kind)


OPTIONS: Mapping[str, Option] = {option.name: option for option in _options()}
"""Name → option, in the order of the help."""
