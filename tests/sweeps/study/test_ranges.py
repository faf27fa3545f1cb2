"""The ends of ranges: when the best trials pile up at one, and how far a range then grows."""

import operator

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from sweeps.errors import UserError
from sweeps.study.ranges import LEAST_RANKED, MOST_STEPS, Growth, bound_hit, hits_of, steps_out, wider_end
from sweeps.study.samplers import SAMPLERS, check_sampler
from sweeps.study.space import Parameter, Space

BETA = Parameter(name="beta", kind="float", low=0.01, high=10.0, log=True, grow=True, limits={"ge": 0.0})
WIDTH = Parameter(name="width", kind="float", low=1.0, high=3.0)


@pytest.mark.parametrize(("near", "parameters"), [(near, count) for near in range(11) for count in (1, 3, 6)])
def test_the_best_pile_up_where_chance_seldom_puts_so_many(near, parameters):
    """Scipy's binomial tail decides the same, with 5 % of the range at each end."""
    best = [2.95] * near + [2.0] * (10 - near)
    by_chance = binom.sf(near - 1, 10, 0.05)
    hit = bound_hit(WIDTH, best, parameters=parameters)
    assert (hit is not None) == (near >= 2 and by_chance <= 0.025 / parameters)
    assert hit is None or (hit.bound, hit.count, hit.top) == ("upper", near, 10)


def test_an_end_is_near_in_the_scale_of_the_search():
    close = 10 * (10 / 0.01) ** -0.04
    assert bound_hit(BETA, [close] * 5).bound == "upper"
    assert bound_hit(BETA, [10 * (10 / 0.01) ** -0.06] * 5) is None
    assert bound_hit(BETA, [0.0105] * 5).bound == "lower"


def test_a_search_waits_for_twenty_complete_trials_that_have_the_parameter():
    few = [{"width": 2.99}] * (LEAST_RANKED - 1) + [{}] * 50
    assert hits_of([WIDTH], few) == []
    assert [hit.count for hit in hits_of([WIDTH], [*few, {"width": 2.0}])] == [10]


@st.composite
def ranges(draw):
    kind = draw(st.sampled_from(["float", "int"]))
    log = draw(st.booleans())
    if kind == "int":
        low = draw(st.integers(1, 50))
        high, step = low + draw(st.integers(1, 50)), None
    else:
        low = draw(st.floats(0.001, 5))
        step = None if log else draw(st.sampled_from([None, 0.1, 0.5]))
        high = low + (draw(st.integers(1, 20)) * step if step else draw(st.floats(0.01, 20)))
    limits = {}
    if draw(st.booleans()):
        limits[draw(st.sampled_from(["ge", "gt"]))] = low - draw(st.floats(0.001, 2)) if kind == "float" else low - 1
    if draw(st.booleans()):
        limits[draw(st.sampled_from(["le", "lt"]))] = high + draw(st.floats(0.001, 2)) if kind == "float" else high + 1
    if log:
        limits.setdefault("gt", 0)
    return Parameter(
        name="x", kind=kind, low=low, high=round(high, 9) if step else high, log=log, grow=True, limits=limits
    )


@given(parameter=ranges())
def test_steps_lead_outwards_within_the_limits_and_make_ranges(parameter):
    for bound, sign, own in (("lower", -1, parameter.low), ("upper", 1, parameter.high)):
        ends = steps_out(parameter, bound, parameter.limits)
        assert len(ends) <= MOST_STEPS
        assert [own, *ends] == sorted([own, *ends], key=lambda end: sign * end)
        assert len({own, *ends}) == len(ends) + 1
        for end in ends:
            assert all(getattr(operator, name)(end, limit) for name, limit in parameter.limits.items())
            grown = Space((parameter,)).grown([Growth(parameter="x", bound=bound, end=end, round=0, trial=0)])["x"]
            assert (grown.low, grown.high)[bound == "upper"] == end  # and it is a range, else Parameter would raise


@pytest.mark.parametrize(
    ("parameter", "bound", "ends"),
    [
        (BETA, "upper", [40.0, 160.0]),
        (BETA, "lower", [0.0025, 0.000625]),
        (WIDTH, "upper", [4.0, 5.0]),
        (WIDTH, "lower", [0.0, -1.0]),
        (Parameter(name="n", kind="int", low=2, high=64, log=True, limits={"ge": 1}), "lower", [1]),
        (Parameter(name="n", kind="int", low=2, high=64, log=True, limits={"gt": 0}), "lower", [1]),
        (Parameter(name="d", kind="float", low=0.0, high=0.9, limits={"lt": 1.0}), "upper", [0.95, 0.975]),
        (Parameter(name="r", kind="float", low=0.1, high=0.7, step=0.2, limits={"le": 0.85}), "upper", []),
    ],
)
def test_a_step_is_four_times_as_far_on_a_logarithm_and_half_the_range_elsewhere(parameter, bound, ends):
    assert steps_out(parameter, bound, parameter.limits) == ends
    assert wider_end(parameter, bound, parameter.limits) == (ends[0] if ends else None)


def test_the_largest_value_counts_all_steps_and_the_record_keeps_them():
    space = Space((BETA, WIDTH))
    assert (space.maximum("beta"), space.maximum("width")) == (160.0, 3.0)
    assert Space.from_dict(space.as_dict()) == space
    assert "grow" not in WIDTH.as_dict()


def test_a_parameter_knows_the_distribution_that_it_draws_from():
    parameters = (
        *(BETA, WIDTH, Parameter(name="n", kind="int", low=2, high=64, log=True)),
        Parameter(name="s", kind="int", low=8, high=64, step=8),
        Parameter(name="f", kind="float", low=0.1, high=0.7, step=0.2),
        Parameter(name="c", kind="choice", values=((64,), (64, 64))),
    )
    trial = optuna.create_study().ask()
    Space(parameters).suggest(trial)
    assert trial.distributions == {parameter.name: parameter.distribution for parameter in parameters}


@pytest.mark.parametrize(("sampler", "why"), [("grid", "combinations"), ("cmaes", "first generation")])
def test_a_sampler_that_cannot_search_a_growing_range_says_so(sampler, why):
    space = Space((Parameter(name="x", kind="float", low=0, high=1, step=0.25, grow=True),))
    with pytest.raises(UserError, match=f"search.x.grow: sampler '{sampler}' cannot.*{why}.*tpe, random, qmc or gp"):
        check_sampler(SAMPLERS[sampler](), space)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_the_other_samplers_can(sampler):
    check_sampler(SAMPLERS[sampler](), Space((BETA,)))
