"""The headline table: the best configuration, each baseline and the published figure, one row each,
with what may be compared.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from sweeps.results import Interval
from vaeexp.evaluation.metrics import BESIDE, METRICS
from vaeexp.report.markup import escape, narrow_tables
from vaeexp.report.sentences import Block, bullets, sentence, words
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, interval_on_test, row_names
from vaeexp.results.tested_settings import SAME_ELBO, TestedSetting, same_images, same_runs
from vaeexp.words import format_interval, format_number, of_data

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
    lines = headline_rows(view)
    if not lines:
        return []
    # Each once, by its words.
    notes = {sentence(line.note): line.note for line in lines if line.note}
    marks = {said: f"({chr(ord('a') + index)})" for index, said in enumerate(notes)}
    rows = []
    for line in lines:
        mark = f" {marks[sentence(line.note)]}" if line.note else ""
        rows.append([*line.cells, f"{line.comparable}{mark}"])
    introduction = (
        "On test images, mean over n training seeds ± 95 % interval (none from fewer than three "
        "seeds); −ELBO, IW-NLL and rate in nats per image, k importance samples. A row stands at "
        "its best epoch by validation −ELBO, and once more at its last epoch where a figure to "
        "the right of IW-NLL differs there by more than its interval."
    )
    listed = bullets((f"{marks[said]} ", note) for said, note in notes.items())
    listed_rows = narrow_tables(HEADER, rows, right=range(1, len(HEADER) - 1))
    return [listed_rows, of_data(introduction), listed]


def headline_rows(view: StudyView) -> list[Line]:
    """Return the rows; empty where nothing was tested."""
    best = view.best if view.best is not None and _seeds(view.best, "test") else None
    settings = [*([best] if best else []), *view.retrained.changed, *view.retrained.baselines]
    if not settings:
        return []
    lines = list[Line]()
    for setting in settings:
        lines += _of_setting(view, best, setting)
    lost = [setting for setting in view.retrained.untrained if setting.baseline]
    lines += [Line(_cells(setting), "no", _note("failed", setting)) for setting in lost]
    return [*lines, *_published(view, best)]


def _note(kind: str, setting: TestedSetting, **values: Any) -> Statement:
    """Return a note on the row of a configuration."""
    return say(f"note.{kind}", row_names(setting.runs), title=setting.title, **values)


def _of_setting(view: StudyView, best: TestedSetting | None, setting: TestedSetting) -> list[Line]:
    """Return the row of a configuration, that of its last epoch where figures differ, and what its
    source printed.

    A baseline of the same runs as the best, or as the one that it is set against, has one row,
    marked so.
    """
    others = [best, view.retrained.opposed(setting)] if setting.baseline else [best]
    if best is None:
        comparable = "–"
        note = None
    elif setting is best:
        comparable = "yes"
        note = None
    elif twin := next((each for each in others if each and same_runs(each, setting)), None):
        of = against(twin.source_trial, best.source_trial)
        return [Line(_cells(setting), f"{words(of)} itself", _note("itself", setting, of=of))]
    else:
        comparable, note = _comparable(best, setting)
    lines = [Line(_cells(setting), comparable, note)]
    if moved(setting):
        lines.append(Line(_cells(setting, ", last epoch", "test_last"), comparable, note))
    if setting.published:
        printed = _note("printed", setting, published=setting.published)
        cells = [f"{escape(setting.title)}, as published", *["–"] * (len(HEADER) - 2)]
        lines.append(Line(cells, "no", printed))
    return lines


def against(trial: int | None, best: int | None) -> Statement:
    """Name the trial that a row is set against."""
    return say("against.best" if trial == best else "against.trial", trial=trial)


def _comparable(best: TestedSetting, setting: TestedSetting) -> tuple[str, Statement | None]:
    """Say which figures of a configuration may be compared with those of the best, and why not the
    others.
    """
    reasons = incomparable(best, setting)
    if not reasons:
        figures = "yes"
    elif setting.same_protocol == best.same_protocol:
        figures = "all but IW-NLL"
    elif same_images(best, setting):
        figures = "1 − R²" if setting.test("unexplained_variance").n else "FID, MSE"
    else:
        figures = "no"
    other = setting.baseline and setting.source_trial not in (None, best.source_trial)
    if other and figures != "no":
        figures += f", with trial {setting.source_trial}"
    return figures, _note("differs", setting, why=tuple(reasons)) if reasons else None


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
    """Return the figures `BESIDE` at the best epoch (`test`) or at the last one (`test_last`); a
    deterministic code has no rate.
    """
    return [
        "–"
        if name == "rate" and setting.deterministic
        else format_interval(_at(setting, when, name), METRICS[name].digits)
        for name in BESIDE
    ]


def moved(setting: TestedSetting) -> bool:
    """Tell whether a figure of `BESIDE` at the last epoch is known and differs from that of the
    best epoch, as shown, and by more than the interval of that where it has one.
    """
    shown = zip(BESIDE, at_epoch(setting, "test"), at_epoch(setting, "test_last"), strict=True)
    for name, best, last in shown:
        before, after = (_at(setting, when, name) for when in ("test", "test_last"))
        if last not in ("–", best) and not before.low <= after.mean <= before.high:
            return True
    return False


def _at(setting: TestedSetting, when: str, metric: str) -> Interval:
    return interval_on_test(setting.runs, f"{when}/{metric}")


def _weighted(setting: TestedSetting) -> str:
    """Return `91.04 ± 1.09 (200)`; the mean of runs that share their number of samples, an en dash
    otherwise.
    """
    samples = shared_result(setting, "importance_samples")
    interval = setting.test("iw_nll")
    return f"{format_interval(interval)} ({samples:,})" if interval.n and samples else "–"


def incomparable(best: TestedSetting, setting: TestedSetting) -> list[Statement]:
    """Return why figures of a configuration cannot be compared with those of the best; empty where
    all of them can.
    """
    if setting.deterministic and not best.deterministic:
        return [say("differs.deterministic")]
    reasons = []
    for part in SAME_ELBO:
        here, there = (row.protocol.get(part, "not recorded") for row in (setting, best))
        if here != there and part != "fingerprint":
            reasons.append(say("differs.protocol", part=part, here=here, there=there))
    samples = samples_of([setting])
    others = samples_of([best])
    if not reasons and samples and others and samples != others:
        reasons.append(say("differs.samples", here=tuple(samples), there=tuple(others)))
    return reasons


def shared_result(setting: TestedSetting, name: str) -> int | None:
    """Return the whole number on test that all runs of a setting share; None where they differ."""
    values = {*finite(column(setting.runs, f"result.test/{name}"))}
    return int(values.pop()) if len(values) == 1 else None


def samples_of(group: Sequence[TestedSetting]) -> list[int]:
    """Return the numbers of importance samples that occur among these rows."""
    counts = (finite(row.runs["result.test/importance_samples"]) for row in group)
    return sorted({int(k) for k in chain.from_iterable(counts)})


def _published(view: StudyView, best: TestedSetting | None) -> list[Line]:
    """Return the published figure of the binarisation of the best; none on other data than the
    whole of MNIST, and for other likelihoods.
    """
    data = view.plan.recorded("data")
    whole = data.get("title") == "MNIST" and not data.get("subset")
    if best is None or best.deterministic or not whole or data.get("test") != TEST_IMAGES:
        return []
    published = PUBLISHED.get(best.settings["binarisation"])
    if published is None or best.settings["likelihood"] != "bernoulli":
        return []
    nll, source = published
    figure = f"{format_number(nll)} ({PUBLISHED_SAMPLES:,})"
    cells = ["published (Burda et al. 2016)", "–", "–", figure, *["–"] * len(BESIDE)]
    values = {"model": PUBLISHED_MODEL, "source": source, "nll": Figure(value=nll, unit=NATS)}
    return [Line(cells, f"IW-NLL, k = {PUBLISHED_SAMPLES:,}", say("note.published", **values))]
