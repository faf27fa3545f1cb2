"""The table of places for records: a new kind of place is one class and one row."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from optuna.storages import BaseStorage, JournalStorage
from toy_lanes import ToyLanes
from toy_study import MemoryJournal, toy_study

from sweeps import read_results, run_study
from sweeps.errors import UserError
from sweeps.storage import open_storage, recorded_study, study_holder, study_names
from sweeps.storage.journals import JOURNALS, Journals, journals_at

KEPT: dict[str, MemoryJournal] = {}


class MemoryJournals(Journals):
    """Journals in the memory of this process."""

    def names(self) -> list[str]:
        return sorted(KEPT)

    def open(self, study: str, *, create: bool) -> BaseStorage:
        return JournalStorage(KEPT.setdefault(study, MemoryJournal()) if create else KEPT[study])

    @contextmanager
    def hold(self, study: str, *, take_over: bool, patience: float) -> Iterator[BaseStorage]:
        yield self.open(study, create=True)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    KEPT.clear()
    monkeypatch.setitem(JOURNALS, "memory", f"{__name__}:MemoryJournals")
    return "memory://here"


STUDY = toy_study(trials=6, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median")


def tables(runs: Path, storage: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    results = read_results(open_storage(storage, runs, "toy", must_exist=True), "toy", runs=runs)
    return results.trials.drop(columns=["started", "ended"]), results.epochs.drop(
        columns="seconds", errors="ignore"
    )


def test_a_study_runs_in_a_place_of_somebody_else_s_to_the_same_tables(
    url: str, tmp_path: Path
) -> None:
    assert recorded_study(url, tmp_path, "toy") is None
    for storage in (url, None):
        run_study(STUDY, lambda: ToyLanes(width=2, epochs=4), runs=tmp_path, storage=storage)
    for new, old in zip(tables(tmp_path, url), tables(tmp_path, None), strict=True):
        pd.testing.assert_frame_equal(new, old)
    assert study_names(tmp_path, url) == ["toy"]
    assert study_holder(url, tmp_path, "toy") is None
    record = recorded_study(url, tmp_path, "toy")
    assert record is not None
    assert record.finished


def test_an_archive_is_received_by_a_place_of_somebody_else_s(url: str, tmp_path: Path) -> None:
    run_study(STUDY, lambda: ToyLanes(width=2, epochs=4), runs=tmp_path)
    with journals_at(url, tmp_path).receive("toy") as take:
        take(tmp_path / "journal" / "toy.log")
    for new, old in zip(tables(tmp_path, url), tables(tmp_path, None), strict=True):
        pd.testing.assert_frame_equal(new, old)
    with (
        pytest.raises(UserError, match="exists here already"),
        journals_at(url, tmp_path).receive("toy"),
    ):
        pass


@pytest.mark.parametrize("address", ["memory", "memory:", "://", "", "file:///tmp", "redis://host"])
def test_an_address_of_no_kind_names_the_kinds_that_there_are(
    url: str, tmp_path: Path, address: str
) -> None:
    with pytest.raises(UserError, match=r"begins with postgresql:// or .* or memory://"):
        journals_at(address, tmp_path)
