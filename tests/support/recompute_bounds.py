"""Whether the best trials of a study pile up at an end of a searched parameter, recomputed from the
tables beside its report.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats
from recompute_figures import Study
from recompute_files import Parameter, number_of, value_text


@dataclass(frozen=True)
class Pile:
    """The best ten trials at an end of the numbers of a parameter."""

    end: str
    count: int
    near: int
    ranked: int
    told: bool
    """Whether they pile up there; else the search has settled there."""


@dataclass(frozen=True)
class Ends:
    """The numbers that a parameter may have, and their ends; `numbers` are those of a list."""

    own: Parameter

    @property
    def numbers(self) -> list[float]:
        try:
            return sorted(map(number_of, self.own.texts))
        except ValueError:
            return []

    @property
    def low(self) -> float:
        return self.numbers[0] if self.own.texts else self.own.low

    @property
    def high(self) -> float:
        return self.numbers[-1] if self.own.texts else self.own.high

    @property
    def whole(self) -> bool:
        return self.own.whole or (
            bool(self.own.texts) and not any("." in text for text in self.own.texts)
        )

    @property
    def open_ends(self) -> list[str]:
        """Those beyond which there may be a number, of three numbers or more."""
        if self.own.texts and len(self.numbers) < 3:
            return []
        step = self.own.step or (1 if self.own.whole else 0)
        if not self.own.texts and step and (self.high - self.low) / step < 1.5:
            return []
        return ["upper"] if self.low <= (1 if self.whole else 0) else ["lower", "upper"]

    def places(self, values: pd.Series) -> np.ndarray:
        """Return where values lie between the ends, from 0 to 1; those of a list at even
        distances.
        """
        if not self.own.texts:
            return np.asarray(self.own.axis(values), dtype=float)
        index = {number: place for place, number in enumerate(self.numbers)}
        return values.map(lambda text: index[number_of(text)]).to_numpy(float) / (
            len(self.numbers) - 1
        )

    def near(self, values: pd.Series, end: str) -> np.ndarray:
        places = self.places(values)
        return places <= 0.05 if end == "lower" else places >= 0.95

    def winner(self, value: object) -> str:
        """Return the end that the value of the winner is; empty inside."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        continuous = not self.own.texts and not self.own.whole and self.own.step is None
        for end in self.open_ends:
            last = self.low if end == "lower" else self.high
            number = number_of(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
            if self.near(pd.Series([value]), end)[0] if continuous else number == last:
                return end
        return ""

    def last(self, end: str) -> str:
        return value_text(self.low if end == "lower" else self.high)


def bound_of(study: Study, name: str) -> Pile | None:
    """Return the end at which the best ten trials lie: more often than all do, or before all at
    equal values of the rest; or all of them.
    """
    own, trials = study.parameters[name], study.found
    ends, trials = Ends(own), trials[own.values(trials).notna()]
    for end in ends.open_ends if len(trials) >= 20 else ():
        near = pd.Series(ends.near(own.values(trials), end), index=trials.index)
        count, total = int(near.head(10).sum()), int(near.sum())
        chance = scipy.stats.hypergeom.sf(count - 1, len(near), total, 10)
        p = chance if count <= 5 else _ahead(study, own, trials, near)
        told = bool(p <= 0.025 / len(study.parameters))
        if told or (count == 10 and 2 * total > len(near)):
            return Pile(end, count, total, len(near), told)
    return None


def _ahead(study: Study, own: Parameter, trials: pd.DataFrame, near: pd.Series) -> float:
    """Return the p of a regression of normal scores of ranks: whether trials near an end rank
    before others at equal values of the rest.
    """
    columns = [np.ones(len(trials))]
    for other in study.parameters.values():
        values = other.values(trials)
        if other is own or values.isna().all():
            continue
        if other.texts and not Ends(other).numbers:
            kinds = values.astype(object).where(values.notna(), "None").astype(str)
            columns += [*pd.get_dummies(kinds).to_numpy(float).T[1:]]
        else:
            places = np.zeros(len(trials))
            places[values.notna()] = Ends(other).places(values.dropna())
            columns += [places, places**2, values.notna().to_numpy(float)]
    rest = np.column_stack(columns)
    scores = scipy.stats.norm.ppf((np.arange(len(trials)) + 0.5) / len(trials))
    terms = np.column_stack([near.to_numpy(float), rest])
    rank = np.linalg.matrix_rank(rest)
    freedom = len(trials) - rank - 1
    if freedom < 10 or np.linalg.matrix_rank(terms) == rank:
        return 1.0
    fitted, *_ = np.linalg.lstsq(terms, scores, rcond=None)
    variance = (
        ((scores - terms @ fitted) ** 2).sum() / freedom * np.linalg.pinv(terms.T @ terms)[0, 0]
    )
    return float(scipy.stats.t.cdf(fitted[0] / math.sqrt(variance), freedom))
