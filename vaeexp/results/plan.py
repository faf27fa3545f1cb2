"""What a study asks for: its searched parameters, fixed settings, baselines, protocol and rungs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from sweeps import StudyRecord
from sweeps.results import promotes
from vaeexp.data.formats.official_files import NOT_OFFICIAL, NOT_VERIFIED
from vaeexp.models.parts import recorded_measure
from vaeexp.results.parameters import SearchedParameter, configuration_of, searched_parameter
from vaeexp.results.tested_settings import SAME_ELBO
from vaeexp.settings import SECTIONS

PROTOCOL = {part: part for part in (*SAME_ELBO, "estimator")} | {"fingerprint": "images"}
"""Parts of a protocol that studies must share to stand in one table, and what each is called. A
protocol has the likelihood, too, of which they share the measure.
"""


def shared_parts(protocol: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return the parts `PROTOCOL`: equal for figures that may stand in one table."""
    return tuple(protocol.get(part) for part in PROTOCOL)


def likelihood_words(protocols: Iterable[Mapping[str, str]]) -> str:
    """Return the likelihoods of protocols that share their measure: `poisson or
    negative_binomial`; empty where none is recorded.
    """
    names = filter(None, (protocol.get("likelihood") for protocol in protocols))
    return " or ".join(dict.fromkeys(names))


@dataclass(frozen=True, eq=False)
class StudyPlan:
    """What a study asks for, and what it recorded of its data and machine."""

    study: StudyRecord
    trials: pd.DataFrame
    """As `Results.trials`; they widen the axes of parameters."""

    @cached_property
    def seed(self) -> int:
        """The seed of the study file, which seeds every resample of a statistic; 0 without one."""
        return int(self.study.spec.get("seed") or 0)

    @cached_property
    def parameters(self) -> dict[str, SearchedParameter]:
        """The searched parameters by name, in the order of the study file, with the ranges that the
        search has widened.
        """
        search = {
            name: dict(section) for name, section in (self.study.spec.get("search") or {}).items()
        }
        for growth in self.study.grown:
            search[growth.parameter]["low" if growth.bound == "lower" else "high"] = growth.end
        return {
            name: searched_parameter(name, section, self.trials) for name, section in search.items()
        }

    def params(self, trial: pd.Series) -> dict[str, Any]:
        """Return the searched parameters of a trial, in the order of the study file, without
        inactive ones.
        """
        return configuration_of(self.parameters, trial)

    @cached_property
    def baseline_specs(self) -> Mapping[str, Mapping[str, Any]]:
        """The baselines of the study file, by name."""
        return self.study.spec.get("baselines") or {}

    @property
    def compared_parameters(self) -> tuple[str, ...]:
        """The parameters that the study compares in matched pairs, in the order of its file."""
        return tuple((self.study.spec.get("compare") or {}).get("parameters") or ())

    @property
    def warmup(self) -> int:
        """The longest warm-up of a trial of the search, in epochs that do not count."""
        return int(self.study.spec.get("longest_warmup", 0))

    @property
    def rungs(self) -> list[int]:
        """Epochs at which the pruner compares trials and pauses them; none where it pauses none."""
        return list(self.study.spec["pruner"].get("rungs") or ()) if promotes(self.study) else []

    def fixed(self, name: str) -> Any:
        """Return the value of a setting that the study fixes; None where it has none of that
        name.
        """
        sections = (self.study.spec.get(section) or {} for section in SECTIONS)
        return next((section[name] for section in sections if name in section), None)

    def epochs_saved(self, search: pd.DataFrame) -> int:
        """Return the trial-epochs that the pruned trials of a search did not train."""
        pruned = search[search["state"] == "pruned"]
        searched = "epochs" in self.parameters
        most = pruned["params.epochs"].astype(float) if searched else int(self.fixed("epochs") or 0)
        return int((most - pruned["epochs"]).clip(lower=0).sum())

    def recorded(self, part: str) -> Mapping[str, Any]:
        """Return a part of what `vaeexp.runs.provenance` recorded: data, protocol, git …; empty
        without it.
        """
        return self.study.provenance.get(part) or {}

    @property
    def other_files(self) -> bool:
        """Whether the files are not known to be the official ones of the data set: then no
        published figure is of them.
        """
        return str(self.recorded("data").get("title", "")).endswith(
            (f"({NOT_OFFICIAL})", f"({NOT_VERIFIED})")
        )

    def protocol(self, baseline: str | None = None) -> dict[str, str]:
        """Return the protocol of the search, or that of a baseline: what makes two values of −ELBO
        comparable.
        """
        protocol = {
            "posterior": str(self.fixed("posterior") or "gaussian"),
            **self.recorded("protocol"),
        }
        if baseline is not None:
            protocol = self.recorded("protocols").get(baseline, protocol)
        measure = recorded_measure(protocol)
        return protocol | ({} if measure is None else {"measure": measure})
