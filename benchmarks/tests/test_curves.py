"""Tables of learning curves: their configurations, their files, their checks, and real ones of a
few seconds.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curve_lanes import CurveLanes, Wanted, curve_of
from curve_table import (
    append,
    identified,
    live_file,
    load_table,
    pack,
    position,
    read_lines,
    to_line,
)
from curves import Plan, check_design, next_round, plan_of, status
from designs import LARGE, SPACES, first_configurations, near_configurations, open_space
from hypothesis import given
from hypothesis import strategies as st

from sweeps.lanes import Failure, Progress
from sweeps.study.space import Parameter, Space
from sweeps.study.study import Study
from vaeexp.data import open_dataset
from vaeexp.settings import SECTIONS
from vaeexp.study import open_study_file, settings_of

SEARCH = Path(__file__).resolve().parent.parent / "search"
PLAN = Plan(first=12, near=6, round=5)
EPOCHS = 3


def unit(study: Study, params: dict[str, Any]) -> list[float]:
    """The quantiles of a configuration's numeric parameters."""
    numeric = [parameter for parameter in study.space.parameters if parameter.kind != "choice"]
    return [
        position(parameter, params[parameter.name])
        for parameter in numeric
        if parameter.name in params
    ]


@pytest.mark.parametrize("name", SPACES)
def test_configurations_are_distinct_points_of_the_space(name: str) -> None:
    study = open_space(name)
    first = first_configurations(study)
    near = near_configurations(study.space, first, first[20:30])
    both = [*first, *near]
    assert (len(first), len(near), len({json.dumps(params) for params in both})) == (150, 50, 200)
    for params in both:
        assert list(params) == study.space.active(params)
        assert all(study.space[key].allows(value) for key, value in params.items())
        assert json.loads(json.dumps(params)) == params
    assert first_configurations(study, 40) == first[:40]
    assert settings_of(study).train.epochs == (10 if name == "D" else 30)


@pytest.mark.parametrize(("name", "shipped"), [("A", "beta_mnist"), ("B", "mog_mnist")])
def test_a_and_b_are_the_shipped_spaces_on_fewer_images(name: str, shipped: str) -> None:
    study, original = open_space(name), open_study_file(shipped)
    given = {"train_size": 10_000, "validation_size": 5_000, "epochs": 30, "patience": 0}
    assert settings_of(study) == settings_of(original).with_params(given)
    assert study.space.names == original.space.names
    for parameter in original.space.parameters:
        assert study.space[parameter.name].when == parameter.when
        ends = parameter.values or (parameter.low, parameter.high)
        assert all(study.space[parameter.name].allows(end) for end in ends)
    first = first_configurations(study)
    assert all(dict(start) in first for start in original.start)
    if name == "B":
        assert all(params in first for params in original.space.configurations())
    else:
        assert study.space == original.space


def test_the_large_table_has_the_first_configurations_of_a() -> None:
    large, small = open_space(LARGE), open_space("A")
    assert settings_of(large) == settings_of(small).with_params({"train_size": 50_000})
    plan = plan_of(LARGE)
    assert first_configurations(large, plan.first) == first_configurations(small)[: plan.first]
    assert (plan.near, plan_of("A")) == (0, Plan())


@pytest.mark.parametrize("name", SPACES)
def test_sobol_points_fill_the_space_evenly_and_others_stay_near_their_centre(name: str) -> None:
    """Independent draws lie further than 0.03 from even ones in 97 of 100 cases (the
    Kolmogorov–Smirnov distance of 256).
    """
    study = open_space(name)
    drawn = first_configurations(study, 556)[-256:]
    for parameter in study.space.parameters:
        if parameter.size is None and not parameter.when:
            quantiles = np.sort([position(parameter, params[parameter.name]) for params in drawn])
            assert np.abs(quantiles - (np.arange(256) + 0.5) / 256).max() < 0.03
    centre = drawn[0]
    moved = near_configurations(study.space, drawn, [centre], 200)
    same = [params for params in moved if params.keys() == centre.keys()]
    steps = np.array([unit(study, params) for params in same]) - unit(study, centre)
    assert 0.5 * 0.08 < np.median(np.abs(steps)) * 1.48 < 1.5 * 0.08


ranges = st.builds(
    lambda low, width, log, step: Parameter(
        name="x",
        kind="int",
        low=low,
        high=low + width * (1 if log else step),
        log=log,
        step=None if log else step,
    ),
    *(st.integers(1, 50), st.integers(1, 60), st.booleans(), st.integers(1, 4)),
)
choices = st.integers(1, 6).map(
    lambda n: Parameter(name="x", kind="choice", values=tuple([i, i] for i in range(n)))
)
floats = st.builds(
    lambda low, factor, log: Parameter(name="x", kind="float", low=low, high=low * factor, log=log),
    *(st.floats(1e-6, 10), st.floats(1.5, 1e4), st.booleans()),
)


@given(ranges | choices | floats, st.floats(0, 1, exclude_max=True))
def test_the_position_of_a_value_is_a_quantile_of_it(parameter: Parameter, quantile: float) -> None:
    value = parameter.at(quantile)
    assert 0 <= position(parameter, value) <= 1
    again = parameter.at(min(position(parameter, value), 1 - 1e-12))
    assert again == value if parameter.kind != "float" else math.isclose(again, value, rel_tol=1e-6)


def origin_of(study: Study, **changes: Any) -> dict[str, Any]:
    settings = settings_of(study).with_params({"epochs": EPOCHS}).model_dump(mode="json")
    sections = {name: settings[name] for name in ("data", "model", "train")}
    known = {
        "space": study.name,
        "epochs": EPOCHS,
        "search": study.space.as_dict(),
        "settings": sections,
    }
    return identified(
        {**known, "seed": study.seed, "fingerprint": "f", "sizes": [1, 2, 3], "code": {}, **changes}
    )


def curve(
    one: Wanted, origin: str, end: float, *, diverged_after: int | None = None
) -> dict[str, Any]:
    length = EPOCHS if diverged_after is None else diverged_after
    places = {
        "configuration": one.configuration,
        "stage": one.stage,
        "params": dict(one.params),
        "seed": one.seed,
    }
    values = {
        "neg_elbo": [end + 3.0 - epoch for epoch in range(1, length + 1)],
        "rate": [20.0] * length,
    }
    rest = {
        "seconds": [0.5] * length,
        "diverged": diverged_after is not None,
        "date": "d",
        "origin": origin,
    }
    return {**places, **values, **rest}


@pytest.fixture(scope="module")
def small_space() -> Study:
    """Space A with the epochs of these tables."""
    study = open_space("A")
    section = study.fixed["train"]
    return replace(
        study, fixed={**study.fixed, "train": section.model_copy(update={"epochs": EPOCHS})}
    )


def truth(params: dict[str, Any]) -> float:
    """Nats of a configuration, with the best near learning rate 0.001 and β 1."""
    return (
        100
        + 5 * math.log10(params["learning_rate"] / 1e-3) ** 2
        + 5 * math.log10(params["beta"]) ** 2
    )


def trained(
    study: Study, folder: Path, stops: Callable[[], bool] = lambda: False
) -> list[tuple[int, int]]:
    """Write the curves that the plan asks for, until there are no more or `stops`; (configuration,
    seed) in order.
    """
    origin, done = origin_of(study), list[tuple[int, int]]()
    append(live_file(study.name, folder), to_line(origin))
    while (wanted := next_round(study, folder, PLAN)[1]) and not stops():
        for one in wanted:
            value = truth(dict(one.params)) + 0.2 * math.sin(37 * one.configuration + 11 * one.seed)
            append(live_file(study.name, folder), to_line(curve(one, origin["id"], value)))
            done.append((one.configuration, one.seed))
            if stops():
                break
    return done


def test_a_plan_goes_through_its_rounds(small_space: Study, tmp_path: Path) -> None:
    done = trained(small_space, tmp_path)
    assert done[:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {number for number, _ in done} == set(range(18))
    table = load_table("A", tmp_path)
    assert table.stages == ("first",) * 12 + ("near",) * 6
    pairs = table.of_seeds(2)
    more = {number for number, seed in done if seed >= 2}
    limit = pairs.means().min() + 2 * pairs.spread()
    assert more == {number for number in table.numbers if pairs.means()[number] <= limit}
    assert 0 < len(more) < 18
    assert {seed for number, seed in done if number in more} == {0, 1, 2, 3}
    assert next_round(small_space, tmp_path, PLAN) == (math.inf, [])
    assert status(small_space, tmp_path, PLAN).endswith(
        "0.50 s of a processor an epoch, 2400 curves an hour on each; complete"
    )


@pytest.mark.parametrize("after", [1, 13, 31])
def test_a_plan_that_is_cut_off_anywhere_ends_with_the_same_curves(
    small_space: Study, tmp_path: Path, after: int
) -> None:
    whole = trained(small_space, tmp_path / "whole")
    left = iter(range(after))
    before = trained(small_space, tmp_path / "cut", lambda: next(left, None) is None)
    assert len(before) < len(whole)
    with live_file("A", tmp_path / "cut").open("a", encoding="utf-8") as file:
        file.write('{"configuration":3,"sta')  # a process was killed while it wrote
    trained(small_space, tmp_path / "cut")
    assert read_lines("A", tmp_path / "cut")[1] == read_lines("A", tmp_path / "whole")[1]


def test_parts_hold_each_curve_once_and_are_read_together(
    small_space: Study, tmp_path: Path
) -> None:
    live, parts = tmp_path / "live", tmp_path / "parts"
    left = iter(range(9))
    trained(small_space, live, lambda: next(left, None) is None)
    assert pack("A", live, parts) == parts / "A-001.jsonl.xz"
    assert pack("A", live, parts) is None
    trained(small_space, live)
    assert pack("A", live, parts) == parts / "A-002.jsonl.xz"
    ours, packed = load_table("A", live), load_table("A", parts)
    np.testing.assert_array_equal(ours.neg_elbo, packed.neg_elbo)
    assert ours.configurations == packed.configurations
    # Whoever continues from the parts has the whole plan, and the live file beside its own parts
    # does not count twice.
    assert next_round(small_space, parts, PLAN)[1] == []
    pack("A", live, live)
    np.testing.assert_array_equal(load_table("A", live).neg_elbo, ours.neg_elbo)


def test_a_table_is_what_its_curves_say(small_space: Study, tmp_path: Path) -> None:
    first, origin = first_configurations(small_space, 3), origin_of(small_space)
    one = [
        Wanted(configuration=n, stage="first", params=params, seed=0)
        for n, params in enumerate(first)
    ]
    lines = [
        curve(one[0], origin["id"], 100.0),
        curve(replace(one[0], seed=1), origin["id"], 102.0),
        curve(one[2], origin["id"], 90.0, diverged_after=2),
    ]
    write(tmp_path, origin, *lines)
    table = load_table("A", tmp_path)
    assert (table.numbers, table.epochs, table.neg_elbo.shape) == ((0, 2), EPOCHS, (2, 2, EPOCHS))
    assert table.neg_elbo[table.row(0), 1].tolist() == [104.0, 103.0, 102.0]
    np.testing.assert_array_equal(table.neg_elbo[table.row(2), 0], [92.0, 91.0, math.nan])
    np.testing.assert_array_equal(table.objectives(), [[100.0, 102.0], [math.inf, math.nan]])
    assert table.means().tolist() == [101.0, math.inf]
    assert table.spread() == pytest.approx(math.sqrt(2))
    assert table.near_best(2).tolist() == [0]
    frame = table.frame()
    assert len(frame) == 8
    assert frame.query("configuration == 0 and seed == 1 and epoch == 3")["neg_elbo"].tolist() == [
        102.0
    ]
    assert set(small_space.space.names) <= set(frame.columns)
    assert table.within(small_space.space).numbers == (0, 2)
    normal = replace(small_space.space["prior"], values=("normal",))
    priors = [
        normal if parameter.name == "prior" else parameter
        for parameter in small_space.space.parameters[:-1]
    ]
    assert table.within(Space(tuple(priors))).numbers == (0,)


def write(folder: Path, *contents: dict[str, Any]) -> None:
    live_file("A", folder).write_text("".join(map(to_line, contents)), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["params"].update(beta=1e6), "beta"),
        (lambda c: c["params"].update(components=4), "got the parameters"),
        (lambda c: c["params"].pop("beta"), "got the parameters"),
        (lambda c: c["rate"].pop(), "epochs of 3"),
        (lambda c: [c[name].pop() for name in ("neg_elbo", "rate", "seconds")], "diverged: False"),
        (lambda c: c.update(diverged=True), "diverged: True"),
        (lambda c: c["seconds"].__setitem__(0, -1.0), "negative"),
        (lambda c: c.update(origin="0" * 12), "unknown origin"),
    ],
)
def test_a_damaged_curve_is_refused(
    small_space: Study, tmp_path: Path, change: Callable, words: str
) -> None:
    origin = origin_of(small_space)
    [params] = first_configurations(small_space, 1)
    line = curve(Wanted(configuration=0, stage="first", params=params, seed=0), origin["id"], 100.0)
    write(tmp_path, origin, line)
    load_table("A", tmp_path)
    change(line)
    write(tmp_path, origin, line)
    with pytest.raises(ValueError, match=words):
        load_table("A", tmp_path)


def test_what_does_not_belong_together_is_refused(small_space: Study, tmp_path: Path) -> None:
    origin = origin_of(small_space)
    [params] = first_configurations(small_space, 1)
    one = Wanted(configuration=0, stage="first", params=params, seed=0)
    line = curve(one, origin["id"], 100.0)
    write(tmp_path, origin, line, origin_of(small_space, code={"vaeexp": "later"}), line)
    assert len(load_table("A", tmp_path).origins) == 2
    for other, words in (
        (origin_of(small_space, fingerprint="other"), "differ in fingerprint"),
        (origin_of(small_space, seed=1), "differ in seed"),
        (origin_of(small_space, space="B"), "space B"),
        ({**origin, "code": {"vaeexp": "?"}}, "was changed"),
        (curve(one, origin["id"], 101.0), "two different curves"),
        (curve(replace(one, seed=1, stage="near"), origin["id"], 101.0), "other parameters"),
    ):
        write(tmp_path, origin, line, other)
        with pytest.raises(ValueError, match=words):
            load_table("A", tmp_path)
    with pytest.raises(ValueError, match="no curves"):
        load_table("B", tmp_path)


def test_a_table_of_other_configurations_is_not_continued(
    small_space: Study, tmp_path: Path
) -> None:
    origin = origin_of(small_space)
    params = first_configurations(small_space, 2)
    write(
        tmp_path,
        origin,
        curve(Wanted(configuration=0, stage="first", params=params[1], seed=0), origin["id"], 1.0),
    )
    with pytest.raises(ValueError, match="configuration 0 is"):
        next_round(small_space, tmp_path, PLAN)
    with pytest.raises(ValueError, match="other settings"):
        check_design(open_space("A"), load_table("A", tmp_path), PLAN)


def test_only_divergence_is_a_property_of_a_configuration() -> None:
    one = Wanted(configuration=5, stage="first", params={}, seed=1)
    fine = Progress(number=0, epoch=1, objective=100.0, metrics={"val/rate": 20.0, "seconds": 0.1})

    def end(kind: str) -> Progress:
        failure = Failure(kind=kind, message="It ended.")
        return Progress(number=0, epoch=2, objective=math.nan, finished=True, failure=failure)

    assert curve_of(one, [fine, end("diverged")])["diverged"]
    assert curve_of(one, [fine, end("diverged")])["neg_elbo"] == [100.0]
    with pytest.raises(RuntimeError, match="configuration 5, seed 1: It ended"):
        curve_of(one, [fine, end("out_of_memory")])


DIGITS = """
question: Does a table hold what workers train?
data: {dataset: mnist, binarisation: static, train_size: 300}
model: {network: mlp, hidden: [16]}
train: {epochs: 2, batch_size: 50}
search:
  learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
  latent_size: {low: 2, high: 8}
budget: {trials: 2}
"""

TRAIN = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from curves import Plan, plan_of, next_round, train_round
from vaeexp.data import open_dataset
from vaeexp.study import open_study_file, settings_of

if __name__ == "__main__":
    folder, plan = Path(sys.argv[3]), Plan(first=int(sys.argv[4]), near=0, compile=False)
    study = open_study_file(sys.argv[2])
    dataset = open_dataset(settings_of(study).data, say=lambda text: None)
    number, wanted = next_round(study, folder, plan)
    train_round(study, dataset, number, wanted, folder, plan, float("inf"))
"""


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.delenv("VAEEXP_DATA", raising=False)
    (tmp_path / "D.yaml").write_text(DIGITS, encoding="utf-8")
    return open_study_file(str(tmp_path / "D.yaml"))


@pytest.mark.slow
def test_real_workers_train_a_table(digits: Study, tmp_path: Path) -> None:
    """Two configurations of two epochs on the bundled digits; the second time in another order,
    which changes no number.
    """
    dataset = open_dataset(settings_of(digits).data, say=lambda text: None)
    first = first_configurations(digits, 2)
    wanted = [
        Wanted(configuration=n, stage="first", params=p, seed=s)
        for n, p in enumerate(first)
        for s in (0, 1)
    ]
    file = live_file("D", tmp_path)
    with closing(CurveLanes(digits, dataset, workers=2, compile=False)) as lanes:
        origin = lanes.origin()
        append(file, to_line(origin))
        for line in lanes.train(wanted):
            append(file, to_line({**line, "origin": origin["id"]}))
        again = {(c["configuration"], c["seed"]): c for c in lanes.train(reversed(wanted))}
    table = load_table("D", tmp_path)
    assert table.trained.all()
    assert not table.diverged.any()
    assert table.neg_elbo.shape == (2, 2, 2)
    assert (table.rate < table.neg_elbo).all()
    assert (table.seconds > 0).all()
    assert (np.diff(table.neg_elbo, axis=1) != 0).all(), "seeds give different numbers"
    assert {name: again[0, 0][name] for name in ("neg_elbo", "rate")} == {
        "neg_elbo": table.neg_elbo[0, 0].tolist(),
        "rate": table.rate[0, 0].tolist(),
    }
    assert set(origin["settings"]) == set(SECTIONS) - {"evaluation"}
    assert origin["fingerprint"] == dataset.fingerprint
    assert str(tmp_path) not in json.dumps(origin)


@pytest.mark.slow
def test_a_killed_process_loses_the_curves_at_hand_alone(digits: Study, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(SEARCH.parents[1])}
    command = [sys.executable, str(script), str(SEARCH), str(tmp_path / "D.yaml")]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(
        [*command, str(killed), "20"], env=environment, stdout=subprocess.PIPE
    ) as process:
        while not live_file("D", killed).exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = read_lines("D", killed)[1]
    for folder in (killed, whole):
        subprocess.run(
            [*command, str(folder), "20"], env=environment, check=True, capture_output=True
        )
    after, straight = read_lines("D", killed)[1], read_lines("D", whole)[1]
    assert len(before) < len(after) == len(straight) == 40
    assert before.items() <= after.items()
    for place, line in straight.items():
        assert [after[place][name] for name in ("params", "neg_elbo", "rate")] == [
            line[name] for name in ("params", "neg_elbo", "rate")
        ]
