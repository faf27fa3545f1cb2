"""What the checks advise, run through the real command line: nothing that they print may be
refused.
"""

import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from mnist_files import write_files
from synthetic_study import SEARCH, make_results, part, study_attributes, with_baselines

from sweeps.storage import open_storage, open_study
from sweeps.storage.study_record import write_study
from vaeexp.commands import cli
from vaeexp.report.answer import advice
from vaeexp.results import widening_option
from vaeexp.results.parameters import searched_parameter
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import check_study
from vaeexp.study import open_study_file

SETTINGS = {
    "question": "Does every advice run?",
    "data": {"dataset": "mnist", "binarisation": "static", "validation_size": 40},
    "model": {"hidden": [8]},
    "train": {"epochs": 30, "batch_size": 20},
    "search": {
        name: {key: given for key, given in own.items() if key != "kind"}
        for name, own in SEARCH.items()
    },
    "pruner": {"name": "median", "startup_trials": 6, "warmup_epochs": 4},
    "budget": {"trials": 40},
    "confirm": {"top": 3, "seeds": 3},
    "compare": {"parameters": ["optimizer"], "top": 4, "seeds": 2},
}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command of a study that is recorded as begun."""
    root = tmp_path_factory.mktemp("advice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        # The plan measures a model of a few units, for which threads of a busy machine would wait
        # for each other.
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        write_files(root / "data" / "MNIST" / "raw", training=160, test=30)
        path = root / "beta_mnist.yaml"
        path.write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")
        study = open_study_file(str(path))
        write_study(open_study(open_storage(None, root / "runs", study.name), study), finished=True)
        yield (
            f"vaeexp sweep {path} --trials 40 --data {root / 'data'} --runs {root / 'runs'} "
            "--compile off --workers 1"
        )


@pytest.fixture(scope="module")
def full():
    return make_results()


def with_command(results, command, **spec):
    record = {**results.study.provenance, "command": command}
    study = replace(results.study, provenance=record, spec=results.study.spec | spec)
    return replace(results, study=study)


def confirming(trials):
    return trials["purposes"].map(lambda purposes: "confirm" in purposes).astype(bool)


def searched(trials):
    return ~trials["repeat"] & (trials["state"] == "complete")


def at_bounds(full):
    trials = full.trials.copy()
    best = full.trials[searched(full.trials)].sort_values("objective").head(8).index
    trials.loc[best, ["params.beta", "params.latent_size", "params.learning_rate"]] = [
        9.9,
        2,
        0.0099,
    ]
    return replace(full, trials=trials)


def still_improving(full):
    trials = full.trials
    falling = np.where(searched(trials), 200 - 2 * trials["number"], trials["objective"])
    return replace(full, trials=trials.assign(objective=falling))


def noisy_seeds(full):
    own = confirming(full.trials)
    noise = np.zeros(len(own))
    noise[own.to_numpy()] = np.tile([-20.0, 0.0, 20.0], 3)
    # Nothing but seeds: no trial of the search differs from another by more than they do.
    search = ~full.trials["repeat"]
    values = full.trials["objective"].mask(search & full.trials["objective"].notna(), 100.0)
    epochs = full.epochs.assign(
        objective=full.epochs["objective"].mask(~full.epochs["repeat"], 100.0)
    )
    return replace(full, trials=full.trials.assign(objective=values + noise), epochs=epochs)


def falling(full):
    epochs = full.epochs.copy()
    epochs.loc[epochs["repeat"], "objective"] = 200 - 3 * epochs["epoch"]
    return replace(full, epochs=epochs)


def cosine(full):
    return with_command(full, "", train={**full.study.spec["train"], "schedule": "cosine"})


def longer(full):
    """A baseline is the best configuration with twice the epochs, and better."""
    row = {"title": "longer", "at": "best", "seeds": 3, "settings": {"epochs": 60}}
    both = with_baselines(full, {"longer": row})
    best = StudyView(both).best
    trials, own = both.trials.copy(), both.trials["baseline"] == "longer"
    figures = best.runs.sort_values("seed_index")["result.test/neg_elbo"].to_numpy() - np.array(
        [3.0, 3.01, 3.02]
    )
    trials.loc[own, "result.test/neg_elbo"] = figures
    trials.loc[own, "source_trial"] = best.source_trial
    return replace(both, trials=trials)


CASES = {
    "at bounds": (at_bounds, "bounds", "--set search.learning_rate.high=0.04"),
    "still improving": (still_improving, "levelled_off", "--trials 80"),
    "no seeds": (
        lambda full: with_command(
            part(full, full.trials[~full.trials["repeat"]]), "", confirm=None
        ),
        "seeds",
        "--set confirm.top=3 --set confirm.seeds=3 --extend",
    ),
    "noisy seeds": (noisy_seeds, "seeds", "--set confirm.top=5 --set confirm.seeds=5 --extend"),
    "still falling": (
        falling,
        "learned_out",
        "'baselines.longer={at: best, settings: {epochs: 60}}' --extend",
    ),
    "longer is better": (longer, "learned_out", "--name beta_mnist_longer --set train.epochs="),
}


WARNED = ("still improving", "noisy seeds", "still falling")


def test_the_study_itself_is_advised_none_of_that(full):
    good = {check.id for check in check_study(StudyView(full)) if check.verdict == "good"}
    assert good >= {CASES[case][1] for case in WARNED}


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_takes_every_advice(full, command, case):
    make, check, ending = CASES[case]
    made = make(full)
    view = StudyView(with_command(made, command))
    (found,) = [each for each in check_study(view) if check == each.id]
    assert found.verdict != "good"
    assert case not in WARNED or found.verdict == "warning"
    assert ending in found.command
    assert "--trials 40" not in found.command
    assert advice(found).endswith(f": {found.command}")
    result = CliRunner().invoke(cli, [*shlex.split(found.command)[1:], "--dry-run"])
    assert result.exit_code == 0, f"{found.advice}\n{result.output}"
    assert "Nothing was trained." in result.output


@pytest.mark.parametrize(
    ("name", "section", "bound", "wider"),
    [
        ("beta", {"kind": "float", "low": 0.01, "high": 10, "log": True}, "upper", "40"),
        ("learning_rate", {"kind": "float", "low": 0.1, "high": 1.0, "log": True}, "upper", None),
        ("ema_decay", {"kind": "float", "low": 0.0, "high": 0.9}, "upper", "0.95"),
        ("latent_size", {"kind": "int", "low": 8, "high": 64, "step": 8}, "upper", "96"),
        ("free_nats", {"kind": "float", "low": 1.0, "high": 3.0}, "lower", "0"),
    ],
)
def test_a_wider_bound_is_one_that_the_setting_allows(name, section, bound, wider):
    none = pd.DataFrame(columns=["purposes", "repeat", "duplicate_of", "number"])
    option = widening_option(searched_parameter(name, section, none), bound)
    assert option == (
        wider and f"--set search.{name}.{'low' if bound == 'lower' else 'high'}={wider}"
    )


def test_a_schedule_that_falls_to_zero_shows_nothing_and_a_longer_run_does(full):
    def learned_out(results):
        return next(each for each in check_study(StudyView(results)) if each.id == "learned_out")

    assert learned_out(full).verdict == "good"
    found = learned_out(cosine(full))
    assert found.verdict == "unknown"
    assert found.further[-1].id == "check.rate_falls"
    better = learned_out(longer(full))
    assert better.verdict == "warning"
    (said,) = better.further
    assert said.id == "check.longer"
    assert said.values["gap"].value == pytest.approx(-3.01, abs=0.005)
    assert said.values["gap"].high < 0
    same = longer(full)
    own = same.trials["baseline"] == "longer"
    same.trials.loc[own, "result.test/neg_elbo"] += np.array([3.0, 3.02, 3.01])
    assert learned_out(same).verdict == "good"


def test_limits_of_every_kind_are_doubled():
    study = study_attributes(budget={"epochs": 100, "seconds": 90.0, "trials": None})
    view = StudyView(replace(make_results(6, confirm=False, compare=False), study=study))
    (found,) = [each for each in check_study(view) if each.id == "levelled_off"]
    assert found.command.endswith("--set budget.epochs=200 --seconds 180")
