"""Warnings that stand above everything else: a part of the data, a study that goes on, a likelihood that is none."""

from sweeps.results import Results
from vaeexp.figures.frames import fixed, label, recorded
from vaeexp.report.markdown import escape, plural
from vaeexp.report.protocols import searched_protocol
from vaeexp.report.words import listed

__all__ = ["notices"]


def notices(results: Results) -> list[str]:
    """Bold sentences, the gravest first; empty for a finished study on a whole data set."""
    data = recorded(results, "data")
    lines = []
    if data.get("subset"):
        lines.append(
            f"**Every figure here is of {escape(data.get('title', 'a subset of the data'))}: a small part of the data set. "
            "None of them can be compared with published figures for the whole of it.**"
        )
    if not results.study.get("finished"):
        lines.append(f"**Interim report: {_what_is_missing(results)}**")
    if fixed(results, "binarisation") == "none" and fixed(results, "likelihood") == "bernoulli":
        lines.append(
            "**The targets are grey levels under a Bernoulli likelihood, which is no density there: its −ELBO ranks these "
            "trials among themselves and means nothing in absolute terms.**"
        )
    if fixed(results, "posterior") == "deterministic":
        lines.append(
            "**The code is deterministic, without rate and ELBO: what is called −ELBO here is the distortion alone.**"
        )
    mixed = searched_protocol(results)
    if mixed:
        lines.append(
            f"**The study searches {listed([escape(label(name)) for name in mixed])}, which changes what is measured: values "
            "across it cannot be compared.**"
        )
    return lines


def _what_is_missing(results: Results) -> str:
    if results.study.get("stopped"):
        return "the search is over, its confirmation is not; figures will change."
    planned = (results.study.get("budget") or {}).get("trials")
    ended = int((~results.trials["replica"] & results.trials["state"].isin(["complete", "pruned", "failed"])).sum())
    return f"{plural(ended, 'trial')}{f' of {planned:,}' if planned else ''} {'has' if ended == 1 else 'have'} ended; figures will change."
