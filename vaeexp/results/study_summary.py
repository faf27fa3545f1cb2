"""A study in the comparison of several, and the groups of studies that may stand in one table."""

from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.results import Interval, mean_interval
from vaeexp.results.plan import shared_parts
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySummary:
    """A study in the comparison of several."""

    name: str
    question: str
    finished: bool
    subset: bool
    """Whether its images are a small part of the data set."""
    protocol: dict[str, str]
    best: TestedSetting | None
    """Its best configuration: confirmed, else the best of the search; None without a complete
    trial.
    """
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

    @property
    def confirmed(self) -> bool:
        """Whether its best configuration has test figures."""
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
        """Its objective on test images over the seeds of the best configuration, nats per image."""
        metric = "distortion" if self.deterministic else "neg_elbo"
        return mean_interval([]) if self.best is None else self.best.test(metric)

    @property
    def order(self) -> tuple[bool, float, str]:
        """Sort key: the confirmed first, by their validation values, so that test figures select
        nothing; then the others.
        """
        value = self.best.value if self.best is not None else float("inf")
        return not self.confirmed, value, self.name


def summarise_study(view: StudyView) -> StudySummary:
    """Summarise a study in any state."""
    trials, repeat = view.search, view.trials["repeat"]
    return StudySummary(
        name=view.results.name,
        question=view.study.question,
        finished=view.study.finished,
        subset=bool(view.plan.recorded("data").get("subset")),
        protocol=view.plan.protocol(),
        best=view.best,
        search_value=float(view.ranked["objective"].iloc[0]) if len(view.ranked) else None,
        trials=int((trials["state"] != "waiting").sum()),
        ended=int(trials["state"].isin(["complete", "pruned", "failed"]).sum()),
        budget=view.study.budget.get("trials"),
        epochs=int(view.trials.loc[~repeat, "epochs"].sum()),
        more_epochs=int(view.trials.loc[repeat, "epochs"].sum()),
        seconds=view.study.elapsed,
    )


def by_protocol(studies: Iterable[StudySummary]) -> list[list[StudySummary]]:
    """Group studies of one protocol, in `order`; protocols by their first study's name.

    A study whose images were not recorded stands alone: nothing shows that it shares them with
    another.
    """
    groups: dict[tuple[str | None, ...], list[StudySummary]] = {}
    for study in sorted(studies, key=lambda study: study.name):
        recorded = "fingerprint" in study.protocol
        key = shared_parts(study.protocol) if recorded else (study.name,)
        groups.setdefault(key, []).append(study)
    return [sorted(group, key=lambda study: study.order) for group in groups.values()]
