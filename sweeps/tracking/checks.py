"""The check of the mirror: whether MLflow's store is whole, or its server answers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sweeps.doctor.findings import Finding
from sweeps.errors import UserError
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.tracking import sync
from sweeps.tracking.mlflow_store import damage_of, store_name, tracking_uri
from sweeps.tracking.ui import check_reachable


def check_mirror(
    tracking: str | None, runs: Path, storage: str | None, stored: State
) -> Iterator[Finding]:
    """Check whether the study's runs can be brought to MLflow. What it lacks is no fault, because
    each sweep and `sync` bring it.
    """
    study = stored.study.name
    where = store_name(tracking, runs)
    finding = partial(Finding, name=f"{study}: mirror")
    how = how_to("sync", study)
    if tracking is None and (problem := damage_of(runs / "mlflow.db")):
        yield finding(
            ok=False,
            words=f"{where} is damaged ({problem})",
            remedy=f"{how} moves it aside and builds it anew from the storage",
            repair=partial(_sync, study, runs, storage, tracking),
        )
        return
    try:
        if tracking is not None:
            check_reachable(tracking_uri(tracking))
    except UserError as error:
        yield finding(ok=None, words=str(error), remedy=f"when it answers again, {how} brings all")
        return
    yield finding(ok=True, words=f"MLflow at {where}")


def _sync(study: str, runs: Path, storage: str | None, tracking: str | None) -> str:
    state = sync(study, runs=runs, storage=storage, tracking=tracking)
    brought = f"brought {state.brought} runs to MLflow"
    return f"{state.notice} {brought}" if state.notice else brought
