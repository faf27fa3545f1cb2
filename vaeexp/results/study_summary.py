"""Where a study stands, in one line: its best setting and what that is worth under its protocol. For several studies side by side."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from sweeps.results.rankings import Results, ranked
from sweeps.results.statistics import Interval
from vaeexp.results.frames import recorded, search_trials
from vaeexp.results.tested_settings import Row, best_row, study_protocol

PROTOCOL = {
    "data": "data",
    "fingerprint": "images",
    "split": "split",
    "binarisation": "binarisation",
    "likelihood": "likelihood",
    "posterior": "posterior",
    "estimator": "estimator",
}
"""Parts of a protocol, and what each is called. Studies must share all of them to stand in one table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """What the comparison of several studies needs of one."""

    name: str
    question: str
    finished: bool
    subset: bool
    """Whether its images are a small part of the data set."""
    protocol: dict[str, str]
    best: Row | None
    """Its best setting: confirmed, else the best of the search; None without a complete trial."""
    search_value: float | None
    """Lowest validation −ELBO of the search, nats per image."""
    trials: int
    """Trials of the search that have started, without repeated configurations."""
    ended: int
    """Those of them that are complete, pruned or failed."""
    budget: int | None
    """Trials that the search may have."""
    epochs: int
    """Trial-epochs of the search."""
    more_epochs: int
    """Trial-epochs of runs that confirm, compare or are baselines."""
    seconds: float | None
    """Wall time of the search."""
    course: pd.DataFrame
    """spent (trial-epochs of the search) and best (lowest validation −ELBO of a complete trial by then), as trials ended."""

    @property
    def confirmed(self) -> bool:
        """Whether its best setting has test figures."""
        return self.test.n > 0

    @property
    def deterministic(self) -> bool:
        """Whether it trains plain autoencoders, whose value is their distortion."""
        return self.protocol.get("posterior") == "deterministic"

    @property
    def measure(self) -> str:
        """Name of its objective."""
        return "distortion" if self.deterministic else "−ELBO"

    @property
    def test(self) -> Interval:
        """Its objective on test images over the seeds of the best setting, nats per image."""
        if self.best is None:
            return Interval(mean=float("nan"), low=float("nan"), high=float("nan"), n=0)
        return self.best.test("distortion" if self.deterministic else "neg_elbo")

    @property
    def order(self) -> tuple:
        """Sorts the confirmed first, by their validation values, so that test figures select nothing; then the others."""
        value = self.best.value if self.best is not None else float("inf")
        return not self.confirmed, value, self.name


def standing(results: Results) -> Standing:
    """Of a study in any state."""
    trials, best = search_trials(results), best_row(results)
    complete = ranked(results)
    repeat = results.trials["repeat"]
    started = trials[trials["state"] != "waiting"]
    return Standing(
        name=results.name,
        question=results.study.question or "",
        finished=bool(results.study.finished),
        subset=bool(recorded(results, "data").get("subset")),
        protocol=study_protocol(results),
        best=best,
        search_value=float(complete["objective"].iloc[0]) if len(complete) else None,
        trials=len(started),
        ended=int(trials["state"].isin(["complete", "pruned", "failed"]).sum()),
        budget=results.study.budget.get("trials"),
        epochs=int(results.trials.loc[~repeat, "epochs"].sum()),
        more_epochs=int(results.trials.loc[repeat, "epochs"].sum()),
        seconds=results.study.elapsed,
        course=_course(trials),
    )


def by_protocol(found: Iterable[Standing]) -> list[list[Standing]]:
    """Studies of one protocol together, in `order`; protocols by their first study's name.

    A study whose images were not recorded stands alone: nothing shows that it shares them with another.
    """
    groups: dict[tuple, list[Standing]] = {}
    for each in sorted(found, key=lambda each: each.name):
        known = each.protocol.get("fingerprint") is not None
        key = tuple(each.protocol.get(part) for part in PROTOCOL) if known else (each.name,)
        groups.setdefault(key, []).append(each)
    return [sorted(group, key=lambda each: each.order) for group in groups.values()]


def _course(trials: pd.DataFrame) -> pd.DataFrame:
    ended = trials[trials["ended"].notna()].sort_values(["ended", "number"])
    best = ended["objective"].where(ended["state"] == "complete").cummin().ffill()
    course = pd.DataFrame({"spent": ended["epochs"].cumsum(), "best": best}).dropna()
    return course.reset_index(drop=True)
