"""The ends of ranges: when the best trials pile up at one, and how far a range then grows."""

import operator
from dataclasses import replace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from sweeps.errors import UserError
from sweeps.search.samplers import SAMPLERS, check_sampler
from sweeps.study.ranges import (
    MOST_STEPS,
    Growth,
    end_at,
    further_number,
    hits_of,
    steps_out,
    wider_end,
)
from sweeps.study.space import Parameter, Space

BETA = Parameter(
    name="beta", kind="float", low=0.01, high=10.0, log=True, grow=True, limits={"ge": 0.0}
)
WIDTH = Parameter(name="width", kind="float", low=1.0, high=3.0)


def ranked(*values, name="width", rest=()):
    """The parameters of trials, the best first."""
    return [{name: value} for value in (*values, *rest)]


@pytest.mark.parametrize(
    ("near", "parameters"), [(near, count) for near in range(6) for count in (1, 3, 6)]
)
def test_the_best_pile_up_where_more_of_them_lie_than_of_all(near, parameters):
    """Scipy's hypergeometric tail decides the same, with 8 of 48 trials at the end."""
    trials = ranked(
        *[2.95] * near, *[2.0] * (10 - near), *[2.95] * (8 - near), *[1.5] * (30 + near)
    )
    by_chance = hypergeom.sf(near - 1, 48, 8, 10)
    others = [replace(WIDTH, name=f"other{place}") for place in range(parameters - 1)]
    hits = hits_of([WIDTH, *others], trials)
    assert bool(hits) == (by_chance <= 0.025 / parameters)
    assert all(
        (hit.bound, hit.count, hit.near, hit.told) == ("upper", near, 8, True) for hit in hits
    )


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        # Whatever lies elsewhere is worse than all of them.
        (ranked(*[2.99] * 30, rest=[2.0] * 18), True),
        # The others are as good as most that lie there.
        (ranked(*[2.99] * 10, rest=[2.0, 2.99, 2.99] * 12), False),
        (ranked(*[2.99] * 24), False),  # nothing was tried elsewhere
    ],
)
def test_a_search_that_has_settled_at_an_end_is_told_by_the_ranks_of_the_others(trials, told):
    (hit,) = hits_of([WIDTH], trials)
    assert (hit.count, hit.top, hit.ranked, hit.told) == (10, 10, len(trials), told)


def test_ranks_are_compared_at_equal_values_of_the_rest():
    """Trials with the good choice came late, and all of them lie at the end; among equals the end
    is no better.
    """
    other = Parameter(name="prior", kind="choice", values=("normal", "mixture"))
    good = [{"width": 2.99 if place % 5 else 2.0, "prior": "mixture"} for place in range(1, 31)]
    bad = [{"width": 2.0 if place % 5 else 2.99, "prior": "normal"} for place in range(18)]
    assert [hit.told for hit in hits_of([WIDTH], good + bad)] == [True]
    assert hits_of([WIDTH, other], good + bad) == []


def test_an_end_is_near_in_the_scale_of_the_search():
    far = [0.5] * 40

    def bounds(value):
        return [hit.bound for hit in hits_of([BETA], ranked(*[value] * 5, *far, name="beta"))]

    assert bounds(10 * (10 / 0.01) ** -0.04) == ["upper"]
    assert bounds(10 * (10 / 0.01) ** -0.06) == []
    assert bounds(0.0105) == ["lower"]


@pytest.mark.parametrize(
    ("values", "best", "bound"),
    [
        ((1, 2, 5, 10), 10, "upper"),
        ((1, 2, 5, 10), 1, None),  # no whole number below 1 is meant
        ((0.0, 0.1, 0.2), 0.0, None),  # nor any below 0
        ((256, 64, 128), 64, "lower"),  # in any order
        ((0.3, 1.0, 3.0), 3.0, "upper"),
        ((64, 128), 128, None),  # two numbers have no inside
        ((True, False, 3), 3, None),  # no list of numbers
        (("adam", "sgd", "lion"), "lion", None),
    ],
)
def test_a_list_of_three_numbers_or_more_has_ends(values, best, bound):
    listed = Parameter(name="x", kind="choice", values=values)
    rest = [value for value in values if value != best]
    trials = ranked(*[best] * 8, *rest, *(rest * 40)[:40], name="x")
    assert [hit.bound for hit in hits_of([listed], trials)] == ([bound] if bound else [])
    assert end_at(listed, best) == bound


@pytest.mark.parametrize(
    ("parameter", "value", "bound"),
    [
        (Parameter(name="x", kind="int", low=2, high=64, log=True), 64, "upper"),
        (Parameter(name="x", kind="int", low=2, high=64, log=True), 63, None),
        (Parameter(name="x", kind="int", low=1, high=5), 1, None),
        (Parameter(name="x", kind="int", low=1, high=2), 2, None),
        (Parameter(name="x", kind="float", low=0.0, high=0.5), 0.49, "upper"),
        (Parameter(name="x", kind="float", low=0.0, high=0.5, step=0.1), 0.4, None),
        (BETA, 0.0101, "lower"),
        (BETA, None, None),
    ],
)
def test_a_value_that_is_an_end_is_known(parameter, value, bound):
    assert end_at(parameter, value) == bound


@pytest.mark.parametrize(
    ("values", "bound", "limits", "further"),
    [
        ((1, 2, 5, 10), "upper", {"ge": 1}, 20),
        ((64, 128, 256), "upper", {}, 512),
        ((64, 128, 256), "lower", {}, 32),
        ((100, 200, 300), "upper", {}, 400),
        ((10, 20, 30), "lower", {"ge": 1}, 1),
        ((0.01, 0.1, 1.0), "lower", {}, 0.001),
        ((0.5, 0.9, 0.99), "upper", {"le": 1.0}, 1.0),
        ((0.5, 0.9, 1.0), "upper", {"le": 1.0}, None),
    ],
)
def test_a_list_goes_on_as_it_began(values, bound, limits, further):
    assert (
        further_number(Parameter(name="x", kind="choice", values=values), bound, limits) == further
    )


def test_a_search_waits_for_twenty_trials_that_have_the_parameter():
    few = ranked(*[2.99] * 5, *[2.0] * 14) + [{}] * 50
    assert hits_of([WIDTH], few) == []
    assert [hit.count for hit in hits_of([WIDTH], [*few, {"width": 2.0}])] == [5]


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
        limits[draw(st.sampled_from(["ge", "gt"]))] = (
            low - draw(st.floats(0.001, 2)) if kind == "float" else low - 1
        )
    if draw(st.booleans()):
        limits[draw(st.sampled_from(["le", "lt"]))] = (
            high + draw(st.floats(0.001, 2)) if kind == "float" else high + 1
        )
    if log:
        limits.setdefault("gt", 0)
    return Parameter(
        name="x",
        kind=kind,
        low=low,
        high=round(high, 9) if step else high,
        log=log,
        grow=True,
        limits=limits,
    )


@given(parameter=ranges())
def test_steps_lead_outwards_within_the_limits_and_make_ranges(parameter):
    for bound, sign, own in (("lower", -1, parameter.low), ("upper", 1, parameter.high)):
        ends = steps_out(parameter, bound, parameter.limits)
        assert len(ends) <= MOST_STEPS
        assert [own, *ends] == sorted([own, *ends], key=lambda end: sign * end)
        assert len({own, *ends}) == len(ends) + 1
        for end in ends:
            assert all(
                getattr(operator, name)(end, limit) for name, limit in parameter.limits.items()
            )
            grown = Space((parameter,)).grown(
                [Growth(parameter="x", bound=bound, end=end, round=0, trial=0)]
            )["x"]
            # And it is a range, else Parameter would raise.
            assert (grown.low, grown.high)[bound == "upper"] == end


@pytest.mark.parametrize(
    ("parameter", "bound", "ends"),
    [
        (BETA, "upper", [40.0, 160.0]),
        (BETA, "lower", [0.0025, 0.000625]),
        (WIDTH, "upper", [4.0, 5.0]),
        (WIDTH, "lower", [0.0, -1.0]),
        (Parameter(name="n", kind="int", low=2, high=64, log=True, limits={"ge": 1}), "lower", [1]),
        (Parameter(name="n", kind="int", low=2, high=64, log=True, limits={"gt": 0}), "lower", [1]),
        (
            Parameter(name="d", kind="float", low=0.0, high=0.9, limits={"lt": 1.0}),
            "upper",
            [0.95, 0.975],
        ),
        (
            Parameter(name="r", kind="float", low=0.1, high=0.7, step=0.2, limits={"le": 0.85}),
            "upper",
            [],
        ),
    ],
)
def test_a_step_is_four_times_as_far_on_a_logarithm_and_half_the_range_elsewhere(
    parameter, bound, ends
):
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
    assert trial.distributions == {
        parameter.name: parameter.distribution for parameter in parameters
    }


@pytest.mark.parametrize(
    ("sampler", "why"), [("grid", "combinations"), ("cmaes", "first generation")]
)
def test_a_sampler_that_cannot_search_a_growing_range_says_so(sampler, why):
    space = Space((Parameter(name="x", kind="float", low=0, high=1, step=0.25, grow=True),))
    with pytest.raises(
        UserError, match=f"search.x.grow: sampler '{sampler}' cannot.*{why}.*tpe, random, qmc or gp"
    ):
        check_sampler(SAMPLERS[sampler](), space)
