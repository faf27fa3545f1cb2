"""The two objectives of a study that has no single one: which names they may have, and what cannot
go with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.errors import did_you_mean, one_of
from sweeps.search.pruners import PRUNERS
from sweeps.search.samplers import SAMPLERS
from sweeps.study.yaml_file import EntryPath, Mistakes

if TYPE_CHECKING:
    from sweeps.study.space import Space
    from sweeps.study.study_model import Baseline, StudyFile


def read_objectives(
    file: "StudyFile",
    space: "Space",
    baselines: Sequence["Baseline"],
    metrics: Mapping[str, str],
    mistakes: Mistakes,
) -> dict[str, str]:
    """Return the names of the two objectives, each with the metric of an epoch that it stands for;
    empty for a study with one objective.

    Args:
        metrics: name → metric of all that may be an objective.
        mistakes: takes names that are none, and parts of the study that need one value by which to
            rank trials.
    """
    if file.objectives is None:
        return {}
    names = file.objectives
    if not metrics:
        mistakes.add(("objectives",), "this workload names no metrics that could be objectives.")
        return {}
    for index, name in enumerate(names):
        if name not in metrics:
            mistakes.add(
                ("objectives", index), f"'{name}' is no objective. {did_you_mean(name, metrics)}"
            )
    if len(names) != 2 or len({*names}) != 2:
        problem = f"got [{', '.join(names)}]; must be two different ones of {one_of(metrics)}."
        mistakes.add(("objectives",), problem)
    for place, problem in _unfit(file, space, baselines):
        mistakes.add(place, problem)
    return {name: metrics[name] for name in names if name in metrics}


def _unfit(
    file: "StudyFile", space: "Space", baselines: Sequence["Baseline"]
) -> Iterator[tuple[EntryPath, str]]:
    """Yield path and problem of each part of a study that does not go with two objectives."""
    if not file.sampler.two_objectives:
        able = one_of(name for name, sampler in SAMPLERS.items() if sampler.two_objectives)
        yield (
            ("sampler", "name"),
            f"got {file.sampler.name}, which searches for one objective; with two must be {able}.",
        )
    if not file.pruner.two_objectives:
        able = one_of(name for name, pruner in PRUNERS.items() if pruner.two_objectives)
        reason = "ranks trials by the values of one objective, while the front of two moves on"
        yield ("pruner", "name"), f"got {file.pruner.name}, which {reason}; must be {able}."
    for part in ("confirm", "compare", "learn_from"):
        if getattr(file, part) is not None:
            yield (part,), f"ranks by one objective, and `objectives` names two. Drop `{part}`."
    for row in baselines:
        if row.at == "best":
            problem = "got best, but of two objectives no configuration is the best; must be fixed."
            yield ("baselines", row.name, "at"), f"{problem} Give all settings of the row."
    for parameter in space.parameters:
        if parameter.grow:
            problem = (
                "got true, but of two objectives no trials are the best, which a range grows "
                "after; must be false."
            )
            yield ("search", parameter.name, "grow"), problem
