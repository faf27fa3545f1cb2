"""The command slurm: a study as one Slurm job that returns to the queue until the study is done."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import click
from click.core import ParameterSource

from sweeps import UserError, masked
from vaeexp.commands.options import one_study
from vaeexp.commands.sweep import sweep
from vaeexp.console import open_console, write_line
from vaeexp.launch.definition import study_opener
from vaeexp.launch.options import OPTIONS, Places, SweepOptions


def batch_script(
    study: str, options: Sequence[str], words: Sequence[str], variables: Sequence[str] = ()
) -> str:
    """Return the template `slurm.sbatch`, filled in.

    Args:
        study: name of the study.
        options: of sbatch, without their dashes.
        words: what follows `vaeexp sweep`.
        variables: of the environment, which stand for options of sweep; the job must have them.
    """
    values = {
        "STUDY": study,
        "SBATCH": "\n".join(f"#SBATCH --{option}" for option in options),
        "FOLDER": shlex.quote(str(Path.cwd())),
        "VARIABLES": "\n".join(
            f': "${{{name}:?was set when this script was written}}"' for name in variables
        ),
        "PYTHON": shlex.quote(sys.executable),
        "SWEEP": shlex.join(words),
    }
    template = files("vaeexp.commands").joinpath("slurm.sbatch").read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda match: values[match[1]], template)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="STUDY [OPTION OF SWEEP]...")
@click.option(
    "--time",
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
    context = sweep.make_context("sweep", [*arguments])
    _refuse_passwords(context)
    given = context.params
    named = one_study(given["study"], given["named"])
    wanted = SweepOptions(str(named), **{each: given[each] for each in OPTIONS})
    study = study_opener(wanted)()
    name = wanted.name or study.name
    if nodes > 1 and not Path(sys.executable).with_name("ray").exists():
        raise UserError(
            "--nodes", f"got {nodes}; several nodes need Ray. Try: pip install 'vaeexp[ray]'."
        )
    options = [f"nodes={nodes}", f"time={time}", *further]
    if nodes > 1:
        # Ray takes and ends all of its processes on a node, another job's, too.
        options.append("exclusive")
    path = script or Path(f"{name}.sbatch")
    console = open_console()
    variables = [
        str(option.envvar)
        for each, option in OPTIONS.items()
        if context.get_parameter_source(each) is ParameterSource.ENVIRONMENT
    ]
    _write(path, batch_script(name, options, arguments, variables))
    if not submit:
        write_line(console, f"{path} is written. Submit it: sbatch {shlex.quote(str(path))}")
        return
    number = _submit(path)
    write_line(
        console, f"{path} is submitted as job {number}. Its lines: vaeexp-{name}-{number}.log"
    )
    watch = Places(given["runs"], given["storage"]).command("status", f" {name} --watch")
    write_line(console, f"Watch it: {watch}. End it: scancel {number}")


def _refuse_passwords(context: click.Context) -> None:
    """Raise UserError for a password in an address on the command line; a script would show it."""
    for name, option in OPTIONS.items():
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if typed and option.address and masked(address := context.params[name]) != address:
            problem = (
                f"got {masked(address)}; the script would show the password. Put the address into "
                f"{option.envvar}."
            )
            raise UserError(option.flag, problem)


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(
            str(path), "exists with other content. Remove it, or name another file with --script."
        )
    path.write_text(text, encoding="utf-8")


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
