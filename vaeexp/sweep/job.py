"""A sweep before it starts: what the command line gave, read, resolved and checked, with nothing written yet."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError, masked
from sweeps.tracking.mlflow_store import tracking_uri
from vaeexp.console import write_line
from vaeexp.data import Dataset, open_dataset
from vaeexp.settings import Settings
from vaeexp.study import binarisations, largest, open_study_file, settings_of
from vaeexp.training.device import resolve_device

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.study.study_file import Study


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What the command line gives."""

    study: str
    name: str | None = None
    overrides: tuple[str, ...] = ()
    trials: int | None = None
    seconds: float | None = None
    data: Path | None = None
    full_data: bool = False
    runs: Path = Path("mlruns")
    reports: Path = Path("reports")
    storage: str | None = None
    tracking: str | None = None
    execution: Mapping[str, Any] = field(default_factory=dict)
    extend: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sweep with all that can be wrong about it checked, and nothing written yet."""

    options: SweepOptions
    study: "Study"
    settings: Settings
    datasets: Mapping[str, Dataset]
    """By binarisation, that of the search first."""
    console: "Console"

    @property
    def dataset(self) -> Dataset:
        """What the search trains on."""
        return self.datasets[self.settings.data.binarisation]

    def command(self, *, budget: bool = True, program: str = "vaeexp") -> str:
        """The command that continues this study, `***` in place of passwords; `budget` False leaves out what it may spend.

        An address that the environment gives is left out, because the environment will give it again.
        """
        options = self.options
        words = ["sweep", options.study]
        words += ["--name", options.name] if options.name else []
        for override in options.overrides:
            words += ["--set", override]
        if budget:
            words += ["--trials", str(options.trials)] if options.trials else []
            words += ["--seconds", f"{options.seconds:g}"] if options.seconds else []
        words += ["--data", str(options.data)] if options.data else []
        words += ["--full-data"] if options.full_data else []
        words += ["--runs", str(options.runs)] if options.runs != Path("mlruns") else []
        words += ["--reports", str(options.reports)] if options.reports != Path("reports") else []
        for flag, address in (("--storage", options.storage), ("--tracking", options.tracking)):
            if address and address != os.environ.get(f"VAEEXP_{flag[2:].upper()}"):
                words += [flag, masked(address)]
        for name, value in options.execution.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return f"{program} {shlex.join(words)}"


def prepare_job(options: SweepOptions, console: "Console") -> Job:
    """Check what was given, from the cheapest to the dearest. Raises UserError."""
    overrides = list(options.overrides)
    overrides += [f"budget.trials={options.trials}"] if options.trials else []
    overrides += [f"budget.seconds={options.seconds}"] if options.seconds else []
    study = open_study_file(options.study, overrides=overrides, name_as=options.name)
    for folder, flag in ((options.runs, "--runs"), (options.reports, "--reports")):
        _check_writable(folder, flag)
    tracking_uri(options.tracking)
    resolve_device(options.execution.get("device", "auto"))
    settings = settings_of(study)
    datasets: dict[str, Dataset] = {}
    for binarisation in binarisations(study):
        datasets[binarisation] = open_dataset(
            settings.with_params({"binarisation": binarisation}).data,
            root=options.data,
            full_data=options.full_data,
            # What is said about the files is the same for all.
            say=_quiet if datasets else lambda text: write_line(console, text, style="yellow"),
        )
    dataset = datasets[settings.data.binarisation]
    _check_batches(study, dataset)
    # Whether the networks fit is known only now that the images are.
    open_study_file(options.study, overrides=overrides, image_shape=dataset.image_shape)
    return Job(options=options, study=study, settings=settings, datasets=datasets, console=console)


def _quiet(text: str) -> None: ...


def _check_writable(folder: Path, flag: str) -> None:
    there = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    if not there.is_dir():
        raise UserError(flag, f"'{folder}' cannot be a folder: '{there}' is a file. Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(flag, f"'{folder}' cannot be written: no permission for '{there}'. Choose another folder.")


def _check_batches(study: "Study", dataset: Dataset) -> None:
    batch = largest(study, "batch_size")
    if batch > dataset.sizes[0]:
        raise UserError(
            f"{study.path}: train.batch_size",
            f"{batch} is more than the {dataset.sizes[0]:,} training images; give at most that.",
        )
