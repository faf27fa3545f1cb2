"""The command slurm: a study as one Slurm job that returns to the queue until the study is done."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sweeps.errors import UserError, masked
from sweeps.files import write_whole
from sweeps.names import check_name
from vaeexp.commands.options import Duration, TitledCommand, titled
from vaeexp.commands.sweep import sweep
from vaeexp.console import open_console, program, write_line
from vaeexp.study import open_study_file

LEAD = 180
"""Seconds before the time limit at which Slurm tells the job to stop; Slurm may be a minute early."""
_STOP = 120
"""Seconds of these for the workers to end the epoch at hand and write checkpoints; the rest is for the driver."""
_SHORTEST = 900
_NAMES = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FURTHER = r"""[a-z][a-z-]*(=[^\s"'\\#]+)?"""
_NEVER = {"array", "chdir", "export", "no-requeue", "wrap"}
"""Options of sbatch with which the script would not do what it says."""
_OF_THE_SCRIPT = ("engine", "address", "take_over", "dry_run")


class _Text(click.ParamType):
    """A text that a line `#SBATCH` takes as it is."""

    name = "text"

    def __init__(self, pattern: str, wanted: str) -> None:
        self._pattern, self._wanted = re.compile(pattern, re.ASCII), wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is not {self._wanted}.", param, ctx)
        return value


class _TimeLimit(click.ParamType):
    """A time as Slurm writes it, `8:00:00` or `1-12:00:00`, or with units, `8h`; converted to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if match := re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", value, re.ASCII):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        elif re.search("[a-z]", value):
            total = int(Duration().convert(value, param, ctx))
        else:
            problem = "Give 8:00:00, 1-12:00:00 or 8h; Slurm would read a number as minutes, and vaeexp as seconds."
            self.fail(f"'{value}' is not a time with hours, minutes and seconds. {problem}", param, ctx)
        if total < _SHORTEST:
            self.fail(f"'{value}' is too short for a job that starts and stops; give at least 15m.", param, ctx)
        return total


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a batch script asks of Slurm, and what it runs."""

    study: str
    """Name of the study."""
    nodes: int
    gpus_per_node: str | None
    """Number, or kind and number as `a100:8`."""
    cpus_per_node: int | None
    time: int
    """Seconds."""
    partition: str | None
    account: str | None
    further: Sequence[str]
    """Options of sbatch without their dashes."""
    sweep: Sequence[str]
    """Words after `vaeexp sweep`."""
    in_database: bool
    """Whether these words name a database; else the variable VAEEXP_STORAGE may."""
    folder: Path
    """The job runs here."""
    environment: Sequence[str]
    """Variables that the command found, and the job must have."""

    def script(self) -> str:
        """Return the batch script."""
        parts = [self._head(), self._start(), _CLUSTER if self.nodes > 1 else "", self._run(), _END]
        return "\n".join(part for part in parts if part)

    def _head(self) -> str:
        lines = [
            "#!/bin/bash",
            f"# Trains the study {self.study} until it is done: before its time limit the job stops the study and returns to the queue.",
            "# `vaeexp slurm` wrote this file.",
        ]
        return "\n".join([*lines, *(f"#SBATCH --{option}" for option in self.options())]) + "\n"

    def options(self) -> Iterator[str]:
        """Return the options of sbatch without their dashes."""
        yield f"job-name=vaeexp-{self.study}"
        yield f"nodes={self.nodes}"
        yield "ntasks-per-node=1"
        yield f"time={_slurm_time(self.time)}"
        for name, value in (
            ("partition", self.partition),
            ("account", self.account),
            ("gpus-per-node", self.gpus_per_node),
            ("cpus-per-task", self.cpus_per_node),
        ):
            if value is not None:
                yield f"{name}={value}"
        if self.nodes > 1:
            # Ray takes and ends all of its processes on a node, another job's, too.
            yield "exclusive"
        yield "requeue"
        yield f"signal=B:USR1@{LEAD}"
        yield "open-mode=append"
        yield "output=%x-%j.log"
        yield from self.further

    def _start(self) -> str:
        here = Path(sys.executable).parent
        guards = [f': "${{{name}:?was set when this script was written}}"' for name in self.environment]
        command = ["vaeexp"] if (here / "vaeexp").exists() else [Path(sys.executable).name, "-P", "-m", "vaeexp"]
        word = "--take-over" if self.in_database else "${VAEEXP_STORAGE:+--take-over}"
        take_over = f"${{SLURM_RESTART_COUNT:+{word}}}"
        lines = [
            f"cd {shlex.quote(str(self.folder))} || exit 1",
            f'export PATH={shlex.quote(str(here))}:"$PATH"',
            *guards,
            "# Slurm has ended the former run of a job that it starts again, so that nobody else has the study in its database.",
            f"study=({shlex.join([*command, 'sweep', f'--stop-seconds={_STOP}', *self.sweep])} {take_over})",
        ]
        return "\n".join(lines) + "\n"

    def _run(self) -> str:
        if self.nodes == 1:
            return _ONE_NODE
        cpus = '"$SLURM_CPUS_ON_NODE"' if self.cpus_per_node is None else str(self.cpus_per_node)
        return _NODES.format(nodes=self.nodes, others=self.nodes - 1, cpus=cpus)


_CLUSTER = """\
# A port and a token of this job, because other jobs and other users share the network.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
# Nodes that load Python from a busy file system are late.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
"""
_ONE_NODE = """\
driver() { echo "$job"; }
stopped=
trap 'stopped=yes; kill -TERM "$(driver)"' USR1
"${study[@]}" &
job=$!
"""
_NODES = """\
# The driver runs on the first node, as this script does. It alone gets the signal, because Ray's processes would end at it.
process=$(mktemp)
trap 'rm -f "$process"' EXIT
driver() {{ cat "$process"; }}
stopped=
trap 'stopped=yes; kill -TERM "$(driver)"' USR1
# Not every Slurm ends all that a run of the job has started, and Ray on a node refuses a second Ray.
srun --nodes={nodes} --ntasks={nodes} ray stop --force
# Ray on the other nodes would look for the first node for a minute after the study has ended, so Ray is ended there. By force, because
# `ray start` waits for ever once its processes have ended in order.
on_first_node='
    "${{@:3}}" &
    echo $! > "$1"
    wait $!
    status=$?
    timeout 60 srun --overlap --nodes={others} --ntasks={others} --exclude="$2" --cpu-bind=none ray stop --force
    exit $status
'
# The study goes on without a node whose processes end.
srun --nodes={nodes} --ntasks={nodes} --cpu-bind=none --kill-on-bad-exit=0 --wait=0 \\
    ray symmetric-run --address "$head:$port" --min-nodes {nodes} --num-cpus={cpus} -- \\
    bash -c "$on_first_node" study "$process" "$head" "${{study[@]}}" --engine ray --address "$head:$port" &
job=$!
"""
_END = """\
wait "$job"
status=$?
# The signal ends the wait. The driver needs seconds to end; Ray's processes may need longer.
if [ -n "$stopped" ]; then
    while kill -0 "$(driver)" 2>/dev/null; do sleep 1; done
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


@click.command(cls=TitledCommand, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="STUDY [OPTION OF SWEEP]...")
@titled(
    "What to ask of Slurm",
    click.option(
        "--nodes",
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        help="Machines. Several form a Ray cluster for the job, and each is the job's alone.",
    ),
    click.option(
        "--gpus-per-node",
        type=_Text(r"(?:[A-Za-z][A-Za-z0-9._-]*:)?[1-9][0-9]*", "a number of GPUs, as 8 or a100:8"),
        metavar="N",
        show_default="none, training on CPUs",
        help="GPUs of each node, as 8 or a100:8.",
    ),
    click.option(
        "--cpus-per-node",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="Slurm's for one node, all for several",
        help="CPU cores of each node.",
    ),
    click.option(
        "--time",
        type=_TimeLimit(),
        metavar="TIME",
        required=True,
        help="Time limit of one run of the job: 8:00:00, 1-12:00:00 or 8h. A study that takes longer goes on in the job's next run.",
    ),
    click.option(
        "--partition",
        type=_Text(rf"{_NAMES}(?:,{_NAMES})*", "the name of a partition, or several with commas"),
        metavar="NAME",
        show_default="Slurm's",
        help="Partition, or several with commas.",
    ),
    click.option(
        "--account",
        type=_Text(_NAMES, "the name of an account"),
        metavar="NAME",
        show_default="Slurm's",
        help="Account that pays.",
    ),
    click.option(
        "--sbatch",
        "further",
        type=_Text(_FURTHER, "an option of sbatch without its dashes, as qos=high"),
        metavar="OPTION",
        multiple=True,
        help="Further option of sbatch without its dashes, as qos=high or mem=64G. Repeatable.",
    ),
)
@click.option(
    "--script",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    show_default="./STUDY.sbatch",
    help="File to write. A file with other content is never replaced.",
)
@click.option("--submit", is_flag=True, help="Submit the script, too.")
def slurm(*, arguments: tuple[str, ...], script: Path | None, submit: bool, **asked: Any) -> None:
    """Write a study as a Slurm job, or submit it.

    The job runs `vaeexp sweep` with all options of that command that are given here. Before its time limit the study stops, and the job returns to the queue, until the study is done.
    """
    context = _understood(arguments)
    study = _study_name(context.params)
    _check_sweep(context)
    words = [*arguments]
    if asked["gpus_per_node"] and context.get_parameter_source("device") is ParameterSource.DEFAULT:
        words += ["--device", "cuda"]  # a node whose GPU is broken must not train on its CPU
    named = context.get_parameter_source("storage") is ParameterSource.COMMANDLINE
    environment = _from_environment(context)
    job = Job(study=study, sweep=words, folder=Path.cwd(), environment=environment, in_database=named, **asked)
    _check_further(job)
    if job.nodes > 1 and not Path(sys.executable).with_name("ray").exists():
        raise UserError("--nodes", f"got {job.nodes}; several nodes need Ray. Try: pip install 'vaeexp[ray]'.")
    path = script or Path(f"{study}.sbatch")
    _write(path, job.script())
    console = open_console()
    if submit:
        number = _submit(path)
        write_line(console, f"{path} is submitted as job {number}. Its lines: vaeexp-{study}-{number}.log")
        write_line(console, f"Watch it: {program()} status {study} --watch. End it: scancel {number}")
    else:
        write_line(console, f"{path} is written. Submit it: sbatch {shlex.quote(str(path))}")


def _understood(arguments: Sequence[str]) -> click.Context:
    """Return what the command sweep makes of these words. Raises as that command does."""
    return sweep.make_context("sweep", [*arguments], parent=click.get_current_context().parent)


def _study_name(given: Mapping[str, Any]) -> str:
    """Check the study file; return the name under which the study is kept."""
    if given["study"] and given["named"]:
        raise click.UsageError(f"--study: got '{given['named']}' besides '{given['study']}'; give one study.")
    if not (wanted := given["study"] or given["named"]):
        raise click.UsageError("Missing argument 'STUDY'. `vaeexp studies` lists the studies at hand.")
    study = open_study_file(wanted, overrides=given["overrides"])
    return check_name(given["name"], "--name") if given["name"] is not None else study.name


def _check_sweep(context: click.Context) -> None:
    """Raise UserError for options of sweep that the script sets itself, and for passwords, which a script would show."""
    for name in _OF_THE_SCRIPT:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UserError(f"--{name.replace('_', '-')}", "is not for a Slurm job; the script says where workers run.")
    for name in ("storage", "tracking", "checkpoints"):
        address = context.params[name]
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and masked(address) != address:
            problem = f"got {masked(address)}; the script would show the password. Put the address into VAEEXP_{name.upper()}."
            raise UserError(f"--{name}", problem)


def _check_further(job: Job) -> None:
    """Raise UserError for options of sbatch that the script sets itself, or that it cannot bear."""
    own = {option.partition("=")[0] for option in replace(job, further=()).options()}
    for option in job.further:
        if (name := option.partition("=")[0]) in own | _NEVER:
            raise UserError("--sbatch", f"got {option}; the script sets --{name} itself, or would not work with it.")


def _from_environment(context: click.Context) -> list[str]:
    """Return the variables that stood for options of sweep."""
    return [
        str(parameter.envvar)
        for parameter in context.command.params
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.ENVIRONMENT
    ]


def _slurm_time(seconds: int) -> str:
    """Return a time as Slurm writes it: `1-12:00:00`."""
    days, rest = divmod(seconds, 86400)
    return f"{f'{days}-' if days else ''}{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"


def _write(path: Path, text: str) -> None:
    try:
        if path.exists() and path.read_bytes() != text.encode():
            raise UserError(str(path), "exists with other content. Remove it, or name another file with --script.")
        write_whole(path, lambda unfinished: unfinished.write_bytes(text.encode()))
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error}.") from None


def _submit(path: Path) -> str:
    """Submit a script; return the job's number."""
    try:
        done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    except OSError:
        problem = f"sbatch cannot be run here. Give it on a login node of the cluster: sbatch {path}"
        raise UserError("--submit", problem) from None
    if done.returncode:
        raise UserError("sbatch", " ".join(done.stderr.split()))
    return done.stdout.strip().partition(";")[0]
