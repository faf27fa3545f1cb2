"""The command doctor on a study that was really trained: green when healthy, red by damage,
repaired, JSON, exit status.
"""

import json
import re
import shutil

import pytest
from click import Context
from click.testing import CliRunner
from tiny_study import NAME

from sweeps.doctor.findings import Finding
from sweeps.storage.journal import journal_path
from vaeexp.commands import cli
from vaeexp.commands.doctor import remedy_of
from vaeexp.console import program
from vaeexp.launch.options import TRACKED, Places


@pytest.fixture
def place(tmp_path, tiny_study, empty_store, monkeypatch):
    shutil.copytree(tiny_study / "mlruns", tmp_path / "mlruns")
    shutil.copy(empty_store, tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def doctor(*arguments):
    done = CliRunner().invoke(cli, ["doctor", *arguments], catch_exceptions=False)
    return done.exit_code, done.stdout


def test_a_study_is_examined_damaged_repaired_and_examined(place):
    code, said = doctor(NAME, "--repair")
    assert code == 0, said
    assert said.count("versions – ") == 1, "only what was repaired is looked at again"
    assert f"✓ {NAME}: mirror – MLflow at mlruns/mlflow.db\n" in said
    code, said = doctor(NAME, "--json")
    answer = json.loads(said)
    assert (code, answer["repairs"], {each["ok"] for each in answer["findings"]}) == (0, [], {True})
    names = [each["name"] for each in answer["findings"]]
    assert {"versions", "device"} < set(names)
    assert [name for name in names if NAME in name] == [
        f"{NAME}: {part}" for part in ("journal", "driver", "files", "mirror")
    ]

    path = journal_path(place / "mlruns", NAME)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-2] = re.sub(
        rb"(\d)(\D*,\"crc32)", lambda m: b"%d" % ((int(m[1]) + 1) % 10) + m[2], lines[-2]
    )
    path.write_bytes(b"".join(lines))
    code, said = doctor()
    assert code == 1
    (wrong,) = (line for line in said.splitlines() if line.startswith("✗"))
    assert wrong.startswith(
        f"✗ {NAME}: journal – line {len(lines) - 1} of mlruns/journal/{NAME}.log is damaged: its "
        "checksum"
    )
    assert wrong.endswith(
        f"– `{program()} doctor {NAME} --repair` keeps the {len(lines) - 2:,} records before it"
    )
    assert path.read_bytes() == b"".join(lines)
    code, said = doctor(NAME, "--repair", "--json")
    answer = json.loads(said)
    assert f"kept {len(lines) - 2:,} records; the other 2 are in" in answer["repairs"][0]
    assert code == 0, "what stood behind the damage is repaired, too"
    assert {each["ok"] for each in answer["findings"] if "mirror" not in each["name"]} == {True}


def test_a_study_that_is_not_there_is_wrong(place):
    code, said = doctor("nothing")
    assert code == 1
    assert "✗ nothing: journal – mlruns: no such study 'nothing'" in said


def test_remedies_name_the_places_of_the_command_where_they_are_options(tmp_path, monkeypatch):
    monkeypatch.delenv("VAEEXP_TRACKING", raising=False)
    places = Places(tmp_path / "runs", None, "http://ann:secret@host:5000")
    remedy = (
        "`vaeexp reproduce s/1 --restore` makes it again, `vaeexp sync s` brings it, `vaeexp "
        "doctor s --repair` mends it"
    )
    said = remedy_of(Finding(name="x", ok=False, words="y", remedy=remedy), places)
    options = f" --runs {tmp_path / 'runs'}"
    tracked = f"{options} --tracking 'http://ann:***@host:5000'"
    assert said == (
        f"`{program()} reproduce s/1 --restore{options}` makes it again, `{program()} sync "
        f"s{tracked}` brings it, `{program()} doctor s --repair{tracked}` mends it"
    )
    for name in ("doctor", "reproduce", "sweep", "sync", "report", "restore", "ui"):
        command = cli.get_command(Context(cli), name)
        takes_it = "--tracking" in {
            option for parameter in command.params for option in parameter.opts
        }
        assert takes_it == (name in TRACKED)
    monkeypatch.setenv("VAEEXP_TRACKING", "http://ann:secret@host:5000")
    assert "--tracking" not in remedy_of(
        Finding(name="x", ok=False, words="y", remedy=remedy), places
    )
