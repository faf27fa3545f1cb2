"""The search space: whatever is drawn from it obeys bounds, steps, types and conditions."""

import json
import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.errors import UserError
from sweeps.storage.trial_record import decoder
from sweeps.study.space import Parameter, Space

NAMES = ["beta", "latent_size", "optimizer", "prior", "components", "hidden"]
SCALARS = st.one_of(
    st.integers(-5, 5), st.sampled_from(["adam", "adamax", "a b"]), st.booleans(), st.none()
)
VALUES = st.one_of(SCALARS, st.lists(st.integers(1, 600), min_size=1, max_size=3))


@st.composite
def parameters(draw, name, earlier=()):
    kind = draw(st.sampled_from(["float", "int", "choice"]))
    when = {}
    parents = [parameter for parameter in earlier if parameter.kind == "choice"]
    if parents and draw(st.booleans()):
        parent = draw(st.sampled_from(parents))
        when = {
            parent.name: tuple(
                draw(st.lists(st.sampled_from(parent.values), min_size=1, max_size=2))
            )
        }
    if kind == "choice":
        values = draw(
            st.lists(
                VALUES,
                min_size=1,
                max_size=4,
                unique_by=lambda value: repr(1 * value if value in (True, False) else value),
            )
        )
        return Parameter(name=name, kind="choice", values=tuple(values), when=when)
    log = draw(st.booleans())
    if kind == "int":
        low, step = draw(st.integers(1, 20)), draw(st.sampled_from([None, 1, 3]))
    else:
        low = draw(st.sampled_from([1e-4, 0.1, 1.0, 7.5]))
        step = draw(st.sampled_from([None, 0.1, 0.25]))
    step = None if log else step
    high = low + draw(st.integers(1, 12)) * (step or 1)
    return Parameter(
        name=name, kind=kind, low=low, high=round(high, 9), log=log, step=step, when=when
    )


@st.composite
def spaces(draw):
    found = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        found.append(draw(parameters(name, found)))
    return Space(tuple(found))


def assert_valid(params, space):
    assert list(params) == space.active(params)
    for name, value in params.items():
        parameter = space[name]
        assert parameter.allows(value)
        assert parameter.kind != "int" or type(value) is int
        assert parameter.kind != "float" or type(value) is float
    for parameter in space.parameters:
        holds = all(
            parent in params and params[parent] in map(untuple, values)
            for parent, values in parameter.when.items()
        )
        assert (parameter.name in params) == holds


def untuple(value):
    return list(value) if isinstance(value, tuple) else value


def ask(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.suggest(trial), study.trials[0]


@settings(max_examples=80, deadline=None)
@given(spaces(), st.integers(0, 999))
def test_what_is_suggested_obeys_the_space_and_survives_the_storage(space, seed):
    params, stored = ask(space, seed)
    assert_valid(params, space)
    assert json.loads(json.dumps(params)) == params
    assert decoder(space)(stored.params) == params
    assert {name: space[name].encode(value) for name, value in params.items()} == stored.params


@settings(max_examples=80, deadline=None)
@given(spaces())
def test_a_space_comes_back_from_json(space):
    again = Space.from_dict(json.loads(json.dumps(space.as_dict())))
    assert again == space
    assert hash(again) == hash(space)
    assert again.names == space.names


@settings(max_examples=80, deadline=None)
@given(spaces(), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_every_quantile_is_a_value_and_they_are_in_order(space, one, other):
    for parameter in space.parameters:
        low, high = (parameter.at(quantile) for quantile in sorted((one, other)))
        assert parameter.allows(low)
        assert parameter.allows(high)
        assert parameter.kind == "choice" or low <= high


@settings(max_examples=80, deadline=None)
@given(spaces())
def test_a_grid_has_every_valid_combination_once(space):
    if any(parameter.kind == "float" and parameter.step is None for parameter in space.parameters):
        with pytest.raises(UserError, match=r"search\.\w+: a grid needs a finite list"):
            space.configurations()
        return
    if math.prod(parameter.size for parameter in space.parameters) > 3000:
        return
    configurations = space.configurations()
    for params in configurations:
        assert_valid(params, space)
    # all combinations, without what is inactive in them
    expected = {"{}"}
    for name, values in ((parameter.name, parameter.listed()) for parameter in space.parameters):
        decoded = [json.loads(text) for text in expected]
        expected = {
            json.dumps(params | extra)
            for params in decoded
            for extra in (
                [{name: value} for value in values] if name in space.active(params) else [{}]
            )
        }
    assert {json.dumps(params) for params in configurations} == expected
    assert len(configurations) == len(expected)


def test_grids_do_not_depend_on_the_order_of_the_file():
    one = Parameter(name="beta", kind="float", low=0.0, high=1.0, step=0.1)
    two = Parameter(name="prior", kind="choice", values=("normal", "mixture"))
    assert Space((one, two)).configurations() == Space((two, one)).configurations()
    assert one.listed() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_a_grid_that_is_too_large_is_refused():
    space = Space(tuple(Parameter(name=name, kind="int", low=1, high=100) for name in "abc"))
    with pytest.raises(UserError, match="more than 100,000 combinations"):
        space.configurations()


CHAIN = Space(
    (
        Parameter(name="prior", kind="choice", values=("normal", "mixture")),
        Parameter(name="components", kind="int", low=2, high=4, when={"prior": ("mixture",)}),
        Parameter(
            name="beta",
            kind="float",
            low=0.1,
            high=1.0,
            when={"components": (3, 4), "prior": ("mixture",)},
        ),
    )
)


@pytest.mark.parametrize(
    ("params", "active"),
    [
        ({}, ["prior"]),
        # The stale value of an inactive parameter does not count.
        ({"prior": "normal", "components": 3}, ["prior"]),
        ({"prior": "mixture", "components": 2}, ["prior", "components"]),
        ({"prior": "mixture", "components": 3}, ["prior", "components", "beta"]),
    ],
)
def test_conditions_hold_along_a_chain(params, active):
    assert CHAIN.active(params) == active


def test_context_is_a_setting_under_which_the_parameter_is_searched():
    assert CHAIN.context("prior") == {}
    assert CHAIN.context("beta") == {"prior": "mixture", "components": 3}


def test_maximum():
    space = Space(
        (
            Parameter(name="components", kind="int", low=2, high=64),
            Parameter(name="latent_size", kind="choice", values=(2, 40, 8)),
            Parameter(name="prior", kind="choice", values=("normal", "mixture")),
        )
    )
    assert [space.maximum(name) for name in ("components", "latent_size", "prior", "beta")] == [
        64,
        40,
        None,
        None,
    ]


def test_a_log_range_of_whole_numbers_gives_both_ends_their_share():
    parameter = Parameter(name="components", kind="int", low=2, high=64, log=True)
    drawn = [parameter.at((index + 0.5) / 10_000) for index in range(10_000)]
    share = math.log(2.5 / 1.5) / math.log(64.5 / 1.5)
    assert drawn.count(2) / 10_000 == pytest.approx(share, abs=1e-3)
    assert (min(drawn), max(drawn)) == (2, 64)
