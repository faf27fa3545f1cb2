"""What became of the fresh seeds of each configuration, from the table of the trials alone."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd
from recompute_figures import Study

ORDER = ("confirm", "compare", "baseline")


class Seeds(NamedTuple):
    """A configuration, the seeds that the study asks for, and its runs."""

    purpose: str
    title: str
    planned: int
    runs: pd.DataFrame

    @property
    def failed(self) -> pd.DataFrame:
        return self.runs[self.runs["state"] == "failed"]

    @property
    def complete(self) -> int:
        return int(((self.runs["state"] == "complete") & self.runs["objective"].notna()).sum())

    @property
    def failures(self) -> list[tuple[str, dict[str, Any]]]:
        """Return a statement for each kind of failure, the most frequent first."""
        made = []
        kinds = self.failed["failure"].astype(str).value_counts()
        for kind in sorted(kinds.index, key=lambda kind: (-kinds[kind], kind)):
            epochs = (
                self.failed.loc[self.failed["failure"].astype(str) == kind, "epochs"].astype(int)
                + 1
            )
            first, last = epochs.min(), epochs.max()
            span = {"epoch": first} if first == last else {"first": first, "last": last}
            values = {"failed": len(epochs), "planned": self.planned, "kind": kind, **span}
            made.append(("seeds.failed", values))
        return made


@lru_cache(maxsize=4)
def asked(study: Study) -> list[Seeds]:
    """Return each configuration that is confirmed or a baseline, in this order, also
    without a complete run.
    """
    runs = study.trials[study.trials["repeat"]].sort_values("number")
    groups: dict[tuple[str, str], list[int]] = {}
    for place, run in runs.iterrows():
        for key in _keys(study, run):
            groups.setdefault(key, []).append(place)
    made = []
    for (purpose, title), places in groups.items():
        own = runs.loc[places]
        planned = _planned(study, purpose, title, own)
        ended = int((own["state"] == "failed").sum()) + int(
            ((own["state"] == "complete") & own["objective"].notna()).sum()
        )
        made.append(Seeds(purpose, title, max(planned, ended), own))
    return sorted(made, key=lambda each: ORDER.index(each.purpose))


def _keys(study: Study, run: pd.Series) -> list[tuple[str, str]]:
    keys = (
        [("confirm", f"trial {int(run['source_trial'])}")]
        if "confirm" in str(run["purposes"]).split("+")
        else []
    )
    for name in str(run["baseline"]).split("+") if isinstance(run["baseline"], str) else []:
        title = next((title for title, own in study.report.baselines.items() if own == name), None)
        if title is not None:
            source = study.changed_by(title, run.to_frame().T)
            keys.append(
                ("baseline", f"baseline {name}" + ("" if source is None else f" of trial {source}"))
            )
    return keys


def _planned(study: Study, purpose: str, title: str, runs: pd.DataFrame) -> int:
    if purpose == "baseline":
        name = re.sub(r" of trial \d+$", "", title.removeprefix("baseline "))
        return int(((study.report.file.get("baselines") or {}).get(name) or {}).get("seeds", 3))
    if purpose == "confirm" and study.race is not None:
        return study.race.seeds(int(runs["source_trial"].iloc[0]))
    return study.report.count(purpose, "seeds", "Search")


def count(study: Study, title: str, n: int) -> str:
    """Write `3`; `1 of 4` where other seeds of a row failed."""
    return f"{n:,}{_of(study, title)}"


def _of(study: Study, title: str) -> str:
    title = title.removesuffix(", last epoch")
    named = re.fullmatch(r"Trial (\d+),.*", title)
    if named and title not in study.rows and (study.confirmed or title.endswith(", confirmed")):
        wanted = f"trial {named[1]}"
    else:
        plain = re.sub(r" \(trial \d+\)$", "", title)
        name = study.report.baselines.get(title) or study.report.baselines.get(plain)
        source = study.source_of_row(title)
        wanted = f"baseline {name}" + ("" if source is None else f" of trial {source}")
    own = next((each for each in asked(study) if each.title == wanted), None)
    return f" of {own.planned:,}" if own is not None and len(own.failed) else ""
