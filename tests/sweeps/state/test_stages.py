"""Which trials of earlier stages count, against all that small spaces can propose."""

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.state.stages import Stage, configuration_in, placed, stage_at
from sweeps.state.trial import Trial
from sweeps.study.ranges import Growth
from sweeps.study.space import Space

NUMBERS = (1, 2, 3)
LETTERS = ("a", "b")


@st.composite
def stages(draw):
    """A stage of settings of few values: `letter`, and `count` and `size`, which may be searched
    only for some letters.
    """
    search, fixed = {}, {"letter": "a", "count": 1, "size": 2}
    for name, values in (("letter", LETTERS), ("count", NUMBERS), ("size", NUMBERS)):
        fixed[name] = draw(st.sampled_from(values))
        if not draw(st.booleans()):
            continue
        fixed[name] = values[0]  # the default of a searched setting
        kept = draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
        parent = search.get("letter")
        when = draw(st.booleans()) and name != "letter" and parent is not None
        search[name] = {"kind": "choice", "values": kept}
        if name != "letter" and draw(st.booleans()):
            search[name] = {"kind": "int", "low": 1, "high": draw(st.integers(2, 3))}
        if when:
            search[name]["when"] = {"letter": [draw(st.sampled_from(parent["values"]))]}
    return Stage(spec={"search": search}, fixed=fixed)


def all_of(stage):
    """Configuration → its settings in full, of everything that a stage can propose, by brute
    force.
    """
    search = stage.spec["search"]
    options = []
    for name, content in search.items():
        values = content.get("values") or range(content["low"], content["high"] + 1)
        options.append([(name, value) for value in values])
    found = {}
    for chosen in itertools.product(*options):
        params = dict(chosen)
        for name in [*params]:
            for parent, allowed in search[name].get("when", {}).items():
                if params.get(parent) not in allowed:
                    del params[name]
                    break
        found[tuple(params.items())] = {**stage.fixed, **params}
    return found


@settings(max_examples=300, deadline=None)
@given(stages(), stages())
def test_what_counts_is_what_the_present_stage_could_have_proposed(then, now):
    possible = all_of(now)
    for params, own in all_of(then).items():
        found = configuration_in(now, then, dict(params))
        if own in possible.values():
            assert found is not None
            assert possible[tuple(found.items())] == own
        else:
            assert found is None


@settings(max_examples=50, deadline=None)
@given(stages(), stages())
def test_returning_to_the_first_file_makes_its_trials_count_again(first, other):
    history = (first, replace(other, trial=10), replace(first, trial=20))
    for number, params in enumerate(all_of(first)):
        trial = Trial(
            number=number, repeat=False, state="complete", params=dict(params), objectives={}
        )
        after = placed(trial, history)
        assert (after.counts, after.params, after.stage) == (True, trial.params, 1)
    for params, own in all_of(other).items():
        found = placed(replace(trial, number=15, params=dict(params)), history)
        assert found.stage == 2
        assert found.counts == (own in all_of(first).values())


def test_a_study_of_one_stage_looks_at_no_trial():
    trial = Trial(number=0, repeat=False, state="complete", params={"x": 9}, objectives={})
    assert placed(trial, ()) is trial
    assert placed(trial, (Stage(),)) is trial


def test_settings_that_an_older_version_did_not_record_never_count():
    now = Stage(trial=5, spec={"search": {"x": {"kind": "float", "low": 0, "high": 1}}})
    assert configuration_in(now, replace(now, fixed=None), {"x": 0.5}) is None
    assert configuration_in(now, replace(now, fixed={}), {"x": 0.5}) == {"x": 0.5}


def test_a_list_is_a_value_and_a_whole_number_lies_in_a_range_of_floats():
    spec = {"search": {"widths": {"kind": "choice", "values": [[8, 8], [16]]}}}
    now = Stage(spec=spec, fixed={"widths": [16]})
    then = Stage(fixed={"widths": [8, 8]})
    assert configuration_in(now, then, {}) == {"widths": [8, 8]}
    assert configuration_in(then, now, {"widths": [8, 8]}) == {}
    assert configuration_in(then, now, {"widths": [16]}) is None
    floats = Stage(spec={"search": {"x": {"kind": "float", "low": 0.0, "high": 3.0}}})
    (value,) = configuration_in(floats, Stage(fixed={"x": 2}), {}).values()
    assert (value, type(value)) == (2.0, float)


def test_a_stage_knows_who_began_it_and_how_wide_its_ranges_are():
    spec = {"search": {"x": {"kind": "float", "low": 0.0, "high": 1.0, "grow": True}}}
    step = Growth(parameter="x", bound="upper", end=2.0, round=3, trial=7)
    grown = Stage(trial=7, spec=spec, grown=(step,))
    assert grown.by_search
    assert not replace(grown, trial=9).by_search
    assert grown.space == Space.from_dict(spec["search"]).grown((step,))
    history = (Stage(spec=spec), grown, replace(grown, trial=9, repeat=2))
    assert [stage_at(history, number) for number in (0, 6, 7, 8, 9)] == [0, 0, 1, 1, 2]
