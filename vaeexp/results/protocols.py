"""The protocol of the figures in a table, in words."""

from typing import Literal

from sweeps.results.rankings import Results
from vaeexp.report.markdown import escape
from vaeexp.results.frames import fixed, recorded
from vaeexp.results.study_summary import PROTOCOL

Figures = Literal["validation", "test", "other"]


def protocol_line(results: Results, figures: Figures) -> str:
    """What the figures of a table have in common, in a line; empty where the study has one protocol only.

    Args:
        results: the study.
        figures: of which images they are; of no −ELBO at all is `other`.
    """
    if not _references_differ(results):
        return ""
    own = recorded(results, "protocol")
    parts = [own[name] for name in ("data", "split") if own.get(name)]
    for name in ("binarisation", "likelihood", "posterior"):
        value = own.get(name) or fixed(results, name)
        # What a binarisation means in full stands with the protocol at the end of the report.
        parts += [f"{name} {str(value).split(' (')[0]}"] if value else []
    if figures != "other":
        parts.append("−ELBO at β = 1 with one posterior sample per image")
    samples = fixed(results, "importance_samples")
    if figures == "test" and samples:
        parts.append(f"importance-weighted NLL with k = {samples:,}")
    return f"Protocol: {escape('; '.join(parts))}."


def _references_differ(results: Results) -> bool:
    own = recorded(results, "protocol")
    return any(
        given.get(name) != own.get(name) for given in recorded(results, "protocols").values() for name in PROTOCOL
    )
