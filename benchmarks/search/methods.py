"""The searches that are raced, as data, and how one of them is run on a table.

Ours are settings of a study file, run by the shipped driver on `TableLanes`. Peers run by their own
code (`peers.py`). No search starts from configurations that somebody chose (`start:` of the study
files), because a race between samplers is not decided by the author's knowledge of the space.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from curve_table import Table
from grading import Result
from optuna.storages import InMemoryStorage
from peers import PEERS, run_peer
from pydantic import BaseModel, ConfigDict, TypeAdapter
from referee import Referee
from table_lanes import BudgetSpent, TableLanes, Trace

from sweeps.engine import search
from sweeps.errors import UserError
from sweeps.search.pruners import AnyPruner, PrunerSettings
from sweeps.search.samplers import AnySampler, SamplerSettings, check_sampler
from sweeps.seeds import seed_of
from sweeps.source import source_of
from sweeps.storage import open_study
from sweeps.storage.store import Store
from sweeps.study.space import Space
from sweeps.study.study import Study
from sweeps.study.study_model import Budget

__all__ = [
    "DEFAULT",
    "METHODS",
    "OURS",
    "REFERENCE",
    "code_of",
    "run_method",
    "run_ours",
    "study_of",
    "why_not",
]

OURS: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random", "pruner": "none"},
    "random + halving": {"sampler": "random", "pruner": "successive_halving"},
    "tpe + median": {"sampler": "tpe", "pruner": "median"},
    "tpe + hyperband": {"sampler": "tpe", "pruner": "hyperband"},
    "gp + median": {"sampler": "gp", "pruner": "median"},
    "random + promotion": {"sampler": "random", "pruner": "promotion"},
    "tpe + promotion": {"sampler": "tpe", "pruner": "promotion"},
    "curves + median": {"sampler": "curves", "pruner": "median"},
    "curves + promotion": {"sampler": "curves", "pruner": "promotion"},
}
"""Name → `sampler` and `pruner` as a study file has them."""
REFERENCE = "tpe + median"
"""What ratios compare with: what a study file that named neither sampler nor pruner had before."""
DEFAULT = "curves + promotion"
"""What a study file has that names neither sampler nor pruner."""
METHODS = (*OURS, *PEERS)


class _Train(BaseModel):
    """The fixed settings that the driver needs."""

    model_config = ConfigDict(frozen=True)
    epochs: int


def study_of(
    space: Space, settings: Mapping[str, Any], *, name: str, seed: int, epochs: int, budget: int
) -> Study:
    """Return the study of a search on a space. Raises UserError where the sampler cannot model the
    space.
    """
    sampler: SamplerSettings = TypeAdapter(AnySampler).validate_python(settings["sampler"])
    pruner: PrunerSettings = TypeAdapter(AnyPruner).validate_python(settings["pruner"])
    check_sampler(sampler, space)
    return Study(
        name=name,
        path=Path(f"{name}.yaml"),
        text="",
        question="Which configuration is the best?",
        fixed={"train": _Train(epochs=epochs)},
        space=space,
        seed=seed,
        sampler=sampler.for_epochs(epochs),
        pruner=pruner.for_epochs(epochs),
        budget=Budget(epochs=budget),
        confirm=None,
        compare=None,
    )


def run_ours(
    study: Study, trace: Trace, storage: optuna.storages.BaseStorage | None = None
) -> None:
    """Search by the shipped driver until the trial-epochs of the trace are spent; goes on with a
    study that the storage holds.
    """
    lanes = TableLanes(trace)
    opened = open_study(storage or InMemoryStorage(), study)
    with suppress(BudgetSpent):
        search(Store(opened, study.space), study, lanes, [], clock=lanes.clock, timer=lanes.clock)


def run_method(referee: Referee, method: str, *, lanes: int, repeat: int, budget: int) -> Result:
    """Run one search and grade it.

    Raises:
        UserError: our sampler cannot model the space.
        ImportError: the package of a peer is not installed.
    """
    table: Table = referee.table
    name = f"{table.name}-{repeat}"
    seed, curves = seed_of(f"race:{name}") >> 32, referee.seen.of_repeat(repeat)
    if method in OURS:
        given = {"name": name, "seed": seed, "epochs": table.epochs, "budget": budget + lanes}
        study = study_of(table.space, OURS[method], **given)
        run_ours(study, trace := Trace(curves, budget=budget, lanes=lanes))
    else:
        peer = PEERS[method](table.space, table.epochs, seed)
        run_peer(peer, trace := Trace(curves, budget=budget, lanes=lanes), lanes)
    return referee.grade(trace, method=method, repeat=repeat, code=code_of(method))


def code_of(method: str) -> str:
    """Return the first 12 digits of the SHA-256 of the package `sweeps` for a search of ours,
    nothing for a peer.
    """
    return source_of("sweeps").sha256[:12] if method in OURS else ""


def why_not(method: str, table: Table) -> str | None:
    """Say why a search cannot run on a table here; None where it can."""
    try:
        if method in OURS:
            study_of(table.space, OURS[method], name="probe", seed=0, epochs=table.epochs, budget=1)
        else:
            PEERS[method](table.space, table.epochs, 0)
    except (UserError, ImportError) as error:
        return str(error).splitlines()[0]
    return None
