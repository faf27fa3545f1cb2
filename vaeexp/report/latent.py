"""What the report says of the components of the best mixture prior: which classes each one serves."""

import numpy as np

from sweeps.results import Results
from vaeexp.figures.frames import number
from vaeexp.figures.latent import heaviest
from vaeexp.figures.pictures import best_evaluated
from vaeexp.report.markdown import escape, plural, table

__all__ = ["component_table", "purity"]

_NAMED = 0.1
"""Share of a class from which a component is said to serve it."""
_CLASSES = 6


def component_table(results: Results) -> str:
    """A row per component of the best mixture prior, the heaviest first, with the classes that it serves; then how well
    components tell classes apart. Empty without a mixture or without classes."""
    found = best_evaluated(results, "component_classes")
    if found is None:
        return ""
    shares, weights = found[1]["component_classes"], found[1]["component_weights"]
    classes, order = found[1]["classes"].tolist(), heaviest(found[1]["component_weights"])
    rows = [
        [str(place), _percent(weights[k]), _percent(np.nanmean(shares[k])), _served(shares[k], classes)]
        for place, k in enumerate(order, start=1)
    ]
    header = [
        "component",
        "weight",
        "mean share of a class",
        f"classes of which it serves {_percent(_NAMED, 0)} or more",
    ]
    left_out = len(weights) - len(order)
    words = [f"{plural(left_out, 'lighter component')} not shown."] if left_out else []
    words.append(
        f"If each component stood for the class that it serves most, {_percent(purity(shares))} of the images would be put "
        "into their class (all classes weighted alike)."
    )
    return f"{table(header, rows, right=range(3))}\n\n{' '.join(words)}"


def purity(shares: np.ndarray) -> float:
    """Share of images whose component's main class is theirs, classes weighted alike; of shares [K, n], NaN where missing.

    1 where no component serves two classes, 1/n where all serve all alike.
    """
    present = ~np.isnan(shares).any(axis=0)
    return float(shares[:, present].max(axis=1).sum() / present.sum())


def _served(shares: np.ndarray, classes: list[str]) -> str:
    """Names and shares, the greatest first."""
    served = [label for label in np.argsort(-np.nan_to_num(shares), kind="stable") if shares[label] >= _NAMED]
    names = [f"{escape(classes[label])} ({_percent(shares[label], 0)})" for label in served[:_CLASSES]]
    more = len(served) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") or "–"


def _percent(share: float, digits: int = 1) -> str:
    return f"{number(100 * share, digits)} %"
