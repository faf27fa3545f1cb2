"""Predictions of curves on a table of which the truth is known: what is cut off, how errors count,
and who knows more than the last value.
"""

import numpy as np
import pytest
from curve_predictions import drawn, errors, last_value, ours, timing
from curve_table import Table
from scipy.stats import norm
from synthetic_table import EPOCHS, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return write_table(tmp_path_factory.mktemp("tables"), configurations=80)


def test_a_quarter_is_whole_and_the_others_end_where_they_are_cut(table: Table) -> None:
    seen = drawn(table, np.random.default_rng(0), 32, 3)
    lengths = [len(curve.objectives) for curve in seen.curves]
    assert lengths == [EPOCHS] * 8 + [3] * 24
    assert seen.cut.sum() == 24
    for curve, end in zip(seen.curves, seen.ends, strict=True):
        row = table.configurations.index(curve.params)
        assert end == table.neg_elbo[row, 0, -1]
        assert curve.objectives == tuple(table.neg_elbo[row, 0, : len(curve.objectives)])


def test_the_truth_has_no_error_and_the_density_of_its_noise(table: Table) -> None:
    seen = drawn(table, np.random.default_rng(1), 32, 3)
    truth = seen.scale(seen.ends[seen.cut])
    correlation, nats, density = errors(seen, (truth, np.full(len(truth), 0.5)))
    assert correlation > 0.99  # the scale is flat below the best that was seen
    assert nats == pytest.approx(0, abs=1e-6)
    assert density == pytest.approx(norm.logpdf(0, 0, 0.5))


def test_the_process_predicts_better_than_the_last_value(table: Table) -> None:
    found = {
        predict: np.mean(
            [
                errors(seen, predict(seen))
                for seen in (drawn(table, np.random.default_rng(n), 40, 2) for n in range(4))
            ],
            axis=0,
        )
        for predict in (ours, last_value)
    }
    assert found[ours][0] > 0.9
    assert found[ours][1] < 1.0
    assert found[ours][1] < found[last_value][1]


def test_the_table_of_seconds_has_a_row_for_each_size(table: Table) -> None:
    assert timing(table, np.random.default_rng(0)).count("\n") == 4
