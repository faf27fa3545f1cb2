"""What the report says of trials that failed, were pruned or left out, of thin studies, and of how
to get them again.
"""

import math
import re
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_text import (
    as_written,
    bad_english,
    headings,
    on_view,
    report_on,
    tables_of,
    without_code,
)
from synthetic_study import make_results, part, study_attributes, with_baselines

from sweeps.engine import trial_seed
from sweeps.results import best_run, ranked
from sweeps.seeds import seed_of
from sweeps.state.record import StudyRecord
from vaeexp.report.answer import answer
from vaeexp.report.closing import (
    code_words,
    commands,
    failed_trials,
    failures,
    left_out,
    outcomes,
    seeds,
)
from vaeexp.report.study_comparison import write_index

answer, left_out, outcomes = map(on_view, (answer, left_out, outcomes))
failures, failed_trials = map(as_written, (failures, failed_trials))
code_words, commands, seeds = map(on_view, (code_words, commands, seeds))


def multiplied(results, state, count, **columns):
    """The study with so many trials of a state in the place of its own."""
    trials = results.trials
    own = trials[(trials["state"] == state) & ~trials["repeat"]]
    many = pd.concat([own] * math.ceil(count / len(own)), ignore_index=True).head(count)
    numbers = np.arange(1000, 1000 + count)
    many = many.assign(number=numbers, name=[f"trial-{number}" for number in numbers], **columns)
    return replace(results, trials=pd.concat([trials.drop(own.index), many], ignore_index=True))


def recorded(results, **changes):
    return replace(
        results, study=replace(results.study, provenance=results.study.provenance | changes)
    )


def test_every_failed_trial_is_listed_with_its_class_message_and_setting(results):
    trials = results.trials.copy()
    repeat = trials.index[trials["repeat"]][-1]
    trials.loc[repeat, ["state", "failure", "message"]] = [
        "failed",
        "out_of_memory",
        "its process was\nkilled",
    ]
    trials.loc[trials["number"] == 23, ["failure", "message"]] = None
    study = replace(results, trials=trials)
    table = tables_of(failed_trials(study)[0])[""].set_index("trial")
    assert list(table.index) == ["9", "23", f"r{trials.loc[repeat, 'number']}"]
    assert list(table["class"]) == ["diverged", "unknown", "out of memory"]
    assert list(table["epochs"].astype(int)) == [3, 0, 30]
    assert table["message"].iloc[0] == r"loss is not finite at step 12 \| β_too \*small\*"
    assert list(table["message"].iloc[1:]) == ["–", "its process was killed"]
    assert "latent size = 16" in table["configuration"].iloc[0]
    assert "1 out of memory" in outcomes(study)


def test_of_many_failures_fifty_are_listed_and_all_are_counted(results):
    many = multiplied(results, "failed", 1260, failure=["diverged"] * 60 + ["crashed"] * 1200)
    table, words = failed_trials(many)
    assert len(tables_of(table)[""]) == 50
    assert words == "1,210 more failed; all of them are in [trials.csv](trials.csv)."
    long = multiplied(results, "failed", 1, message="y" * 5000)
    assert len(tables_of(failed_trials(long)[0])[""].loc[0, "message"]) < 320


def counts_of(statements):
    return {
        statement.id.removeprefix("left."): statement.values["count"] for statement in statements
    }


def test_what_was_left_out_is_counted_and_says_why(results):
    assert counts_of(left_out(results)) == {"failed": 2, "pruned": 22}
    trials = results.trials.copy()
    own = trials.index[
        ~trials["repeat"] & (trials["state"] == "complete") & trials["duplicate_of"].isna()
    ]
    runs = trials.index[trials["repeat"]]
    trials.loc[own[0], "objective"] = math.nan
    trials.loc[own[1], "state"] = "running"
    confirming = [index for index in runs if "confirm" in trials.at[index, "purposes"]]
    trials.loc[confirming[0], "result.test/neg_elbo"] = math.inf
    compared = [index for index in runs if trials.at[index, "purposes"] == ("compare",)]
    trials.loc[compared[0], ["state", "objective"]] = ["failed", math.nan]
    trials.loc[compared[-1], "state"] = "waiting"
    found = counts_of(left_out(replace(results, trials=trials)))
    one_each = ("worthless", "going", "untested", "runs_failed", "runs_going")
    assert found.items() >= {**dict.fromkeys(one_each, 1), "pairs": 2}.items()
    bare = part(results, ranked(results))
    assert "Nothing was left out of any table or plot." in failures(bare)


def odd_studies():
    """Studies with values that no honest run would leave."""
    full = make_results()
    trials = full.trials
    complete = ~trials["repeat"] & (trials["state"] == "complete")
    values = [name for name in trials if name.startswith("result.test/")]
    return {
        "no value": replace(full, trials=trials.assign(objective=math.nan)),
        "no finite epoch": replace(
            full, epochs=full.epochs.assign(objective=math.nan, **{"val/rate": math.inf})
        ),
        "no epochs": replace(full, epochs=full.epochs.iloc[:0]),
        "test figures not finite": replace(
            full, trials=trials.assign(**dict.fromkeys(values, math.inf))
        ),
        "no test figures": replace(full, trials=trials.assign(**dict.fromkeys(values, math.nan))),
        "constant parameters": replace(
            full,
            trials=trials.assign(
                **{
                    "params.beta": 1.0,
                    "params.latent_size": pd.array([8] * len(trials), dtype="Int64"),
                    "params.learning_rate": 1e-3,
                    "params.optimizer": "adam",
                    "params.prior": "normal",
                    "params.components": pd.array([pd.NA] * len(trials), dtype="Int64"),
                }
            ),
        ),
        "no setting": replace(full, study=study_attributes(spec={"seed": 0})),
        "all repeats failed": replace(
            full, trials=trials.assign(state=trials["state"].where(~trials["repeat"], "failed"))
        ),
        "one huge value": replace(
            full, trials=trials.assign(objective=trials["objective"].where(~complete, 1e12))
        ),
        "a record of nothing": recorded(
            full, protocol={}, data={}, git={}, versions={}, hardware={}, study_file=""
        ),
        "no seed and no section": replace(
            full, study=study_attributes(spec={"search": full.study.spec["search"]}, seed=None)
        ),
    }


@pytest.mark.parametrize("case", odd_studies())
def test_odd_studies_get_a_report_in_good_english(case, compose):
    text = compose(odd_studies()[case])
    assert not bad_english(without_code(text))
    assert {"Answer", "How the trials ended", "How this was made"} <= set(headings(text))


def test_messages_of_failures_cannot_break_the_table(results):
    nasty = "a | b <script>alert(1)</script> [l](http://x) `z`\n\n| c |"
    trials = results.trials.copy()
    trials["message"] = trials["message"].where(trials["failure"].isna(), nasty)
    table = tables_of(failed_trials(replace(results, trials=trials))[0])[""]
    assert list(table["class"]) == ["diverged", "diverged"]
    assert "<script>" not in table["message"].iloc[0]


def shown_commands(results):
    lines = commands(results)[0].splitlines()[1:-1]
    assert all(line.startswith("# ") for line in lines[::2])
    return lines[1::2]


def test_the_commands_are_those_of_the_study(results):
    best = best_run(results)
    assert shown_commands(results) == [
        "vaeexp sweep --study beta_mnist",
        "vaeexp report beta_mnist",
        f"vaeexp reproduce beta_mnist/{best['source_trial']:.0f}",
        f"vaeexp reproduce beta_mnist/r{best['number']}",
    ]
    search = part(results, results.trials[~results.trials["repeat"]])
    assert shown_commands(search)[2:] == [
        f"vaeexp reproduce beta_mnist/{ranked(results)['number'].iloc[0]}"
    ]
    assert len(shown_commands(part(results, results.trials.iloc[:0]))) == 2


def test_the_recorded_command_stands_as_it_was_given(results):
    given = "vaeexp sweep --study beta_mnist --runs '/a b' --set beta=2"
    assert shown_commands(recorded(results, command=given))[0] == given
    odd = replace(results, name="my study")
    assert shlex.split(shown_commands(odd)[1]) == ["vaeexp", "report", "my study"]


def test_the_code_that_ran_is_named_with_its_state(results):
    commit = results.study.provenance["git"]["commit"]
    assert code_words(results) == f"Commit `{commit}`, without uncommitted changes."
    dirty = code_words(recorded(results, git={"commit": commit, "dirty": True}))
    assert dirty.startswith(f"Commit `{commit}` **with uncommitted changes on top**")
    assert "not recorded" in code_words(recorded(results, git={"commit": commit}))
    assert "No commit is recorded" in code_words(recorded(results, git={}))


def test_the_seeds_are_told_with_the_rule_that_makes_them(results):
    best = best_run(results)["source_trial"]
    table = tables_of("\n\n".join(seeds(results)))[""]
    rules = dict(zip(*(table.iloc[:, place] for place in (0, 1)), strict=True))
    trials = results.trials
    own = trials.loc[~trials["repeat"] & (trials["number"] == best), "seed"].iloc[0]
    assert rules["trial of the search"].endswith(f"; trial {best}: {own}")
    rule = re.search(r"first 63 bits of the SHA-256 of `(\S+)`", rules["trial of the search"])[1]
    assert seed_of(rule.replace("N", str(best))) == trial_seed(0, int(best))
    confirming = trials[
        trials["purposes"].map(lambda purposes: "confirm" in purposes)
        & (trials["source_trial"] == best)
    ]
    assert rules["fresh seeds"].endswith(", ".join(str(seed) for seed in confirming["seed"]))
    assert rules["split"].startswith("0: which images train")
    assert seeds(replace(results, study=StudyRecord(name="beta_mnist"))) == []


def test_the_chapters_of_failures_and_of_the_making_stand_last(results, compose):
    names = headings(compose(with_baselines(results)))
    order = [
        "Rows by protocol",
        "Plots",
        "How the trials ended",
        "Failed",
        "Left out",
        "How this was made",
        "Commands",
        "Code",
        "Seeds",
        "Protocol",
        "Study file",
    ]
    assert [name for name in names if name in order] == order


def test_no_file_of_a_report_has_a_password(results, tmp_path, no_figures):
    address = "postgresql+psycopg://me:hunter2@db.example/studies"
    trials = results.trials.copy()
    trials["message"] = trials["message"].where(trials["failure"].isna(), f"cannot reach {address}")
    study = replace(results.study, stopped=f"Lost {address}.")
    provenance_ = {
        **study.provenance,
        "command": f"vaeexp sweep beta_mnist --storage {address} --tracking http://me:hunter2@host",
    }
    leaky = replace(results, trials=trials, study=replace(study, provenance=provenance_))
    folder = report_on(leaky, runs=tmp_path, reports=tmp_path, html=True).parent
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.suffix != ".png"
    }
    assert set(texts) == {"README.md", "report.html", "trials.csv", "curves.csv", "summary.json"}
    assert [name for name, text in texts.items() if "hunter2" in text] == []
    assert (
        "--storage postgresql+psycopg://me:***@db.example/studies --tracking http://me:***@host"
        in texts["README.md"]
    )
    index = write_index([], {"lost": f"cannot reach {address}"}, reports=tmp_path, html=True)
    assert "hunter2" not in index.read_text(encoding="utf-8") + index.with_name(
        "report.html"
    ).read_text(encoding="utf-8")
