"""The headline table: the best configuration, each baseline and the published figure, one row each,
with what may be compared.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeps.results import Interval
from vaeexp.evaluation.metrics import BESIDE, METRICS
from vaeexp.report.markup import escape, table
from vaeexp.report.sentences import Block, bullets, sentence
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, interval_on_test, row_names
from vaeexp.results.tested_settings import SAME_ELBO, TestedSetting, same_images, same_runs
from vaeexp.words import format_interval, format_number

TEST_IMAGES = 10_000
PUBLISHED_SAMPLES = 5000
"""Importance samples per image of the published figures."""
PUBLISHED_MODEL = (
    "VAE, one stochastic layer of 50 units, two hidden layers of 200, trained on all 60,000 "
    "training images"
)
PUBLISHED = {
    "dynamic": (
        86.76,
        "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, table 1",
    ),
    "static": (
        88.71,
        "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, appendix D "
        "(the fixed binarisation of Larochelle and Murray 2011; the pixels here are another draw)",
    ),
}
"""Binarisation → NLL on the 10,000 test images of MNIST (Bernoulli likelihood, nats per image), and
its source.
"""
HEADER = (
    *("row", "n", f"test {METRICS['neg_elbo'].label}", f"test {METRICS['iw_nll'].label} (k)"),
    *(METRICS[name].label for name in BESIDE),
    "comparable?",
)


class Line(NamedTuple):
    """A row of the table, with a note where not all its figures may be compared with those of the
    first row.
    """

    cells: list[str]
    comparable: str
    note: Statement | None


def headline(view: StudyView) -> list[Block]:
    """Return the table and its notes; empty where nothing was tested."""
    lines = _lines(view)
    if not lines:
        return []
    notes = _notes(lines)
    marks = {said: f"({chr(ord('a') + index)})" for index, said in enumerate(notes)}
    rows = []
    for line in lines:
        mark = f" {marks[sentence(line.note)]}" if line.note else ""
        rows.append([*line.cells, f"{line.comparable}{mark}"])
    introduction = (
        "On test images, mean over n training seeds ± 95 % interval (none from fewer than three "
        "seeds); −ELBO, IW-NLL and rate in nats per image, k importance samples. A row stands at "
        "its best epoch by validation −ELBO, and once more at its last epoch where figures "
        "differ there."
    )
    listed = bullets((f"{marks[said]} ", note) for said, note in notes.items())
    return [table(HEADER, rows, right=range(1, 7)), introduction, listed]


def _notes(lines: Sequence[Line]) -> dict[str, Statement]:
    """Return the notes of these rows, each once, by their words."""
    return {sentence(line.note): line.note for line in lines if line.note}


def _lines(view: StudyView) -> list[Line]:
    """Return the rows; empty where nothing was tested."""
    best = view.best if view.best is not None and _seeds(view.best, "test") else None
    settings = [*([best] if best else []), *view.retrained.changed, *view.retrained.baselines]
    if not settings:
        return []
    lines = [
        line
        for setting in settings
        for line in _of_setting(best, setting, view.retrained.opposed(setting))
    ]
    lost = [setting for setting in view.retrained.untrained if setting.baseline]
    lines += [Line(_cells(setting), "no", _note("failed", setting)) for setting in lost]
    return [*lines, *_published(view, best, settings)]


def _note(kind: str, setting: TestedSetting, **values: Any) -> Statement:
    """Return a note on the row of a configuration."""
    return say(f"note.{kind}", row_names(setting.runs), title=setting.title, **values)


def _of_setting(
    best: TestedSetting | None, setting: TestedSetting, other: TestedSetting | None
) -> list[Line]:
    """Return the row of a configuration, that of its last epoch where figures differ, and what its
    source printed.

    A baseline of the same runs as the best, or as the `other` that it is set against, has one row,
    marked so.
    """
    if best is None:
        comparable, note = "–", None
    elif setting is best:
        comparable, note = "yes", None
    elif same_runs(best, setting):
        return [Line(_cells(setting), "the best itself", _note("best_itself", setting))]
    elif setting.baseline and other is not None and same_runs(other, setting):
        trial = setting.source_trial
        return [
            Line(
                _cells(setting),
                f"trial {trial} itself",
                _note("trial_itself", setting, trial=trial),
            )
        ]
    else:
        comparable, note = _comparable(best, setting)
    lines = [Line(_cells(setting), comparable, note)]
    if moved(setting):
        lines.append(Line(_cells(setting, ", last epoch", "test_last"), comparable, note))
    if setting.published:
        printed = _note("printed", setting, published=setting.published)
        lines.append(Line([f"{escape(setting.title)}, as published", *["–"] * 6], "no", printed))
    return lines


def _comparable(best: TestedSetting, setting: TestedSetting) -> tuple[str, Statement | None]:
    """Say which figures of a configuration may be compared with those of the best, and why not the
    others.
    """
    reasons = incomparable(best, setting)
    if not reasons:
        words = "yes"
    elif setting.same_protocol == best.same_protocol:
        words = "all but IW-NLL"
    elif same_images(best, setting):
        words = "FID, MSE"
    else:
        words = "no"
    if words != "no" and setting.baseline and setting.source_trial not in (None, best.source_trial):
        words += f", with trial {setting.source_trial}"
    return words, _note("differs", setting, why=tuple(reasons)) if reasons else None


def _cells(setting: TestedSetting, ending: str = "", when: str = "test") -> list[str]:
    """Return title, seeds and figures at the best epoch (`test`) or at the last one
    (`test_last`).
    """
    n = _seeds(setting, when)
    count = f"{n:,} of {setting.planned:,}" if setting.failures else f"{n:,}"
    neg_elbo = "–" if setting.deterministic else format_interval(_at(setting, when, "neg_elbo"))
    weighted = _weighted(setting) if when == "test" else "–"
    return [f"{escape(setting.title)}{ending}", count, neg_elbo, weighted, *at_epoch(setting, when)]


def _seeds(setting: TestedSetting, when: str) -> int:
    """Return how many runs have a test figure."""
    return _at(setting, when, "distortion" if setting.deterministic else "neg_elbo").n


def at_epoch(setting: TestedSetting, when: str) -> list[str]:
    """Return rate, FID and MSE at the best epoch (`test`) or at the last one (`test_last`); a
    deterministic code has no rate.
    """
    return [
        "–"
        if name == "rate" and setting.deterministic
        else format_interval(_at(setting, when, name), METRICS[name].digits)
        for name in BESIDE
    ]


def moved(setting: TestedSetting) -> bool:
    """Tell whether rate, FID or MSE of the last epoch is known and differs from that of the best
    epoch, as shown.
    """
    best, last = at_epoch(setting, "test"), at_epoch(setting, "test_last")
    return any(shown not in ("–", other) for shown, other in zip(last, best, strict=True))


def _at(setting: TestedSetting, when: str, metric: str) -> Interval:
    return interval_on_test(setting.runs, f"{when}/{metric}")


def _weighted(setting: TestedSetting) -> str:
    """Return `91.04 ± 1.09 (200)`; the mean of runs that share their number of samples, an en dash
    otherwise.
    """
    samples, interval = samples_of([setting]), setting.test("iw_nll")
    return (
        f"{format_interval(interval)} ({samples[0]:,})" if interval.n and len(samples) == 1 else "–"
    )


def incomparable(best: TestedSetting, setting: TestedSetting) -> list[Statement]:
    """Return why figures of a configuration cannot be compared with those of the best; empty where
    all of them can.
    """
    if setting.deterministic and not best.deterministic:
        return [say("differs.deterministic")]
    parts = {
        part: (setting.protocol.get(part), best.protocol.get(part))
        for part in SAME_ELBO
        if part != "fingerprint"
    }
    reasons = [
        _differs(part, here, there) for part, (here, there) in parts.items() if here != there
    ]
    here, there = samples_of([setting]), samples_of([best])
    if not reasons and here and there and here != there:
        reasons.append(say("differs.samples", here=tuple(here), there=tuple(there)))
    return reasons


def _differs(part: str, here: str | None, there: str | None) -> Statement:
    kind = "recorded" if there is None else "protocol"
    return say(
        "differs.not_recorded" if here is None else f"differs.{kind}",
        part=part,
        here=here,
        there=there,
    )


def other_data(view: StudyView) -> Statement | None:
    """Say why no published figure can stand next to any row of the study; None for the whole of
    MNIST.
    """
    data = view.plan.recorded("data")
    if data.get("title") == "MNIST" and not data.get("subset") and data.get("test") == TEST_IMAGES:
        return None
    here = data.get("title") or data.get("name") or "not recorded here"
    return say("published.other_data", images=TEST_IMAGES, data=here)


def unpublished(group: Sequence[TestedSetting]) -> Statement | None:
    """Say why the published figure cannot be compared with these rows of one protocol; None where
    it can.
    """
    binarisation, likelihood = (group[0].settings[name] for name in ("binarisation", "likelihood"))
    samples = samples_of(group)
    if binarisation not in PUBLISHED:
        return say("unpublished.grey")
    if likelihood != "bernoulli":
        return say("unpublished.likelihood", likelihood=likelihood)
    if not samples:
        return say("unpublished.no_weighted")
    if PUBLISHED_SAMPLES not in samples:
        return say("unpublished.samples", samples=tuple(samples), published=PUBLISHED_SAMPLES)
    return None


def samples_of(group: Sequence[TestedSetting]) -> list[int]:
    """Return the numbers of importance samples that occur among these rows."""
    return sorted(
        {int(k) for row in group for k in finite(row.runs["result.test/importance_samples"])}
    )


def _published(
    view: StudyView, best: TestedSetting | None, rows: Sequence[TestedSetting]
) -> list[Line]:
    """Return the published figure of the binarisation of the best, next to the rows that share its
    protocol and number of samples.
    """
    if best is None or best.deterministic or other_data(view):
        return []
    why = unpublished([best])
    if why and why.id in ("unpublished.grey", "unpublished.likelihood"):
        return []
    nll, source = PUBLISHED[best.settings["binarisation"]]
    alike = [row for row in rows if row.same_protocol == best.same_protocol]
    sharing = [row for row in alike if samples_of([row]) == [PUBLISHED_SAMPLES]]
    values = {"model": PUBLISHED_MODEL, "source": source, "nll": Figure(value=nll, unit=NATS)}
    cells = [
        "published (Burda et al. 2016)",
        "–",
        "–",
        f"{format_number(nll)} ({PUBLISHED_SAMPLES:,})",
        "–",
        "–",
        "–",
    ]
    if not sharing:
        return [Line(cells, "no", say("note.published_apart", **values, why=why))]
    if best in sharing:
        return [Line(cells, "IW-NLL", say("note.published", **values))]
    titles = tuple(row.title for row in sharing)
    return [
        Line(
            cells,
            f"IW-NLL, k = {PUBLISHED_SAMPLES:,}",
            say("note.published", **values, titles=titles),
        )
    ]
