"""What −log p measures: computed for new records, and read from the words of old ones."""

import pytest

from vaeexp.models.parts import LIKELIHOOD_SUPPORTS, measure_of, recorded_measure
from vaeexp.results.tested_settings import SAME_ELBO

DENSITIES = "densities of real numbers"
GREY = "none (grey levels in [0, 1]; the Bernoulli density is not normalised there)"
OLD = {
    ("poisson", "none (int64 numbers, 1 of which is the unit)"): "masses of counts",
    ("negative_binomial", "none"): "masses of counts",
    ("poisson, given the sum of each image", "none"): (
        "masses of counts, given the sum of each image"
    ),
    ("gaussian, σ = 0.7071 (squared error)", "none"): DENSITIES,
    ("gaussian, σ = 0.5, 0.31 in the unit of the data", "none"): DENSITIES,
    ("student_t, 4 degrees of freedom", "none"): DENSITIES,
    ("laplace, scale 1 (absolute error)", "none"): DENSITIES,
    ("gaussian_learned", "none"): DENSITIES,
    ("continuous_bernoulli", "none"): DENSITIES,
    ("laplace, scale 1, over the 61 of 144 sub-pixels that vary", "none"): (
        f"{DENSITIES} over the 61 of 144 sub-pixels that vary"
    ),
    ("categorical_256", "none"): "masses of 256 levels",
    ("discretised_logistic", "none"): "masses of 256 levels",
    ("discretised_logistic, 4,096 levels", "none"): "masses of 4,096 levels",
    ("bernoulli", "static (each pixel drawn once)"): "masses of zeros and ones",
    ("bernoulli", "dynamic (drawn anew each epoch)"): "masses of zeros and ones",
    ("bernoulli", GREY): "bernoulli values, which compare with each other only",
    ("own:Sharp", "none"): "own:Sharp values, which compare with each other only",
}


@pytest.mark.parametrize(("words", "measure"), OLD.items())
def test_an_old_record_is_mapped_from_its_likelihood(words, measure):
    likelihood, binarisation = words
    old = {"likelihood": likelihood, "binarisation": binarisation}
    assert recorded_measure(old) == measure
    support = LIKELIHOOD_SUPPORTS.get(likelihood.partition(",")[0], "")
    assert measure_of(likelihood, support, binarisation) == measure
    assert recorded_measure(old | {"measure": "as recorded"}) == "as recorded"


def test_a_record_without_both_has_none():
    assert recorded_measure({"data": "mnist"}) is None


def test_counts_given_their_sum_are_another_measure_than_counts():
    given = measure_of("poisson, given the sum of each image", "counts", "none")
    assert given != measure_of("poisson", "counts", "none")
    assert "measure" in SAME_ELBO
    assert "likelihood" not in SAME_ELBO
