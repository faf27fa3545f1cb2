"""The check of the mirror: how far MLflow is behind a study's storage. It only reads."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from sweeps.doctor.findings import Finding
from sweeps.errors import UserError
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import study_holder
from sweeps.tracking import sync
from sweeps.tracking.mlflow_store import (
    damage_of,
    open_to_read,
    store_name,
    tracking_uri,
)
from sweeps.tracking.parent_run import PARENT
from sweeps.tracking.run_tags import state_of
from sweeps.tracking.ui import check_reachable

_TAGS = """
SELECT run.value, tag.key, tag.value FROM tags AS run
JOIN tags AS owner ON owner.run_uuid = run.run_uuid AND owner.key = 'sweeps.id' AND owner.value = ?
JOIN tags AS tag ON tag.run_uuid = run.run_uuid
WHERE run.key = 'sweeps.trial'
"""

Tags = Mapping[str, Mapping[str, str]]
"""Name of a run → its tags in MLflow."""


def check_mirror(
    tracking: str | None, runs: Path, storage: str | None, stored: State
) -> Iterator[Finding]:
    """Check how many records of the study the store of the runs folder lacks: epochs, endings, and
    the parent run. Of another store, check whether it answers.
    """
    study, where = stored.study.name, store_name(tracking, runs)
    what, bring = f"{study}: mirror", partial(_sync, study, runs, storage, tracking)
    if tracking is not None:
        yield _answer_of(tracking, what, where)
        return
    if problem := damage_of(runs / "mlflow.db"):
        words = f"{where} is damaged ({problem})"
        remedy = f"{how_to('sync', study)} moves it aside and builds it anew from the storage"
        yield Finding(name=what, ok=False, words=words, remedy=remedy, repair=bring)
        return
    behind, total = _behind(stored, _own_tags(runs, stored.study.identity))
    if not behind:
        yield Finding(name=what, ok=True, words=f"MLflow at {where} has all {total:,} records")
    elif study_holder(storage, runs, study) is not None:
        words = f"MLflow at {where} is {behind:,} records behind; the driver brings them"
        yield Finding(name=what, ok=True, words=words)
    else:
        words = f"MLflow at {where} is {behind:,} of {total:,} records behind"
        remedy = f"{how_to('sync', study)} brings the rest"
        yield Finding(name=what, ok=False, words=words, remedy=remedy, repair=bring)


def _answer_of(tracking: str, what: str, where: str) -> Finding:
    sync_command = how_to("sync")
    try:
        check_reachable(tracking_uri(tracking))
    except UserError as error:
        remedy = f"when it answers again, {sync_command} brings all"
        return Finding(name=what, ok=None, words=str(error), remedy=remedy)
    words = f"MLflow at {where} answers; {sync_command} brings what it lacks"
    return Finding(name=what, ok=True, words=words)


def _own_tags(runs: Path, identity: str) -> Tags:
    """Read the tags of a study's runs in the store of the runs folder; empty where there is
    none.
    """
    database = runs / "mlflow.db"
    if not database.exists() or not database.stat().st_size:
        return {}
    tags: dict[str, dict[str, str]] = {}
    with open_to_read(database) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tags'").fetchone():
            for name, key, value in connection.execute(_TAGS, (identity,)):
                tags.setdefault(name, {})[key] = value
    return tags


def _behind(stored: State, tags: Tags) -> tuple[int, int]:
    """Count the records that MLflow lacks, and all of the study: one for each run's state, the
    parent's included, one for each epoch.
    """
    study = stored.study
    session = {"running": "RUNNING", "finished": "COMPLETE", None: None}.get(
        study.session, "INTERRUPTED"
    )
    known = tags.get(PARENT, {})
    behind, total = int(not known or session not in (None, known.get("sweeps.state"))), 1
    for run in stored.records:
        if run.seed is None or run.state == "waiting":  # such a run is not mirrored
            continue
        known = tags.get(run.name_in(study.name), {})
        state, epochs, _ = state_of(study, run)
        behind += max(0, epochs - int(known.get("sweeps.epoch", 0)))
        behind += known.get("sweeps.state") != state
        total += epochs + 1
    return behind, total


def _sync(study: str, runs: Path, storage: str | None, tracking: str | None) -> str:
    state = sync(study, runs=runs, storage=storage, tracking=tracking)
    brought = f"brought {state.brought} runs to MLflow"
    return f"{state.notice} {brought}" if state.notice else brought
