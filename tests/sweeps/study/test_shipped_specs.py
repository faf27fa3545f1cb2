"""The spec of each shipped study, pinned: a stored study continues only where its spec is the same."""

import json
from pathlib import Path

import pytest

from sweeps.study.study_file import load_study
from vaeexp.settings import SECTIONS

STUDIES = Path(__file__).parents[3] / "studies"
PINNED = json.loads(Path(__file__).with_name("shipped_specs.json").read_text(encoding="utf-8"))
OVERRIDES = {
    "beta_mnist --set": (
        *("pruner.name=hyperband", "prior=mixture", "sampler=qmc", "search.epochs.low=3", "search.epochs.high=27"),
        *("hidden=[64, 64]", "dataset=fashion_mnist"),
    )
}


def test_every_shipped_study_is_pinned() -> None:
    assert {path.stem for path in STUDIES.glob("*.yaml")} | set(OVERRIDES) == set(PINNED)


@pytest.mark.parametrize("name", PINNED)
def test_a_shipped_study_has_the_spec_that_stored_studies_were_begun_with(name: str) -> None:
    overrides = OVERRIDES.get(name, ())
    study = load_study(
        name.split()[0], sections=SECTIONS, shipped=STUDIES, overrides=overrides, epochs="epochs", data="data"
    )
    assert json.loads(json.dumps(study.spec())) == PINNED[name]
    assert list(study.spec()["search"]) == list(PINNED[name]["search"]), "the order of asking is part of the study"
