"""What vaeexp costs besides training: tracking and Optuna, the start of a command, the report of
many trials.

    VAEEXP_DATA=FOLDER python benchmarks/costs.py [--repeats 5] [--trials 8] [--epochs 5]
        [--images 50000] [--report-trials 10000] [--json FILE]

Of a sweep of the study beta_mnist without confirm and compare, in a process and a folder of its own
each time:
- seconds in the lanes (training, validation, pictures), and in all else that the driver does
  between rounds (Optuna's storage, sampler and pruner), by clocks around them, as shares of the
  search;
- wall time with tracking in MLflow and without it, in turn (pictures are drawn either way), the
  processor time of the process that writes to MLflow, and its share of the processor time of all
  processes.
Of the command line, on prepared data and with compiled bytecode, after a call that is not counted:
seconds of `vaeexp --help`, and from the start of `vaeexp sweep` to its first validation value,
beside that of a plain loop (a process of vaeexp trains on one core, the loop on all). Then
report_scale.py. Medians.
"""

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from table import child_environment, describe_machine, in_words, markdown, write_json
from values import JournalWatch, read_values

HERE = Path(__file__).resolve().parent
LANES = ("add", "advance", "replay", "finish")
SPENT: Counter[str] = Counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--report-trials", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--one-sweep", choices=("tracked", "untracked"), help="what a child process runs"
    )
    options = parser.parse_args()
    overrides = [
        f"budget.trials={options.trials}",
        f"epochs={options.epochs}",
        f"train_size={options.images}",
    ]
    overrides += ["confirm=null", "compare=null"]
    if options.one_sweep:
        print(json.dumps(one_sweep(overrides, tracked=options.one_sweep == "tracked")))
        return
    machine = describe_machine("cpu")
    sweeps = {"tracked": [], "untracked": []}
    for repeat in range(options.repeats):
        for kind, found in sweeps.items():
            found.append(sweep_in_child(kind, options))
        print(f"sweep {repeat + 1} of {options.repeats} done", file=sys.stderr, flush=True)
    startup = in_turn(
        {
            "vaeexp --help": help_seconds,
            "vaeexp sweep, to the first validation value": lambda: first_value_seconds(
                options.images
            ),
            "the same of a bare loop on all cores": lambda: bare_loop_seconds(options.images),
        },
        options.repeats,
    )
    report = report_at_scale(options.report_trials)
    if options.json:
        write_json(
            options.json,
            {"machine": machine, "sweeps": sweeps, "startup_s": startup, "report": report},
        )
    print(
        f"medians of {options.repeats}; "
        f"{in_words(machine)}\n\n{written(sweeps, startup)}\n\nreport: {report}"
    )


def one_sweep(overrides: list[str], *, tracked: bool) -> dict[str, float]:
    """Run it here, with clocks around its parts; seconds of each."""
    from rich.console import Console

    import sweeps.engine
    import vaeexp.launch.run
    from vaeexp.launch.options import SweepOptions
    from vaeexp.launch.study_log import StudyLog

    mirrors = []
    mirroring = vaeexp.launch.run.mirroring if tracked else no_mirror

    @contextmanager
    def noted(*given: Any, **options: Any) -> Iterator[Any]:
        with mirroring(*given, **options) as mirror:
            mirrors.append(mirror)
            yield mirror

    vaeexp.launch.run.mirroring = noted
    vaeexp.launch.run.WorkerPool = clocked(vaeexp.launch.run.WorkerPool, LANES, "lanes")
    sweeps.engine.search = timed(sweeps.engine.search, "search")
    root = os.environ.get("VAEEXP_DATA")
    started, processor = time.perf_counter(), processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        options = SweepOptions(
            study="beta_mnist",
            overrides=tuple(overrides),
            data=Path(root) if root else None,
            runs=Path(folder) / "mlruns",
            reports=Path(folder) / "reports",
        )
        log = StudyLog(Console(stderr=True))
        vaeexp.launch.run.run_sweep(options, log)
        wall = time.perf_counter() - started
    other = SPENT["search"] - SPENT["lanes"]
    processor = processor_seconds() - processor
    mirror = sum(mirror.state.seconds for mirror in mirrors)
    found = {"wall": wall, **SPENT, "driver": other, "around": wall - SPENT["search"]}
    return found | {"processor": processor, "mirror": mirror, "mirror_share": mirror / processor}


def processor_seconds() -> float:
    """Processor time of the whole machine, which should have nothing else to do: a fork server
    outlives the sweep unseen.
    """
    spent = psutil.cpu_times()
    return spent.user + spent.system


@contextmanager
def no_mirror(*given: Any, **options: Any) -> Iterator[Any]:
    """Takes what `mirroring` takes and does nothing."""
    yield SimpleNamespace(warning=None, state=SimpleNamespace(seconds=0.0))


def timed(function: Callable, name: str) -> Callable:
    """The function with a clock around it; of a generator, around each step."""

    def call(*given: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*given, **options)
        finally:
            SPENT[name] += time.perf_counter() - started

    def each(*given: Any, **options: Any) -> Iterator[Any]:
        following = timed(partial(next, function(*given, **options), None), name)
        while (found := following()) is not None:
            yield found

    return each if inspect.isgeneratorfunction(function) else call


def clocked(kind: type, methods: tuple[str, ...], name: str) -> type:
    """The class with a clock around these methods."""
    return type(
        kind.__name__, (kind,), {method: timed(getattr(kind, method), name) for method in methods}
    )


def sweep_in_child(kind: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one-sweep", kind]
    for name in ("trials", "epochs", "images"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"The sweep failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(measured: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, after one round that compiles the bytecode and warms the disk's cache."""
    rounds = [{name: seconds() for name, seconds in measured.items()} for _ in range(repeats + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in measured}


def help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vaeexp", "--help"],
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def first_value_seconds(images: int) -> float:
    """From the start of the command until the first value stands in the journal; then it is
    stopped. The study is as long as it is, so that its step is compiled; the library is there
    already."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable,
            "-m",
            "vaeexp",
            "sweep",
            "--study",
            "beta_mnist",
            "--runs",
            f"{folder}/mlruns",
        ]
        command += ["--reports", f"{folder}/reports", "--set", f"train_size={images}"]
        watch = JournalWatch(Path(folder) / "mlruns/journal/beta_mnist.log")
        started = time.time()
        process = subprocess.Popen(
            command,
            env=child_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while not watch.values and process.poll() is None:
                time.sleep(0.05)
        finally:
            process.terminate()
            words = process.communicate()[1]
        values = watch.close()
    if not values:
        raise SystemExit(f"The sweep ended without a value:\n{words[-2000:]}")
    return values[0][0] - started


def bare_loop_seconds(images: int) -> float:
    """Until the loop has started, trained one epoch of one trial and validated it."""
    with tempfile.TemporaryDirectory() as folder:
        values = Path(folder) / "values"
        command = [
            sys.executable,
            str(HERE / "race_loops.py"),
            "bare",
            "--trials",
            "1",
            "--epochs",
            "1",
        ]
        command += ["--images", str(images), "--values", str(values), "--folder", folder]
        started = time.time()
        subprocess.run(command, env=child_environment(), stdout=subprocess.DEVNULL, check=True)
        return read_values(values)[0][0] - started


def report_at_scale(trials: int) -> str:
    """The last line of report_scale.py."""
    command = [sys.executable, str(HERE / "report_scale.py"), "--trials", str(trials)]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"report_scale.py failed:\n{done.stderr[-2000:]}")
    return f"{trials:,} trials: {done.stdout.splitlines()[-1]}"


def written(sweeps: dict[str, list[dict[str, float]]], startup: dict[str, list[float]]) -> str:
    """The table, as markdown."""
    median = {
        kind: {part: statistics.median(run.get(part, 0.0) for run in runs) for part in runs[0]}
        for kind, runs in sweeps.items()
    }
    tracked, search = median["tracked"], median["tracked"]["search"]
    parts = {"lanes: training, validation, pictures": "lanes", "Optuna and the driver": "driver"}
    rows = [["search", f"{search:.2f}", "100 %"]]
    rows += [
        [name, f"{tracked[part]:.2f}", f"{tracked[part] / search:.2%}"]
        for name, part in parts.items()
    ]
    rows.append(["start, report, delivery to MLflow", f"{tracked['around']:.2f}", "–"])
    share = f"{tracked['mirror_share']:.1%} of all processes"
    rows.append(
        ["processor time of the process that writes to MLflow", f"{tracked['mirror']:.2f}", share]
    )
    rows += [
        [f"whole sweep, {kind}", f"{found['wall']:.2f}", "–"] for kind, found in median.items()
    ]
    rows += [[name, f"{statistics.median(seconds):.2f}", "–"] for name, seconds in startup.items()]
    return markdown(["what", "seconds", "share of the search"], rows, texts=1)


if __name__ == "__main__":
    main()
