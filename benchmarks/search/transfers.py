"""Whether a search is faster when it knows another one: `start: [{study: …, top: 5}]` and
`learn_from:` on tables of learning curves.

    PYTHONPATH=. python benchmarks/search/transfers.py --pairs D:A A:A B:A --repeats 50

Each repeat searches the first table to the end of its budget, and then the second one, with the
shipped driver, sampler and pruner, in four ways: alone, with the best five configurations first,
taught by all trials, and both. `curves` cannot be taught, so it has the first two ways. D and L are
the space of A: D with 4,000 images for 10 epochs, L with 50,000 images, A with 10,000. B is another
space with another binarisation. In `A:A` the two searches see curves of different seeds. `shuffled`
is a teacher that knows nothing: the curves of its table are dealt out to its configurations anew,
so that the two spaces agree in nothing. `grading.py` has the rules; `×` is by how much fewer
trial-epochs than alone. The epochs of the first search are not counted. A last line says how alike
the two tables rank the configurations that stand in both.

A study refuses to learn from another protocol. Here both searches are given the same one, so that
`learn_from` between different tables says what the refusal costs.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from curve_table import TABLES, Table, append, load_table
from designs import key_of
from grading import DEVIATIONS, Result, interval, ratio, restricted_mean
from methods import DEFAULT, OURS, code_of, run_ours, study_of
from optuna.storages import InMemoryStorage
from race import digest_of, single_threaded
from referee import Referee, half_sample
from scipy.stats import rankdata, spearmanr
from surrogate import SeenCurves
from table_lanes import Trace

from sweeps.engine.warm_start import warm_start
from sweeps.search.samplers import SAMPLERS
from sweeps.seeds import seed_of
from sweeps.state.record import StudyRecord
from sweeps.storage import open_study
from sweeps.storage.study_record import read_state
from sweeps.study.start import BestOf
from sweeps.study.study import Study
from vaeexp.settings import SECTIONS

sys.path.append(str(Path(__file__).resolve().parents[1]))

from table import markdown, usable_cores

__all__ = ["Transfer", "agreement", "shuffled", "transferred", "ways_of"]

WAYS = (
    ("alone", False),
    ("start", False),
    ("learn_from", False),
    ("both", False),
    ("start", True),
    ("learn_from", True),
)
"""What the second search takes from the first, and whether the first is `shuffled`."""
TOP = 5
PROTOCOL = {"objective": "validation −ELBO"}
"""Both searches have this protocol, because `learn_from` is refused between two protocols. Real
studies share their protocol in `A:A` alone.
"""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Two searches, one after the other."""

    source: str
    target: str
    way: str
    shuffled: bool
    repeat: int
    search: str
    """Name of one of our searches, for both."""
    lanes: int
    budget: int
    """Trial-epochs of each search."""


def shuffled(table: Table, seed: int) -> Table:
    """Return the table with the curves of other configurations."""
    rows = np.random.default_rng(seed).permutation(len(table.numbers))
    arrays = ("neg_elbo", "rate", "seconds", "trained", "diverged", "origin")
    return replace(table, **{name: getattr(table, name)[rows] for name in arrays})


def transferred(source: Table, target: Table, transfer: Transfer) -> Result:
    """Search both tables and grade the second search. The first sees another seed of training than
    the second.
    """
    seed = seed_of(f"transfer:{transfer.source}:{transfer.target}:{transfer.repeat}") >> 32
    storage, study = InMemoryStorage(), _study(target, "second", seed, transfer)
    fields: dict[str, Any] = {}
    if transfer.way != "alone":
        first = _study(source, "first", seed + 1, transfer)
        constants = {
            name: value for section in source.settings.values() for name, value in section.items()
        }
        open_study(storage, first, fields={"protocol": PROTOCOL, "constants": constants})
        table = shuffled(source, seed) if transfer.shuffled else source
        curves = SeenCurves(table, 1 - half_sample(table, transfer.repeat)).of_repeat(
            transfer.repeat + 1
        )
        # The budget of the study ends the search, before the trace does.
        run_ours(first, Trace(curves, budget=2 * transfer.budget, lanes=transfer.lanes), storage)
        if transfer.way in ("start", "both"):
            complete = sum(
                trial.state == "complete" for trial in read_state(storage, "first").trials
            )
            study = replace(study, start=(BestOf(study="first", top=min(TOP, complete)),))
        if transfer.way in ("learn_from", "both"):
            study = replace(study, learn_from="first")
        before = StudyRecord(name="second")
        fields, _ = warm_start(
            study, before, PROTOCOL, lambda name, place: read_state(storage, name)
        )
    open_study(storage, study, fields=fields)
    referee = Referee(target, digest_of(target), half_sample(target, transfer.repeat))
    curves = referee.seen.of_repeat(transfer.repeat)
    run_ours(study, trace := Trace(curves, budget=transfer.budget, lanes=transfer.lanes), storage)
    return referee.grade(
        trace, method=transfer.search, repeat=transfer.repeat, code=code_of(transfer.search)
    )


def _study(table: Table, name: str, seed: int, transfer: Transfer) -> Study:
    study = study_of(
        table.space,
        OURS[transfer.search],
        name=name,
        seed=seed,
        epochs=table.epochs,
        budget=transfer.budget,
    )
    sections = {section: SECTIONS[section](**values) for section, values in table.settings.items()}
    return replace(study, fixed={**study.fixed, **sections})


@cache
def _table(name: str, folder: Path) -> Table:
    return load_table(name, folder)


def _run(transfer: Transfer, folder: Path) -> Result:
    return transferred(_table(transfer.source, folder), _table(transfer.target, folder), transfer)


def report(results: Mapping[Transfer, Result]) -> str:
    """Return a row for each pair and way as Markdown."""
    rows = []
    kinds = {replace(transfer, repeat=0): None for transfer in results}
    for kind in kinds:
        own = [
            results[replace(kind, repeat=t.repeat)] for t in results if replace(t, repeat=0) == kind
        ]
        alone = [
            results[replace(kind, way="alone", shuffled=False, repeat=result.repeat)]
            for result in own
        ]
        row = [
            f"{kind.source} → {kind.target}",
            kind.search,
            f"{kind.way}{', shuffled' if kind.shuffled else ''}",
        ]
        for deviations in DEVIATIONS:
            row.append(restricted_mean(own, deviations).in_words(".0f"))
            row.append(
                "–" if kind.way == "alone" else ratio(own, alone, deviations).in_words(".2f")
            )
        rows.append(row)
    heads = [
        name for deviations in DEVIATIONS for name in (f"to {deviations} sd", f"× {deviations} sd")
    ]
    return markdown(["pair", "search", "way", *heads], rows, texts=3)


def agreement(source: Table, target: Table) -> str:
    """Say how alike two tables rank the configurations of both, by their mean objectives; nothing
    where both share fewer than `TOP` configurations.
    """
    means = [
        dict(zip(map(key_of, table.configurations), table.means(), strict=True))
        for table in (source, target)
    ]
    shared = [key for key in means[0] if key in means[1]]
    if len(shared) < TOP:
        return ""
    first, second = ([of_table[key] for key in shared] for of_table in means)
    correlation = np.vectorize(
        lambda pairs: spearmanr(*pairs).statistic, signature="(tables,configurations)->()"
    )
    found = interval(correlation, first, second).in_words(".2f")
    best = rankdata(second, method="ordinal")[np.argsort(first, kind="stable")[:TOP]]
    ranks = (
        f"the {TOP} best of {source.name} are number {', '.join(map(str, best))} of {target.name}"
    )
    return (
        f"{source.name} → {target.name}, {len(shared)} configurations of both: rank correlation "
        f"{found}; {ranks}."
    )


def ways_of(search: str) -> list[tuple[str, bool]]:
    """Return those of `WAYS` that a search can take."""
    can_learn = SAMPLERS[OURS[search]["sampler"]].learns
    return [(way, mixed) for way, mixed in WAYS if can_learn or way in ("alone", "start")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", nargs="+", default=["D:A", "A:A", "B:A"], metavar="FIRST:SECOND", help="tables"
    )
    parser.add_argument(
        "--search",
        choices=OURS,
        nargs="+",
        default=[DEFAULT, "tpe + promotion"],
        metavar="NAME",
        help="both searches",
    )
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=600, help="trial-epochs of each search")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="folder of the results"
    )
    options = parser.parse_args()
    asked = {"lanes": options.lanes, "budget": options.epochs}
    wanted = [
        Transfer(
            source=source,
            target=target,
            way=way,
            shuffled=mixed,
            repeat=repeat,
            search=search,
            **asked,
        )
        for pair, repeat, search in itertools.product(
            options.pairs, range(options.repeats), options.search
        )
        for source, target in [pair.split(":")]
        for way, mixed in ways_of(search)
    ]
    path = options.out / "transfers.jsonl"
    names = {name for transfer in wanted for name in (transfer.source, transfer.target)}
    digests = {name: digest_of(_table(name, options.tables)) for name in names}
    results = _read(path, digests)
    with single_threaded(usable_cores()) as pool:
        missing = {pool.submit(_run, w, options.tables): w for w in wanted if w not in results}
        for done in as_completed(missing):
            transfer, result = missing[done], done.result()
            line = {
                "transfer": asdict(transfer),
                "source": digests[transfer.source],
                "result": result.to_dict(),
            }
            append(path, json.dumps(line) + "\n")
            results[transfer] = result
    print(report({transfer: results[transfer] for transfer in wanted}))
    for pair in options.pairs:
        if found := agreement(*(_table(name, options.tables) for name in pair.split(":"))):
            print(found)


def _read(path: Path, digests: Mapping[str, str]) -> dict[Transfer, Result]:
    """Return the results on the present state of both tables, referee and package `sweeps`."""
    results = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else ():
        found = json.loads(line)
        transfer, result = Transfer(**found["transfer"]), Result.from_dict(found["result"])
        now = digests.get(transfer.source), digests.get(transfer.target), code_of(transfer.search)
        if (found["source"], result.table, result.code) == now:
            results[transfer] = result
    return results


if __name__ == "__main__":
    main()
