"""The gate sees a planted difference, names it, and sees none where there is none."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare
import pytest
from masks import unmasked

ROW = {"number": 0, "state": "complete", "objective": 0.1 + 0.2, "params.x": 0.5}
TRIAL = {"number": 3, "params": {"x": 0.25}}
RECORD = {
    "results": {"trials": {"rows": [ROW, ROW | {"number": 1}]}},
    "calls": ["add 0", "advance 0"],
    "shown": {
        "calls": [{"asked": "TPESampler.sample_relative", "trials": "list", "answer": {}}],
        "trials": {"list": '["trial"]', "trial": json.dumps(TRIAL)},
    },
}


def last_bit(record: dict[str, Any]) -> None:
    record["results"]["trials"]["rows"][1]["objective"] = 0.3


def a_call_more(record: dict[str, Any]) -> None:
    record["calls"].append("advance 0 1")


def another_trial_shown(record: dict[str, Any]) -> None:
    other = json.dumps(TRIAL | {"params": {"x": 0.75}})
    record["shown"]["calls"][0]["trials"] = "other list"
    record["shown"]["trials"] = {"other list": '["other"]', "other": other}


PLANTED: dict[str, Callable[[dict[str, Any]], None]] = {
    "results / trials / rows / 1 / objective": last_bit,
    "calls / 2": a_call_more,
    "shown / calls / 0 / trials / 0 / params / x": another_trial_shown,
}


def recorded(folder: Path, record: dict[str, Any]) -> Path:
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_equal_recordings_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [recorded(tmp_path / name, RECORD) for name in ("former", "new")]
    assert not compare.report("tables", *folders, [(1.0, 1.0), (2.0, 2.0)])
    assert "tables: results                   2      2          0" in capsys.readouterr().out


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_difference_is_named(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(RECORD)
    PLANTED[place](changed)
    folders = [recorded(tmp_path / "former", RECORD), recorded(tmp_path / "new", RECORD)]
    (tmp_path / "new" / "two.json").write_text(json.dumps(changed), encoding="utf-8")
    assert compare.report("tables", *folders, [(1.0, 1.0), (2.0, 2.0)])
    said = capsys.readouterr().out
    assert f"  two\n    {place}\n" in said


def test_a_missing_case_and_an_empty_part_differ(tmp_path: Path) -> None:
    folders = [recorded(tmp_path / "former", RECORD), recorded(tmp_path / "new", RECORD)]
    (tmp_path / "new" / "two.json").unlink()
    assert compare.report("tables", *folders, [(1.0, 1.0), (2.0, 2.0)])
    empty = [tmp_path / "none", tmp_path / "neither"]
    assert compare.report("tables", *empty, [(1.0, 1.0), (2.0, 2.0)])


def test_only_masked_keys_are_left_out() -> None:
    record = {
        "started": 1.0,
        "metrics": {"seconds": 2.0, "loss": 3.0},
        "trials": [{"at": 4.0, "epoch": 5}],
    }
    assert unmasked(record) == {"metrics": {"loss": 3.0}, "trials": [{"epoch": 5}]}
