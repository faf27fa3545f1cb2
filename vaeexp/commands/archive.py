"""The commands archive and restore: a study as one file, and such a file as a study on this machine."""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sweeps.archive.pack import pack_study
from sweeps.archive.restore import Restored, restore_study
from sweeps.errors import UserError
from vaeexp.commands.options import (
    complete_study,
    new_runs_option,
    reports_option,
    runs_option,
    storage_option,
    typeable,
)
from vaeexp.machine import describe_machine
from vaeexp.own_code import forget_beginning
from vaeexp.results import stored_study, study_name
from vaeexp.run_files import LOADER, REQUIREMENTS, SETTINGS, rename_study
from vaeexp.runs.checks import check_files
from vaeexp.runs.provenance import installed_versions
from vaeexp.words import format_megabytes


@click.command()
@click.argument("study", metavar="STUDY", shell_complete=complete_study)
@click.argument("file", metavar="FILE.tar.zst", type=click.Path(path_type=Path))
@runs_option
@storage_option
def archive(*, study: str, file: Path, runs: Path, storage: str | None) -> None:
    """Write a study into one file.

    The file holds the study's records, weights, pictures and report, versions and machine, and a hash of each file. It holds no images, no environment variable and nothing of MLflow, which `vaeexp sync` fills again. `vaeexp restore` brings the study back, on any machine.
    """
    name = study_name(study)
    for finding in check_files(runs, stored_study(name, runs, storage)):
        if finding.repair is not None:
            problem = f"{finding.words} First `vaeexp doctor {name} --repair`, which moves the file aside."
            raise UserError(finding.name, problem)
    manifest = pack_study(name, file, runs=runs, storage=storage, about=describe_origin())
    packed = file.stat().st_size
    click.echo(
        f"{file}  {name}: {len(manifest.members):,} files, {format_megabytes(manifest.size)}, packed {format_megabytes(packed)}"
    )


def describe_origin() -> dict[str, Any]:
    """Describe versions and machine for a manifest: no user, no host, no environment variable. The study's record has its accelerators."""
    return {
        "versions": installed_versions(),
        "machine": describe_machine() | {"platform": platform.platform(), "byte_order": sys.byteorder},
    }


@click.command()
@click.argument("file", metavar="FILE.tar.zst", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", show_default="its own", help="Restore the study under another name.")
@new_runs_option
@reports_option
@storage_option
def restore(*, file: Path, name: str | None, runs: Path, reports: Path, storage: str | None) -> None:
    """Bring a study back from its file.

    `vaeexp archive` writes such files. Every file is checked against its hash before anything is put in place, no code of the archive runs, and a study that exists is left alone. The study counts as one from elsewhere: to open runs with a network of their own takes --allow-code.
    """

    def adapt(trials: Path, study: str) -> None:
        for settings in trials.glob(f"*/{SETTINGS}"):
            rename_study(settings.parent, study)
        forget_beginning(runs, study)

    restored = restore_study(
        file, runs=runs, reports=reports, storage=storage, name=name, loaders={LOADER: REQUIREMENTS}, adapt=adapt
    )
    for line in _words(restored, runs):
        click.echo(typeable(line, runs, storage, None))


def _words(restored: Restored, runs: Path) -> list[str]:
    manifest, study = restored.manifest, restored.stored.study.name
    count = len(restored.stored.trials) + len(restored.stored.repeats)
    lines = [
        f"{study}: {count:,} trials and repeats, {len(manifest.members):,} files, {format_megabytes(manifest.size)}, in {runs}"
    ]
    lines += [
        f"Archived by vaeexp {_version(manifest.about)}. Its report: {restored.report or 'none; `vaeexp report` writes it'}"
    ]
    if restored.study_file:
        lines.append(f"Its study file: {restored.study_file}. Read it before you run it.")
    lines.append(f"Next: `vaeexp doctor {study}` checks it, `vaeexp sync {study}` brings it to MLflow.")
    return lines


def _version(about: Mapping[str, Any]) -> str:
    versions = about.get("versions")
    return str(versions.get("vaeexp"))[:40] if isinstance(versions, Mapping) else "of an unknown version"
