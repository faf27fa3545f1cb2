"""The command slurm: a study as one Slurm job that returns to the queue until the study is done."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sweeps import UserError, check_name, masked, write_whole
from vaeexp.commands.options import one_study
from vaeexp.commands.sweep import sweep
from vaeexp.console import open_console, program, write_line
from vaeexp.launch.options import OPTIONS
from vaeexp.study import open_study_file

_TIME = r"(\d+-)?\d+:[0-5]\d:[0-5]\d"
_OPTION = r"""[a-z][a-z-]*(=[^\s"'\\#]+)?"""
_TAKEN = {
    "job-name",
    "nodes",
    "ntasks-per-node",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "time",
}
"""Options of sbatch that the template sets."""
_NEVER = {"array", "chdir", "export", "no-requeue", "wrap"}
"""Options of sbatch with which the script would not do what it says."""


def batch_script(
    study: str,
    options: Sequence[str],
    words: Sequence[str],
    *,
    environment: Sequence[str] = (),
    in_database: bool = False,
) -> str:
    """Return the template `slurm.sbatch`, filled in.

    Args:
        study: name of the study.
        options: of sbatch, without their dashes.
        words: what follows `vaeexp sweep`.
        environment: variables that stand for options of sweep, which the job must have.
        in_database: whether the words name a database; else the variable VAEEXP_STORAGE may.
    """
    here = Path(sys.executable).parent
    command = (
        ["vaeexp"]
        if (here / "vaeexp").exists()
        else [Path(sys.executable).name, "-P", "-m", "vaeexp"]
    )
    values = {
        "STUDY": study,
        "SBATCH": "\n".join(f"#SBATCH --{option}" for option in options),
        "FOLDER": shlex.quote(str(Path.cwd())),
        "PATH": shlex.quote(str(here)),
        "GUARDS": "\n".join(
            f': "${{{name}:?was set when this script was written}}"' for name in environment
        ),
        "TAKE_OVER": "--take-over" if in_database else "${VAEEXP_STORAGE:+--take-over}",
        "VAEEXP": shlex.join(command),
        "SWEEP": shlex.join(words),
    }
    template = files("vaeexp.commands").joinpath("slurm.sbatch").read_text(encoding="utf-8")
    return re.sub("@([A-Z_]+)@", lambda match: values[match[1]], template)


def _checked_time(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not re.fullmatch(_TIME, value, re.ASCII):
        raise click.BadParameter(
            f"got '{value}'; must be hours, minutes and seconds as 8:00:00 or 1-12:00:00."
        )
    return value


def _checked_options(
    ctx: click.Context, param: click.Parameter, value: Sequence[str]
) -> Sequence[str]:
    for option in value:
        if not re.fullmatch(_OPTION, option, re.ASCII):
            raise click.BadParameter(
                f"got {option!r}; must be an option of sbatch without its dashes, as qos=high."
            )
        if (name := option.partition("=")[0]) in _TAKEN | _NEVER:
            raise click.BadParameter(
                f"got {option}; the script sets --{name} itself, or would not work with it."
            )
    return value


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="STUDY [OPTION OF SWEEP]...")
@click.option(
    "--time",
    callback=_checked_time,
    metavar="TIME",
    required=True,
    help="Time limit of one run of the job, as 8:00:00 or 1-12:00:00. A study that takes longer "
    "goes on in the job's next run.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Machines. Several form a Ray cluster for the job, and each is the job's alone.",
)
@click.option(
    "--sbatch",
    "further",
    callback=_checked_options,
    metavar="OPTION",
    multiple=True,
    help="Further option of sbatch without its dashes, as gpus-per-node=8, cpus-per-task=32, "
    "partition=gpu or account=lab. Repeatable.",
)
@click.option(
    "--script",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    show_default="./STUDY.sbatch",
    help="File to write. A file with other content is never replaced.",
)
@click.option("--submit", is_flag=True, help="Submit the script, too.")
def slurm(
    *,
    arguments: tuple[str, ...],
    time: str,
    nodes: int,
    further: tuple[str, ...],
    script: Path | None,
    submit: bool,
) -> None:
    """Write a study as a Slurm job, or submit it.

    The job runs `vaeexp sweep` with all options of that command that are given here. Before its
    time limit the study stops, and the job returns to the queue, until the study is done.
    """
    context = sweep.make_context("sweep", [*arguments], parent=click.get_current_context().parent)
    study = _study_name(context.params)
    _check_sweep(context)
    if nodes > 1 and not Path(sys.executable).with_name("ray").exists():
        raise UserError(
            "--nodes", f"got {nodes}; several nodes need Ray. Try: pip install 'vaeexp[ray]'."
        )
    # Ray takes and ends all of its processes on a node, another job's, too.
    options = [f"nodes={nodes}", f"time={time}", *(["exclusive"] if nodes > 1 else []), *further]
    named = context.get_parameter_source("storage") is ParameterSource.COMMANDLINE
    path = script or Path(f"{study}.sbatch")
    _write(
        path,
        batch_script(
            study, options, arguments, environment=_from_environment(context), in_database=named
        ),
    )
    console = open_console()
    if submit:
        number = _submit(path)
        write_line(
            console, f"{path} is submitted as job {number}. Its lines: vaeexp-{study}-{number}.log"
        )
        write_line(
            console, f"Watch it: {program()} status {study} --watch. End it: scancel {number}"
        )
    else:
        write_line(console, f"{path} is written. Submit it: sbatch {shlex.quote(str(path))}")


def _study_name(given: Mapping[str, Any]) -> str:
    """Check the study file; return the name under which the study is kept."""
    study = open_study_file(
        str(one_study(given["study"], given["named"])), overrides=given["overrides"]
    )
    return study.name if given["name"] is None else check_name(given["name"], "--name")


def _check_sweep(context: click.Context) -> None:
    """Raise UserError for options of sweep that the script sets itself, and for passwords, which a
    script would show.
    """
    for name, value in context.params.items():
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        option = OPTIONS.get(name)
        if name == "dry_run" or (option and not option.slurm):
            raise UserError(
                f"--{name.replace('_', '-')}",
                "is not for a Slurm job; the script says where workers run.",
            )
        if option and option.address and masked(value) != value:
            problem = (
                f"got {masked(value)}; the script would show the password. Put the address into "
                f"{option.envvar}."
            )
            raise UserError(f"--{name}", problem)


def _from_environment(context: click.Context) -> list[str]:
    """Return the variables that stood for options of sweep."""
    given = [
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
    ]
    return [str(OPTIONS[name].envvar) for name in given]


def _write(path: Path, text: str) -> None:
    try:
        if path.exists() and path.read_bytes() != text.encode():
            raise UserError(
                str(path),
                "exists with other content. Remove it, or name another file with --script.",
            )
        write_whole(path, lambda unfinished: unfinished.write_bytes(text.encode()))
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error}.") from None


def _submit(path: Path) -> str:
    """Submit a script; return the job's number."""
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False
        )
    except OSError:
        problem = (
            f"sbatch cannot be run here. Give it on a login node of the cluster: sbatch {path}"
        )
        raise UserError("--submit", problem) from None
    if done.returncode:
        raise UserError("sbatch", " ".join(done.stderr.split()))
    return done.stdout.strip().partition(";")[0]
