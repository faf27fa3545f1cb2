"""Searches that know another one, on tables of which the truth is known: what they begin with, and
whether it helps.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curve_table import Table
from grading import DEVIATIONS, Result
from scipy.stats import spearmanr
from synthetic_table import write_table
from transfers import Transfer, agreement, shuffled, transferred, ways_of

BENCHMARKS = Path(__file__).resolve().parent.parent
ASKED = Transfer(
    source="A",
    target="A",
    way="alone",
    shuffled=False,
    repeat=0,
    search="random + promotion",
    lanes=2,
    budget=150,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def table(folder: Path) -> Table:
    return write_table(folder, configurations=120)


def of(table: Table, repeats: int = 6, **changes: object) -> list[Result]:
    return [
        transferred(table, table, replace(ASKED, repeat=repeat, **changes))
        for repeat in range(repeats)
    ]


def test_a_search_that_begins_with_the_best_of_an_equal_one_arrives_earlier(table: Table) -> None:
    alone, started = (
        np.mean([r.epochs_to(DEVIATIONS[0]) for r in of(table, way=way)])
        for way in ("alone", "start")
    )
    assert started < alone / 2


def test_a_teacher_that_knows_nothing_is_another_table_with_the_same_curves(table: Table) -> None:
    mixed = shuffled(table, 1)
    assert mixed.configurations == table.configurations
    assert not np.array_equal(mixed.neg_elbo, table.neg_elbo, equal_nan=True)
    np.testing.assert_array_equal(
        np.sort(mixed.objectives(), axis=0), np.sort(table.objectives(), axis=0)
    )


@pytest.mark.slow
def test_each_way_is_a_search_of_its_own_and_repeats(table: Table) -> None:
    def changes(way: str) -> tuple[object, ...]:
        return tuple(
            result.changes for result in of(table, way=way, search="tpe + promotion", repeats=6)
        )

    found = {way: changes(way) for way in ("alone", "start", "learn_from", "both")}
    assert changes("learn_from") == found["learn_from"]
    assert len({*found.values()}) == 4


def test_a_sampler_that_cannot_learn_takes_first_trials_alone() -> None:
    assert {way for way, _ in ways_of("curves + promotion")} == {"alone", "start"}
    assert {way for way, _ in ways_of("tpe + promotion")} == {
        "alone",
        "start",
        "learn_from",
        "both",
    }


def test_agreement_is_of_the_ranks_of_the_configurations_that_two_tables_share(
    table: Table,
) -> None:
    best = np.argsort(table.means(), kind="stable")[:5]
    mixed = shuffled(table, seed=3)
    expected = spearmanr(table.means(), mixed.means()).statistic
    assert (
        "rank correlation 1.00 (1.00–1.00); the 5 best of A are number 1, 2, 3, 4, 5 of A."
        in agreement(table, table)
    )
    said = agreement(table, mixed)
    assert f"{len(table.numbers)} configurations of both: rank correlation {expected:.2f} (" in said
    ranks = (mixed.means()[:, None] >= mixed.means()).sum(axis=1)[best]
    assert f"number {', '.join(map(str, ranks))} of A." in said
    listed = replace(
        table, configurations=tuple({**c, "channels": [8, 16]} for c in table.configurations)
    )
    assert agreement(listed, listed) == agreement(table, table), "a value may be a list"
    without = replace(table, configurations=tuple({**c, "other": 1} for c in table.configurations))
    assert agreement(table, without) == ""


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped(
    table: Table, folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "search" / "transfers.py"),
        "--tables",
        str(folder),
        "--pairs",
        "A:A",
    ]
    command += ["--out", str(tmp_path), "--epochs", "60", "--search", "random + promotion"]
    for repeats, lines in (("1", 3), ("2", 6), ("2", 6)):
        environment = {"PYTHONPATH": str(BENCHMARKS.parent), "PATH": ""}
        done = subprocess.run(
            [*command, "--repeats", repeats],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = (tmp_path / "transfers.jsonl").read_text(encoding="utf-8").splitlines()
        assert (
            len(found) == lines == len({json.dumps(json.loads(line)["transfer"]) for line in found})
        )
        assert done.stdout.count("| A → A |") == 3
