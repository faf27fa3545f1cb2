"""Every number of a report, recomputed from the files beside it by a script that imports nothing of
vaeexp.
"""

import ast
import copy
import math
import random
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recompute_report
from default_studies import default_study
from drawn_studies import bowl, drawn, grown, study, two_objectives
from matplotlib.figure import Figure
from raced_results import raced_results
from recompute_figures import Study
from recompute_files import blocks, read_report
from recompute_report import main, recompute
from recompute_rules import check
from recompute_statements import wrong_values
from recompute_trust import wrong_checks
from report_text import draw_only, report_on
from synthetic_study import (
    SEARCH,
    make_results,
    part,
    study_attributes,
    thin_studies,
    with_baselines,
    write_pictures,
)

from sweeps.results import ranked
from vaeexp.report import chapters

MUTATIONS = 40
"""Numbers of a report that are changed one by one; the seed draws others each time that a report
changes.
"""


def interim():
    full = make_results()
    search = full.trials[~full.trials["repeat"] & (full.trials["number"] < 25)].copy()
    search.loc[search["number"] == 24, ["state", "ended"]] = ["running", float("nan")]
    return part(full, search, study=study_attributes(stopped=None, finished=False))


def strip():
    """A study of β alone on colour images, with squared errors and a baseline of its own."""
    full = make_results(compare=False)
    spec = study_attributes().spec
    spec = spec | {"search": {"beta": SEARCH["beta"]}, "compare": None, "pruner": None}
    spec["model"] = spec["model"] | {"network": "conv", "likelihood": "gaussian", "sigma": 0.707107}
    record = full.study.provenance
    data = record["data"] | {"title": "CIFAR-10", "subset": False, "image_shape": [3, 32, 32]}
    protocol = record["protocol"] | {
        "likelihood": "gaussian, σ² = 0.5 (squared error)",
        "data": "CIFAR-10",
    }
    study = study_attributes(spec=spec, provenance=record | {"data": data, "protocol": protocol})
    kept = full.trials[full.trials["duplicate_of"].isna()]
    results = part(full, kept, study=study)
    others = {"strong": {"title": "β = 10", "at": "best", "seeds": 3, "settings": {"beta": 10.0}}}
    return with_baselines(results, others)


def three_optimizers():
    """A comparison of three values, one of which the search never tried."""
    full = make_results()
    spec = study_attributes().spec
    spec = spec | {
        "search": SEARCH | {"optimizer": {"kind": "choice", "values": ["adam", "adamax", "radam"]}}
    }
    trials = full.trials
    third = trials[
        trials["repeat"] & (trials["params.optimizer"] == "adamax") & trials["pair_ids"].map(bool)
    ].copy()
    third = third.assign(**{"params.optimizer": "radam", "purposes": [("compare",)] * len(third)})
    third["objective"] += np.random.default_rng(1).normal(3, 0.2, len(third))
    third["number"] += 100
    both = pd.concat([trials, third], ignore_index=True)
    results = replace(full, trials=both, study=study_attributes(spec=spec))
    settings = {"prior": "normal", "optimizer": "radam"}
    return with_baselines(
        results, {"radam": {"title": "RAdam", "at": "best", "seeds": 3, "settings": settings}}
    )


def interaction():
    """Adam is better below a learning rate and Adamax above, in every seed."""
    full = make_results()
    trials = full.trials.copy()
    compared = trials["repeat"] & trials["pair_ids"].map(bool)
    middle = trials.loc[compared, "params.learning_rate"].median()
    sign = np.where(trials["params.learning_rate"] > middle, -2.0, 2.0)
    trials["objective"] += np.where(compared & (trials["params.optimizer"] == "adamax"), sign, 0.0)
    more = trials[compared].copy()
    more["number"], more["seed_index"] = more["number"] + 100, more["seed_index"] + 2
    more["pair_ids"] = [
        (f"optimizer:{source}/{seed}",)
        for source, seed in more[["source_trial", "seed_index"]].values
    ]
    more["purposes"] = [("compare",)] * len(more)
    return replace(full, trials=pd.concat([trials, more], ignore_index=True))


def collapsed():
    """The posterior of every trial has collapsed."""
    full = make_results(confirm=False)
    return replace(full, epochs=full.epochs.assign(**{"val/rate": 0.03}))


def warm():
    """β rises over the first three epochs, none of which counts."""
    full, spec = make_results(), study_attributes().spec
    spec = spec | {"train": spec["train"] | {"warmup_epochs": 3.0}, "longest_warmup": 3}
    return replace(full, study=study_attributes(spec=spec))


def seed_lost():
    """A new seed of the best diverged; the runs have FID and MSE."""
    full = with_baselines(make_results())
    trials, epochs, random = full.trials.copy(), full.epochs, np.random.default_rng(2)
    tested = trials["result.test/distortion"].notna()
    for name, value in {"fid": 15.0, "reconstruction_mse": 0.02}.items():
        trials.loc[tested, f"result.test/{name}"] = value * random.normal(1, 0.1, tested.sum())
    best = trials["source_trial"] == ranked(full)["number"].iloc[0]
    confirming = trials["purposes"].map(lambda purposes: "confirm" in purposes)
    lost = trials.index[best & confirming][-1]
    trials.loc[lost, [name for name in trials if name.startswith("result.")]] = math.nan
    ended = ["state", "failure", "message", "objective", "best_epoch", "epochs"]
    trials.loc[lost, ended] = ["failed", "diverged", "loss is not finite", math.nan, math.nan, 3]
    beyond = epochs["repeat"] & (epochs["number"] == trials["number"][lost]) & (epochs["epoch"] > 3)
    return replace(full, trials=trials, epochs=epochs[~beyond])


def came_further():
    """A pruned trial had reached less than any complete one."""
    full = make_results(confirm=False)
    trials, epochs = full.trials.copy(), full.epochs.copy()
    pruned = trials.loc[~trials["repeat"] & (trials["state"] == "pruned"), "number"].iloc[0]
    lower = trials["objective"].min() - 5.0
    at = ~trials["repeat"] & (trials["number"] == pruned)
    shift = lower - trials.loc[at, "objective"].iloc[0]
    trials.loc[at, "objective"] = lower
    epochs.loc[~epochs["repeat"] & (epochs["number"] == pruned), "objective"] += shift
    return replace(full, trials=trials, epochs=epochs)


def hole():
    """Trials with β below 0.1 or above 1 have adamax or a high learning rate, which are bad
    elsewhere, too.
    """
    settings = drawn(80, seed=5)
    values = np.random.default_rng(0).normal(100, 1, 80)
    for number, row in enumerate(settings):
        far = number % 4 == 0
        bad = number // 4 % 2 if far or number % 4 == 1 else None
        row["beta"] = [0.02, 5.0][number // 8 % 2] if far else 0.1 * (1 + number / 10)
        row["optimizer"] = "adamax" if bad == 0 else "adam"
        row["learning_rate"] = 5e-3 if bad == 1 else 3e-4 * (1 + number / 100)
        values[number] += 20 if bad is not None else 0
    return study(settings, values)


THIN = (
    "no trial",
    "nothing recorded",
    "one complete",
    "two complete",
    "all pruned",
    "all failed",
    "one seed, one pair",
)
STATES = {
    "finished": lambda: with_baselines(make_results()),
    "interim": interim,
    "not confirmed": lambda: make_results(confirm=False),
    "collapsed": collapsed,
    "warm-up": warm,
    "came further": came_further,
    "baselines alone": lambda: with_baselines(make_results(confirm=False)),
    "strip": strip,
    "a seed was lost": seed_lost,
    "three optimizers": three_optimizers,
    "interaction": interaction,
    "many trials": lambda: bowl(120),
    "ranges that grew": grown,
    "a hole": hole,
    "the last of a list": lambda: default_study("bound_in_list", 0),
    "two objectives": two_objectives,
    "two objectives, one trial": lambda: two_objectives(1),
    "a change of two trials": lambda: default_study("baseline", 2),
    "race": lambda: with_baselines(raced_results(failing=4)),
    "race of equals": lambda: raced_results(apart=0.0, spread=0.5),
    "race of the different": lambda: raced_results(apart=5.0, spread=0.2),
    "race to the last seed": lambda: raced_results(apart=0.3, spread=8.0),
    "race goes on": lambda: raced_results(apart=0.3, spread=8.0, looks=4),
    "race is won and not done": lambda: raced_results(looks=4),
    "race has begun": lambda: raced_results(looks=2),
    "paused": lambda: default_study("slow", 100),
    "paused, trained late": lambda: default_study(
        "slow", 100, spread=0.2, overrides=("confirm.late=3",)
    ),
    **{name: (lambda name=name: thin_studies()[name]) for name in THIN},
}
ALIKE = (
    "came further",
    "the last of a list",
    "a change of two trials",
    "two objectives, one trial",
    "paused, trained late",
    "race of equals",
    "race of the different",
    "race to the last seed",
    "race goes on",
    "race is won and not done",
)
"""States of which another one has nearly all sentences: slow."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folder of the report of a state, made once.

    Plots are empty, because drawing takes nearly all of the time; those of a thin study are
    missing, so that the report says why.
    """
    made, drawn = {}, {"thin": False}
    plots = {
        chapter: {
            name: replace(plot, make=lambda _: None if drawn["thin"] else Figure(figsize=(1, 1)))
            for name, plot in entries.items()
        }
        for chapter, entries in chapters.CHAPTERS.items()
    }

    def folder(state):
        if state not in made:
            drawn["thin"] = state in THIN
            root, results = tmp_path_factory.mktemp("state"), STATES[state]()
            if state == "finished":
                write_pictures(results, root / "runs")
            made[state] = report_on(results, runs=root / "runs", reports=root / "reports").parent
        return made[state]

    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch, plots)
        yield folder


@pytest.fixture
def folder(folders, request):
    return folders(request.param)


@pytest.mark.parametrize(
    "folder",
    [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in STATES],
    indirect=True,
)
def test_every_number_of_a_report_is_that_of_the_files_beside_it(folder, capsys):
    assert main([str(folder)]) == 0, capsys.readouterr().out
    assert re.search(r"\d+ numbers recomputed, 0 wrong", capsys.readouterr().out)


def test_what_was_tried_with_bad_values_alone_stands_below_plots_and_in_the_tables(folders):
    report = read_report(folders("a hole"))
    holes = [own for own in report.statements if own["id"] == "hole"]
    said = {own["part"]: own for own in holes if own["values"]["parameter"] == "β"}
    assert said.keys() == {"findings", "tables", "plots"}
    assert report.words.count(said["tables"]["text"]) >= 3
    assert "\n#### By β\n" in report.readme
    other = copy.deepcopy(said["plots"])
    other["values"]["shared"][0]["values"]["values"] = ["adam"]
    assert wrong_values(Study(report), [other])


@pytest.mark.parametrize(
    "folder",
    [pytest.param("finished", marks=pytest.mark.slow), "not confirmed", "strip", "two objectives"],
    indirect=True,
)
def test_a_wrong_last_digit_is_found_wherever_it_stands(folder):
    report = read_report(folder)
    study = Study(report)
    chosen = recompute(report, study).checked
    opening = [number for number in chosen if number.chapter == "Answer"]
    draw = random.Random(len(report.readme))
    sample = draw.sample(opening, min(MUTATIONS // 2, len(opening))) + draw.sample(
        chosen, MUTATIONS // 2
    )
    for number in sample:
        digit = report.readme[number.end - 1]
        wrong = (
            f"{report.readme[: number.end - 1]}{(int(digit) + 1) % 10}{report.readme[number.end :]}"
        )
        line = wrong.splitlines()[wrong[: number.start].count("\n")]
        changed = [new for old, new in zip(report.blocks, blocks(wrong), strict=True) if old != new]
        assert check(study, changed).wrong, (report.readme[number.start : number.end], line)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("widened learning rate up to 0.0016 from", "widened learning rate up to 0.0017 from"),
        ("widened layers up to 4 from", "widened layers up to 5 from"),
        ("widened layers up to 4 from trial 36", "widened layers up to 4 from trial 46"),
        ("; the search widened learning rate up to 0.0064 from trial 44 on", ""),
    ],
)
def test_a_range_that_grew_otherwise_is_found(folders, right, wrong):
    report = read_report(folders("ranges that grew"))
    assert right in report.readme
    changed = blocks(report.readme.replace(right, wrong))
    assert check(Study(report), changed).wrong


@pytest.mark.parametrize(
    ("state", "check", "change"),
    [
        (
            "ranges that grew",
            "bounds",
            lambda own: own["statements"][-1]["values"]["end"].update(value=0.0017),
        ),
        ("ranges that grew", "bounds", lambda own: own["statements"].pop()),
        pytest.param(
            "the last of a list",
            "bounds",
            lambda own: own["statements"][0]["values"].update(near=3),
            marks=pytest.mark.slow,
        ),
        (
            "paused",
            "pruner",
            lambda own: own["statements"][0]["values"]["correlation"].update(high=0.99),
        ),
        pytest.param(
            "paused, trained late",
            "pruner",
            lambda own: own["statements"][1]["values"].update(rank=2),
            marks=pytest.mark.slow,
        ),
        ("finished", "on_test", lambda own: own["statements"][-1]["values"]["test"].reverse()),
        ("finished", "seeds", lambda own: own.update(verdict="warning")),
        (
            "finished",
            "on_test",
            lambda own: own["advice"]["values"].update(command="vaeexp sweep beta_mnist"),
        ),
        ("all failed", "levelled_off", lambda own: own.update(advice=None)),
    ],
)
def test_a_check_that_says_otherwise_than_the_tables_is_found(folders, state, check, change):
    report = read_report(folders(state))
    assert wrong_checks(Study(report)) == []
    summary = copy.deepcopy(report.summary)
    change(next(own for own in summary["trust"] if own["id"] == check))
    (problem, *_) = wrong_checks(Study(replace(report, summary=summary)))
    assert problem


@pytest.mark.parametrize(
    ("state", "name", "key"),
    [
        ("race of the different", "race.dropped", "behind"),
        ("race", "race.rule", "pairs"),
        ("finished", "pairs.mean", "p_holm"),
        ("finished", "baseline.unclear", "rate_of_other"),
        ("a seed was lost", "baseline.other", "fid"),
        ("finished", "left.pruned", "count"),
        ("interim", "left.going", "count"),
        ("interim", "notice.interim", "ended"),
        ("interim", "plot.epoch", "epoch"),
        ("a hole", "hole", "trials"),
        ("finished", "plot.importance", "trials"),
        ("finished", "plot.by_run", "trial"),
        ("finished", "table.confirmed_pairs", "pairs"),
        ("finished", "method.beta", "weight"),
        ("strip", "method.scale", "best_weight"),
    ],
)
def test_a_statement_that_says_otherwise_than_the_tables_is_found(folders, state, name, key):
    report = read_report(folders(state))
    said = copy.deepcopy(next(own for own in report.statements if own["id"] == name))
    assert wrong_values(Study(report), [said]) == []
    value = said["values"][key]
    said["values"][key] = (
        {**value, "value": 1.01 * value["value"]} if isinstance(value, dict) else value + 1
    )
    assert wrong_values(Study(report), [said])


def test_seeds_that_failed_stand_before_what_one_gets(folders):
    report = read_report(folders("a seed was lost"))
    (said,) = [own for own in report.statements if own["id"] == "get.confirmed"]
    assert said["text"].startswith("1 of 3 new seeds diverged at epoch 4; test −ELBO ")
    assert wrong_values(Study(report), [said]) == []
    other = copy.deepcopy(said)
    other["values"]["failed"][0]["values"]["failed"] = 2
    assert wrong_values(Study(report), [other])
    assert wrong_values(Study(report), [{**said, "values": said["values"] | {"failed": []}}])


def test_a_statement_that_stands_nowhere_is_an_error(folders):
    report = read_report(folders("finished"))
    said = next(own for own in report.statements if own["id"] == "plot.epoch")["text"]
    without = replace(
        report, readme=report.readme.replace(said, "").replace("## Plots", "## Plots\n\nDrawn.")
    )
    assert [wrong.message for wrong in recompute(without, Study(without)).wrong] == [
        f"stands nowhere: {said.removesuffix('.')}"
    ]


def test_a_number_that_no_statement_says_is_an_error(folders, tmp_path, capsys):
    other = shutil.copytree(folders("no trial"), tmp_path / "other")
    readme = other / "README.md"
    text = readme.read_text(encoding="utf-8").replace(
        "## Answer", "## Answer\n\nIt is 3 times as good as any other."
    )
    readme.write_text(text, encoding="utf-8")
    assert main([str(other)]) == 1
    assert "no statement says this: It is 3 times" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["finished"], indirect=True)
def test_figures_of_images_that_do_not_give_the_test_figure_are_an_error(folder):
    report = read_report(folder)
    assert report.per_image
    key = next(iter(report.per_image))
    other = replace(report, per_image={**report.per_image, key: report.per_image[key] + 0.1})
    assert any(
        f"per_image.npz: {key}" in wrong.message for wrong in recompute(other, Study(report)).wrong
    )


def test_the_script_imports_nothing_of_what_it_checks():
    for path in Path(recompute_report.__file__).parent.glob("recompute_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                known = top in sys.stdlib_module_names or top.startswith("recompute_")
                assert known or top in {"numpy", "pandas", "scipy", "optuna", "yaml"}, (
                    path.name,
                    name,
                )
