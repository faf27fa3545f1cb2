"""Two searches of one real study side by side, each with half of the processor: the earlier default
and the present one.

    PYTHONPATH=. python benchmarks/search/live_searches.py --data FOLDER --out ../live
        run what is missing, then draw
    PYTHONPATH=. python benchmarks/search/live_searches.py --data FOLDER --out ../live --no-run
        draw what is there

`spaces/live.yaml` is the study. Each of three seeds has both searches at once, four lanes and one
thread each, until each has trained 900 trial-epochs; then each trains its best configuration again
with three fresh seeds and tests these. A stopped command goes on.

`live.md` is a row for each search, `live.png` the best objective on validation images and, of the
best trial that is complete, the −ELBO on test images (no search saw them; a step falls when such a
trial ends), against trial-epochs and against minutes. A pause of more than a minute between two
epochs is a stop of the command, and counts as a minute.
"""

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from table import markdown

from sweeps.results.statistics import mean_interval
from sweeps.state.state import State
from vaeexp.plots.style import framed, line_style, new_figure, save, side_legend, style_axes
from vaeexp.results import stored_study
from vaeexp.runs.run import evaluate_run, open_images, open_run

SEARCHES = {
    "tpe + median": [
        "sampler=tpe",
        "pruner.name=median",
        "pruner.startup_trials=8",
        "pruner.warmup_epochs=5",
    ],
    "curves + promotion": ["sampler=curves", "pruner=promotion"],
}
"""Search → settings of the study; those of median are what `beta_mnist` had."""
SEEDS = (0, 1, 2)
_STUDY = Path(__file__).resolve().parent / "spaces" / "live.yaml"
_STOP = 60.0
"""Seconds between two epochs that are a stop of the command."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a search went, epoch by epoch: arrays [E]."""

    minutes: np.ndarray
    validation: np.ndarray
    """Least −ELBO so far of any trial on validation images, nats."""
    test: np.ndarray
    """−ELBO on test images of the complete trial that is best on validation images so far, nats;
    NaN before there is one.
    """
    confirmed: Sequence[float]
    """−ELBO on test images of the best configuration, trained again with fresh seeds, nats."""
    trials: int
    complete: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("VAEEXP_DATA"), help="folder with MNIST's files"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/live"))
    parser.add_argument("--no-run", action="store_true", help="draw what is there")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data: got nothing; must name the folder of MNIST's files.")
    runs = options.out.resolve() / "runs"
    if not options.no_run:
        for seed in SEEDS:
            search_side_by_side(seed, options.data, options.out.resolve())
    torch.set_num_threads(1)
    found = {
        (search, seed): course(name_of(search, seed), runs, options.data)
        for search in SEARCHES
        for seed in SEEDS
        if (runs / "journal" / f"{name_of(search, seed)}.log").exists()
    }
    text = report(found)
    (options.out / "live.md").write_text(text + "\n", encoding="utf-8")
    draw(found, options.out / "live.png")
    print(text)


def name_of(search: str, seed: int) -> str:
    """Return the name of the study of a search."""
    return f"live_{search.split()[-1]}_{seed}"


def search_side_by_side(seed: int, data: Path, out: Path) -> None:
    """Run all searches of a seed at once, each in a process of one thread. Raises RuntimeError when
    one of them fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = []
    for search, settings in SEARCHES.items():
        name = name_of(search, seed)
        command = [
            sys.executable,
            "-m",
            "vaeexp",
            "sweep",
            str(_STUDY),
            "--name",
            name,
            "--data",
            str(data),
        ]
        command += ["--lanes", "4", "--workers", "1", "--threads", "1", "--set", f"seed={seed}"]
        command += [word for setting in settings for word in ("--set", setting)]
        command += ["--runs", str(out / "runs"), "--reports", str(out / "reports")]
        with (out / f"{name}.txt").open("a", encoding="utf-8") as log:
            started.append((name, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)))
    if failed := [name for name, process in started if process.wait()]:
        raise RuntimeError(f"{', '.join(failed)}: failed; {out} has what they printed")


def course(study: str, runs: Path, data: Path) -> Course:
    """Read how a search went, and test the trials that were the best complete ones for a while."""
    stored = stored_study(study, runs, None)
    epochs = sorted(
        (trial.round_of(epoch.epoch), trial.number, epoch.at or 0.0, epoch.objective)
        for trial in stored.trials
        for epoch in trial.epochs
    )
    rounds, _, at, objectives = (np.array(column) for column in zip(*epochs, strict=True))
    test = np.full(len(epochs), math.nan)
    for round_, value in _tested(stored, runs, data):
        test[np.searchsorted(rounds, round_, side="right") :] = value
    begun = min(trial.started for trial in stored.trials if trial.started)
    return Course(
        minutes=np.cumsum(np.clip(np.diff(at, prepend=begun), 0.0, _STOP)) / 60,
        validation=np.minimum.accumulate(objectives),
        test=test,
        confirmed=[
            run.results["test/neg_elbo"] for run in stored.repeats if "test/neg_elbo" in run.results
        ],
        trials=len(stored.trials),
        complete=sum(trial.state == "complete" for trial in stored.trials),
    )


def _tested(stored: State, runs: Path, data: Path) -> list[tuple[int, float]]:
    """Return the rounds in which a trial ended that is better than all complete ones before, and
    its −ELBO on test images.
    """
    complete = sorted(
        (trial.ended_round or 0, trial.number, trial.outcome.objective)
        for trial in stored.trials
        if trial.state == "complete" and trial.outcome and trial.outcome.objective is not None
    )
    found: list[tuple[int, float]] = []
    least = math.inf
    for round_, number, objective in complete:
        if objective >= least:
            continue
        least = objective
        run = open_run(f"{stored.study.name}/{number}", runs)
        images = open_images(run, data, same=True, say=print)
        figures = evaluate_run(run, images, importance_samples=1, device="cpu", say=print)[
            "figures"
        ]
        found.append((round_, figures["test/neg_elbo"]))
    return found


def report(found: dict[tuple[str, int], Course]) -> str:
    """Return a row for each search and seed as Markdown."""
    rows = []
    for (search, seed), one in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        confirmed = "–"
        if len(one.confirmed) > 1:
            mean = mean_interval(one.confirmed)
            confirmed = f"{mean.mean:.2f} ({mean.low:.2f}–{mean.high:.2f})"
        third, least = len(one.validation) // 3, one.validation[-1]
        counts = [
            f"{one.trials}",
            f"{one.complete}",
            f"{len(one.validation)}",
            f"{one.minutes[-1]:.0f}",
        ]
        rows.append(
            [f"{seed}", search, *counts, f"{one.validation[third]:.2f}", f"{least:.2f}", confirmed]
        )
    head = [
        "seed",
        "search",
        "trials",
        "complete",
        "epochs",
        "minutes",
        "best after a third",
        "best",
        "test −ELBO, n = 3",
    ]
    return markdown(head, rows, texts=2)


def draw(found: dict[tuple[str, int], Course], path: Path) -> None:
    """Draw the best −ELBO of all searches against trial-epochs and against minutes, on validation
    and on test images.
    """
    figure = new_figure(height=7.0)
    panels = figure.subplots(2, 2, sharey="row", sharex="col")
    for (row, what), (column, along) in [
        (row, column)
        for row in enumerate(("validation", "test"))
        for column in enumerate(("trial-epochs", "minutes"))
    ]:
        axes = panels[row, column]
        style_axes(axes, x=along if row else "", y="" if column else f"best −ELBO, {what}, nats")
        for (search, _), one in found.items():
            x = np.arange(1, len(one.validation) + 1) if along == "trial-epochs" else one.minutes
            first = not any(line.get_label() == search for line in axes.lines)
            style = line_style(list(SEARCHES).index(search))
            axes.plot(
                x,
                getattr(one, what),
                drawstyle="steps-post",
                label=search if first else "_",
                **style,
            )
        values = np.concatenate([getattr(one, what) for one in found.values()])
        least = np.nanmin(values)
        axes.set_ylim(least - 0.5, least + 15)
    side_legend(panels[0, 1])
    save(framed(figure, "Best −ELBO of three searches by each rule"), path)


if __name__ == "__main__":
    main()
