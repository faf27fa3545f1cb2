"""Published test figures of VAEs with one stochastic layer, shown only beside rows of the same protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.results import Results
from vaeexp.figures.frames import number, recorded
from vaeexp.figures.rows import Row
from vaeexp.report.markdown import escape, table
from vaeexp.report.words import finite

__all__ = ["ANCHORS", "Anchor", "other_data", "published"]

TEST_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A test NLL in nats per image on the 10,000 test images of MNIST, Bernoulli likelihood."""

    model: str
    nll: float
    binarisation: str
    importance_samples: int
    source: str


_NETWORK = "one stochastic layer of 50 units, two hidden layers of 200, trained on all 60,000 training images"

ANCHORS = (
    Anchor(
        model=f"VAE, {_NETWORK}",
        nll=86.76,
        binarisation="dynamic",
        importance_samples=5000,
        source="Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, table 1",
    ),
    Anchor(
        model=f"VAE, {_NETWORK}",
        nll=88.71,
        binarisation="static",
        importance_samples=5000,
        source="Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, appendix D "
        "(the fixed binarisation of Larochelle and Murray 2011; the pixels here are another draw)",
    ),
)


def other_data(results: Results) -> str:
    """A sentence why no published figure can stand beside any row of the study; empty for the whole of MNIST."""
    data = recorded(results, "data")
    if data.get("title") == "MNIST" and not data.get("subset") and data.get("test") == TEST_IMAGES:
        return ""
    here = data.get("title") or data.get("name") or "not recorded here"
    return (
        f"No published figure stands beside them: those at hand are of MNIST with its {TEST_IMAGES:,} test images, "
        f"and the data are {escape(here)}."
    )


def published(results: Results, group: Sequence[Row]) -> str:
    """The published figures of the protocol of these rows as a table, or a sentence why there is none.

    Empty where `other_data` has said it, and for plain autoencoders, which have no likelihood.
    """
    if other_data(results) or group[0].deterministic:
        return ""
    settings = group[0].settings
    same = [anchor for anchor in ANCHORS if anchor.binarisation == settings["binarisation"]]
    samples = sorted({int(k) for row in group for k in finite(row.runs["result.test/importance_samples"])})
    found = [anchor for anchor in same if anchor.importance_samples in samples]
    why = ""
    if not same:
        why = "they are of binary targets, and these are grey levels"
    elif settings["likelihood"] != "bernoulli":
        why = f"they are of a Bernoulli likelihood, and this is {settings['likelihood']}"
    elif not samples:
        why = "no run has an importance-weighted NLL"
    elif not found:
        wanted = sorted({anchor.importance_samples for anchor in same})
        why = f"k = {_and(samples)} here; the published figures use {_and(wanted)}"
    return f"No published figure stands beside these: {escape(why)}." if why else _table(found)


def _and(counts: Sequence[int]) -> str:
    return " and ".join(f"{count:,}" for count in counts)


def _table(anchors: list[Anchor]) -> str:
    header = ["published", "test NLL", "k", "source"]
    lines = [
        [escape(anchor.model), number(anchor.nll), f"{anchor.importance_samples:,}", escape(anchor.source)]
        for anchor in anchors
    ]
    words = "Published figures of the same protocol, to set beside the importance-weighted NLL with the same k:"
    return f"{words}\n\n{table(header, lines, right=(1, 2))}"
