"""The table of options: each field reaches the command, Python, Slurm's script and the recorded
command; nothing is listed here.
"""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import vaeexp
from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.launch.options import (
    EXECUTION,
    OPTIONS,
    Duration,
    Option,
    OrAuto,
    SweepOptions,
)

pytestmark = pytest.mark.usefixtures("keep_signals")
SAMPLES = {
    click.types.IntRange: "3",
    Duration: "1m30s",
    OrAuto: "7",
    click.Path: "elsewhere",
}


def sample(option: Option) -> str:
    """A value of an option, as text, that is not its default."""
    if isinstance(option.kind, click.Choice):
        return next(choice for choice in reversed(option.kind.choices) if choice != option.default)
    if option.multiple:
        return "epochs=3"
    if option.address:
        return f"file://host/{option.name}"
    return SAMPLES.get(type(option.kind), "another")


def flags(option: Option) -> list[str]:
    return [option.flag] if option.kind is click.BOOL else [option.flag, sample(option)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[SweepOptions]:
    """What was to be run; nothing is."""
    options: list[SweepOptions] = []

    def take(given: SweepOptions, *_: Any) -> bool:
        options.append(given)
        return False

    monkeypatch.setattr("vaeexp.launch.run.run_sweep", take)
    monkeypatch.setattr("vaeexp.api.load_study", lambda *place: place)
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS.values():
        if option.envvar:
            monkeypatch.delenv(option.envvar, raising=False)
    return options


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def by_command(taken: list[SweepOptions], *words: str) -> SweepOptions:
    done = invoke("sweep", *words)
    assert done.exit_code == 0, done.output
    return taken.pop()


def test_every_field_but_the_study_is_an_option_of_a_group_and_of_python():
    names = [field.name for field in fields(SweepOptions) if field.name not in ("study", "_")]
    assert [*OPTIONS] == names
    assert [*inspect.signature(vaeexp.run_study).parameters] == ["study", *names]


@pytest.mark.parametrize("option", OPTIONS.values(), ids=list(OPTIONS))
def test_an_option_reaches_the_command_python_and_the_command_that_continues_the_study(
    option, taken
):
    given = by_command(taken, "smoke", *flags(option))
    value = getattr(given, option.name)
    assert value != option.default
    assert given == SweepOptions("smoke", **{option.name: value})
    assert (option.name in given.execution) == (option.title == EXECUTION)
    as_text = value if option.kind is click.BOOL or option.multiple else sample(option)
    for typed in (value, as_text):
        vaeexp.run_study("smoke", **{option.name: typed})
        assert taken.pop() == given
    words = list(given.words())
    assert (option.flag in words) == option.recorded
    if option.recorded:
        assert by_command(taken, *words) == given


def test_slurm_passes_options_on(taken):
    words = [word for option in OPTIONS.values() for word in flags(option) if option.name != "name"]
    done = invoke("slurm", "smoke", "--time", "8:00:00", *words)
    assert done.exit_code == 0, done.output
    script = Path("smoke.sbatch").read_text(encoding="utf-8")
    assert " ".join(["smoke", *words]) in script


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS.values() if option.address], ids=lambda o: o.name
)
def test_the_password_of_an_address_stays_out_of_scripts_and_of_the_recorded_command(
    option, taken, monkeypatch
):
    address = f"scheme://me:hunter2@host/{option.name}"
    given = by_command(taken, "smoke", option.flag, address)
    assert [*given.words()][-2:] == [option.flag, f"scheme://me:***@host/{option.name}"]
    refusal = str(invoke("slurm", "smoke", "--time", "8:00:00", option.flag, address).exception)
    assert f"Put the address into {option.envvar}" in refusal
    assert "hunter2" not in refusal
    monkeypatch.setenv(str(option.envvar), address)
    assert [*given.words()] == ["smoke"], "the environment will give it again"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("trials", value) for value in (0, 2.5, "x")),
        *(("seconds", value) for value in (0, -1.5, "5x")),
        *(("lanes", value) for value in (0, 1.5, "many")),
        *(("resident_mb", -1), ("device", "tpu"), ("engine", "spark"), ("threads", 7.5)),
    ],
)
def test_python_refuses_what_the_command_refuses_with_its_words(name, value, taken):
    refused = invoke("sweep", "smoke", f"{OPTIONS[name].flag}={value}")
    assert refused.exit_code == 2
    problem = re.search(r"Invalid value for '.*?': (.*)", refused.output, re.DOTALL)
    with pytest.raises(UserError) as error:
        vaeexp.run_study("smoke", **{name: value})
    assert str(error.value) == f"{name}: {problem[1].strip()}"
    assert taken == []


def test_none_is_the_default_and_a_time_is_recorded_to_the_second(taken):
    vaeexp.run_study("smoke", **dict.fromkeys(OPTIONS))
    assert taken.pop() == SweepOptions("smoke")
    vaeexp.run_study("smoke", seconds=2_000_000)
    assert [*taken.pop().words()] == ["smoke", "--seconds", "2000000"]


@pytest.mark.parametrize(
    ("overrides", "words"), [("epochs=3", "must be a dict"), ({"epoch": 3}, None)]
)
def test_changes_are_a_dict(overrides, words, taken):
    if words is None:
        vaeexp.run_study("smoke", overrides=overrides)
        assert taken.pop().overrides == ("epoch=3",)
    else:
        with pytest.raises(UserError, match=words):
            vaeexp.run_study("smoke", overrides=overrides)
