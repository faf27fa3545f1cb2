"""The check of the mirror: how far MLflow is behind a study's storage. It only reads."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from sweeps.doctor.findings import Finding
from sweeps.errors import UserError, masked
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import study_holder
from sweeps.tracking import sync
from sweeps.tracking.found_runs import mlflow_runs
from sweeps.tracking.mlflow_store import (
    be_ready_for_mlflow,
    damage_of,
    open_to_read,
    store_name,
    tracking_uri,
)
from sweeps.tracking.parent_run import PARENT
from sweeps.tracking.run_tags import state_of
from sweeps.tracking.ui import check_reachable

_TAGS = """
SELECT run.value, tag.key, tag.value, runs.lifecycle_stage FROM tags AS run
JOIN runs ON runs.run_uuid = run.run_uuid
JOIN tags AS owner ON owner.run_uuid = run.run_uuid AND owner.key = 'sweeps.id' AND owner.value = ?
JOIN tags AS tag ON tag.run_uuid = run.run_uuid
WHERE run.key = 'sweeps.trial'
"""

STAGE = "lifecycle stage"
"""Key, beside the tags of a run, of MLflow's word for whether somebody deleted the run."""
Tags = Mapping[str, Mapping[str, str]]
"""Name of a run → its tags in MLflow."""


def check_mirror(
    tracking: str | None, runs: Path, storage: str | None, stored: State
) -> Iterator[Finding]:
    """Check how many records of the study MLflow lacks: epochs, endings, and the parent run."""
    study = stored.study.name
    where = store_name(tracking, runs)
    finding = partial(Finding, name=f"{study}: mirror")
    driven = study_holder(storage, runs, study) is not None
    bring = partial(_sync, study, runs, storage, tracking)
    remedy = f"{how_to('sync', study)} brings the rest"
    if tracking is None and (problem := damage_of(runs / "mlflow.db")):
        words = f"{where} is damaged ({problem})"
        remedy = f"{how_to('sync', study)} moves it aside and builds it anew from the storage"
        yield finding(ok=False, words=words, remedy=remedy, repair=bring)
        return
    try:
        tags = (
            _own_tags(runs, stored.study.identity)
            if tracking is None
            else _tags_at(tracking, stored)
        )
    except UserError as error:
        yield finding(
            ok=None,
            words=str(error),
            remedy=f"when it answers again, {how_to('sync')} brings all",
        )
        return
    behind, total = _behind(stored, tags)
    deleted = sum(map(_is_deleted, tags.values()))
    if deleted and not behind:
        words = (
            f"in MLflow at {where}, {deleted:,} of {len(tags):,} runs are deleted, so its pages "
            "do not show them"
        )
        remedy = (
            "restore them on its pages (State: Deleted), if you want them back; the storage keeps "
            "all"
        )
        yield finding(ok=None, words=words, remedy=remedy)
    elif not behind:
        yield finding(ok=True, words=f"MLflow at {where} has all {total:,} records")
    elif driven:
        yield finding(
            ok=True,
            words=f"MLflow at {where} is {behind:,} records behind; the driver brings them",
        )
    else:
        words = f"MLflow at {where} is {behind:,} of {total:,} records behind"
        yield finding(ok=False, words=words, remedy=remedy, repair=bring)


def _is_deleted(tags: Mapping[str, str]) -> bool:
    return tags.get(STAGE) == "deleted"


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
            for name, key, value, stage in connection.execute(_TAGS, (identity,)):
                tags.setdefault(name, {STAGE: stage})[key] = value
    return tags


def _tags_at(tracking: str, stored: State) -> Tags:
    """Ask an MLflow server for the tags of a study's runs. Raises UserError where it does not
    answer.
    """
    uri = tracking_uri(tracking)
    check_reachable(uri)
    be_ready_for_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    try:
        experiment = client.get_experiment_by_name(stored.study.name)
        if experiment is None:
            return {}
        return {
            run.data.tags["sweeps.trial"]: {**run.data.tags, STAGE: run.info.lifecycle_stage}
            for run in mlflow_runs(client, experiment.experiment_id, stored.study.identity)
        }
    except MlflowException as error:
        raise UserError(
            masked(uri), f"MLflow does not answer: {str(error).splitlines()[0]}"
        ) from error


def _behind(stored: State, tags: Tags) -> tuple[int, int]:
    """Count the records that MLflow lacks, and all of the study: one for each run's state, the
    parent's included, one for each epoch.
    """
    study = stored.study
    session = {"running": "RUNNING", "finished": "COMPLETE", None: None}.get(
        study.session, "INTERRUPTED"
    )
    known = tags.get(PARENT, {})
    # What somebody deleted in MLflow, `sync` leaves deleted.
    behind = int(not known or session not in (None, known.get("sweeps.state")))
    total = 1
    behind *= not _is_deleted(known)
    for run in stored.records:
        if run.seed is None or run.state == "waiting":  # such a run is not mirrored
            continue
        known = tags.get(run.name_in(study.name), {})
        state, epochs, _ = state_of(study, run)
        if not _is_deleted(known):
            behind += max(0, epochs - int(known.get("sweeps.epoch", 0))) + (
                known.get("sweeps.state") != state
            )
        total += epochs + 1
    return behind, total


def _sync(study: str, runs: Path, storage: str | None, tracking: str | None) -> str:
    state = sync(study, runs=runs, storage=storage, tracking=tracking)
    brought = f"brought {state.brought} runs to MLflow"
    return f"{state.notice} {brought}" if state.notice else brought
