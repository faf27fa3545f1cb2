"""The model of the objective over the parameters: its trees speak for scikit-learn's forest."""

import numpy as np
import pytest
from drawn_studies import bowl
from sklearn.ensemble import ExtraTreesRegressor

from vaeexp.results.forest import _predict, dependence
from vaeexp.results.study_view import StudyView


@pytest.mark.parametrize("trees", [1, 4])
def test_a_bag_predicts_what_the_forest_does_to_the_bit(trees):
    random = np.random.default_rng(trees)
    design, values = random.random((150, 6)), 100 + random.normal(size=150)
    forest = ExtraTreesRegressor(trees, min_samples_leaf=2, random_state=trees).fit(design, values)
    others = np.concatenate([design, random.random((500, 6))])
    assert np.array_equal(_predict(forest.estimators_, others), forest.predict(others))


def test_the_same_study_gives_the_same_dependences():
    one, other = (StudyView(bowl(40)).influence.forest for _ in range(2))
    for name in one.parameters:
        assert np.array_equal(dependence(one, name).bags, dependence(other, name).bags)
