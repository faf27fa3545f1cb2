"""The commands archive and restore: a study as one file, and such a file as a study on this
machine.
"""

import platform
import sys
from pathlib import Path

import click

from sweeps import Manifest, UserError, pack_study, restore_study
from vaeexp.commands.options import (
    Places,
    complete_study,
    new_runs_option,
    places_options,
    reports_option,
    storage_option,
)
from vaeexp.machine import describe_machine
from vaeexp.own_code import forget_beginning
from vaeexp.results import stored_study, study_name
from vaeexp.run_files import LOADER, REQUIREMENTS, SETTINGS, TARGETS_LOADER, rename_study
from vaeexp.runs.checks import check_files
from vaeexp.runs.provenance import installed_versions
from vaeexp.words import format_megabytes


@click.command()
@click.argument("study", metavar="STUDY", shell_complete=complete_study)
@click.argument("file", metavar="FILE.tar.zst", type=click.Path(path_type=Path))
@places_options
def archive(*, study: str, file: Path, places: Places) -> None:
    """Write a study into one file.

    The file holds the study's records, weights, pictures and report, versions and machine, and a
    hash of each file. It holds no images, no environment variable and nothing of MLflow, which
    `vaeexp sync` fills again. `vaeexp restore` brings the study back, on any machine.
    """
    name = study_name(study)
    for finding in check_files(places.runs, stored_study(name, places.runs, places.storage)):
        if finding.repair is not None:
            problem = (
                f"{finding.words} First `vaeexp doctor {name} --repair`, which moves the file "
                "aside."
            )
            raise UserError(finding.name, problem)
    # No user, no host, no environment variable. The study's record has its accelerators.
    machine = describe_machine() | {
        "platform": platform.platform(),
        "byte_order": sys.byteorder,
    }
    about = {"versions": installed_versions(), "machine": machine}
    manifest = pack_study(name, file, runs=places.runs, storage=places.storage, about=about)
    click.echo(f"{file}  {name}: {_size(manifest)}, packed {format_megabytes(file.stat().st_size)}")


def _size(manifest: Manifest) -> str:
    return f"{len(manifest.members):,} files, {format_megabytes(manifest.size)}"


@click.command()
@click.argument("file", metavar="FILE.tar.zst", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", show_default="its own", help="Restore the study under another name."
)
@new_runs_option
@reports_option
@storage_option
def restore(
    *, file: Path, name: str | None, runs: Path, reports: Path, storage: str | None
) -> None:
    """Bring a study back from its file.

    `vaeexp archive` writes such files. Every file is checked against its hash before anything is
    put in place, no code of the archive runs, and a study that exists is left alone. The study
    counts as one from elsewhere: to open runs with a network of their own takes --allow-code.
    """

    def adapt(trials: Path, study: str) -> None:
        for settings in trials.glob(f"*/{SETTINGS}"):
            rename_study(settings.parent, study)
        forget_beginning(runs, study)

    restored = restore_study(
        file,
        runs=runs,
        reports=reports,
        storage=storage,
        name=name,
        loaders=dict.fromkeys((LOADER, TARGETS_LOADER), REQUIREMENTS),
        adapt=adapt,
    )
    manifest = restored.manifest
    name = restored.stored.study.name
    count = len(restored.stored.runs)
    click.echo(f"{name}: {count:,} trials and repeats, {_size(manifest)}, in {runs}")
    if restored.report:
        click.echo(f"Its report: {restored.report}")
    if restored.study_file:
        click.echo(f"Its study file: {restored.study_file}. Read it before you run it.")
    following = f"`vaeexp doctor {name}` checks it, `vaeexp sync {name}` brings it to MLflow."
    click.echo(f"Next: {Places(runs, storage).typeable(following)}")
