"""Confirmations that are made of a table of learning curves: their runs have the worth and the
noise of the table.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from confirmations import Noise, main, measured
from synthetic_table import truth, write_table

NOISE = 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder, noise=NOISE)
    return folder


@pytest.fixture(scope="module")
def noise(folder: Path) -> Noise:
    return Noise(write_table(folder / "again", noise=NOISE))


def test_runs_have_the_worth_and_the_spread_that_the_table_was_made_with(noise: Noise) -> None:
    places = np.argsort(noise.worth)[:30]
    runs = noise.runs(np.random.default_rng(0), places, 4_000)
    assert runs.shape == (30, 4_000)
    np.testing.assert_allclose(runs.mean(axis=1), noise.worth[places], atol=0.05)
    own = runs - runs.mean(axis=0)  # without what all runs of a seed share
    assert own.std(axis=1).mean() == pytest.approx(NOISE, rel=0.15)
    assert noise.shared < NOISE / 5  # the made-up seeds share nothing but the error of a mean


def test_worth_is_near_the_truth_where_a_search_ends(noise: Noise, folder: Path) -> None:
    table = write_table(folder / "third", noise=NOISE)
    best = np.argsort(noise.chosen_by)[:10]
    truths = [truth(table.configurations[noise.rows[place]]) for place in best]
    np.testing.assert_allclose(noise.worth[best], truths, atol=0.6)


def test_a_race_of_a_table_takes_fewer_runs_and_loses_little(noise: Noise) -> None:
    runs, seeds, best, best_fixed, loss, loss_fixed, lost, *_ = measured(noise, (8, 10), 40, 200)
    assert runs < 0.9
    assert 3 <= seeds <= 10
    assert min(best, best_fixed) > 0.5
    assert loss - loss_fixed < NOISE
    assert lost <= 0.05


def test_the_command_prints_a_row_for_each_plan_and_names_a_table_that_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = ["confirmations.py", "--tables", str(folder), "--repeats", "5", "--space"]
    monkeypatch.setattr(sys, "argv", [*command, "A"])
    main()
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {header.count("|")}
    monkeypatch.setattr(sys, "argv", [*command, "B"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "table B: got no curves" in capsys.readouterr().err
