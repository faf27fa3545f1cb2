"""The JSON Schema of study files: what an editor checks is what the reader accepts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from study_schema import study_schema

from sweeps.study.yaml_file import parse_yaml
from vaeexp.settings import SECTIONS

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
# tests/test_docs.py holds it up to date.
WRITTEN = ROOT / "docs" / "reference" / "study.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(WRITTEN.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_names_the_schema_and_fits_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == WRITTEN
    assert [error.message for error in VALIDATOR.iter_errors(parse_yaml(text, path.name)[0])] == []


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
    for inner in (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    ):
        yield from properties(inner)


def test_every_property_says_what_it_is() -> None:
    VALIDATOR.check_schema(VALIDATOR.schema)
    described = [
        (name, value) for name, value in properties(study_schema(SECTIONS)) if "$ref" not in value
    ]
    assert len(described) > 100
    assert [
        name for name, value in described if not str(value.get("description", "")).endswith(".")
    ] == []


SEARCH = {"beta": {"low": 0.1, "high": 2}}


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"question": "a", "search": SEARCH, "trials": 3, "epochs": 2, "hidden": [64]}, True),
        (
            {
                "extends": "beta_mnist",
                "search": {"beta": None, "prior": {"values": ["normal"]}},
                "compare": None,
            },
            True,
        ),
        ({"extends": "beta_mnist", "search": {"beta": {"low": 0.2}}}, True),
        ({"question": "a", "search": SEARCH, "network": "my_package.my_module:MyNetwork"}, True),
        (
            {
                "question": "a",
                "search": SEARCH,
                "start": [{"study": "b", "top": 2}, {"beta": 1}, {}],
            },
            True,
        ),
        ({"question": "a", "search": SEARCH, "learn_from": "b"}, True),
        ({"question": "a", "search": {"beta": {"low": 0.1, "high": 2, "grow": True}}}, True),
        ({"question": "a", "search": SEARCH, "start": [{"study": "b", "top": 0}]}, False),
        ({"question": "a", "search": SEARCH, "start": [{"top": 2}]}, False),
        ({"search": SEARCH}, False),
        ({"question": "a", "search": SEARCH, "hidden": [0]}, False),
        ({"question": "a", "search": SEARCH, "model": {"hiden": [8]}}, False),
        ({"question": "a", "search": {"beta": {"low": -1, "high": 2}}}, False),
        ({"question": "a", "search": {"optimizer": {"low": 1, "high": 2}}}, False),
        ({"question": "a", "search": {"prior": {"values": ["norml"]}}}, False),
        ({"question": "a", "search": SEARCH, "sampler": {"name": "tpe", "startup": 3}}, False),
        ({"question": "a", "search": SEARCH, "pruner": "medain"}, False),
        (
            {"question": "a", "search": SEARCH, "baselines": {"a": {"settings": {"beta": -1}}}},
            False,
        ),
    ],
)
def test_the_schema_takes_and_refuses_what_the_reader_does(
    content: dict[str, Any], fits: bool
) -> None:
    assert VALIDATOR.is_valid(content) == fits
