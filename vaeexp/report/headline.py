"""The headline table: the best configuration, each baseline and the published figure, one row each, with what may be compared."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeps.results.statistics import Interval
from vaeexp.evaluation.metrics import BESIDE, METRICS
from vaeexp.report.markup import escape, table
from vaeexp.report.sentences import sentence
from vaeexp.results.statements import NATS, Figure, Statement
from vaeexp.results.study_view import PROTOCOL, StudyView
from vaeexp.results.tables import column, finite, interval_on_test, row_names
from vaeexp.results.tested_settings import TestedSetting, same_images, same_runs
from vaeexp.words import format_interval, format_number

TEST_IMAGES = 10_000
PUBLISHED_SAMPLES = 5000
"""Importance samples per image of the published figures."""
PUBLISHED_MODEL = (
    "VAE, one stochastic layer of 50 units, two hidden layers of 200, trained on all 60,000 training images"
)
PUBLISHED = {
    "dynamic": (86.76, "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, table 1"),
    "static": (
        88.71,
        "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, appendix D "
        "(the fixed binarisation of Larochelle and Murray 2011; the pixels here are another draw)",
    ),
}
"""Binarisation → NLL on the 10,000 test images of MNIST (Bernoulli likelihood, nats per image), and its source."""
HEADER = (
    *("row", "n", "test −ELBO", "test IW-NLL (k)"),
    *(METRICS[name].label for name in BESIDE),
    "comparable?",
)


class Line(NamedTuple):
    """A row of the table, with a note where not all its figures may be set beside the first row's."""

    cells: list[str]
    comparable: str
    note: Statement | None


def headline(view: StudyView) -> list[str]:
    """Return the table and its notes; empty where nothing was tested."""
    lines = _lines(view)
    if not lines:
        return []
    rows, notes = [], [sentence(note, escape) for note in _notes(lines)]
    for line in lines:
        mark = f" ({chr(ord('a') + notes.index(sentence(line.note, escape)))})" if line.note else ""
        rows.append([*line.cells, f"{line.comparable}{mark}"])
    introduction = (
        "On test images, mean over n training seeds ± 95 % interval (none from fewer than three seeds); −ELBO, IW-NLL and rate "
        "in nats per image, k importance samples. A row stands at its best epoch by validation −ELBO, and once more at its last "
        "epoch where figures differ there."
    )
    listed = "\n".join(f"- ({chr(ord('a') + index)}) {note}" for index, note in enumerate(notes))
    return [block for block in (table(HEADER, rows, right=range(1, 7)), introduction, listed) if block]


def headline_notes(view: StudyView) -> list[Statement]:
    """Return the notes below the table, each once."""
    return _notes(_lines(view))


def _notes(lines: Sequence[Line]) -> list[Statement]:
    return list({sentence(line.note): line.note for line in lines if line.note}.values())


def _lines(view: StudyView) -> list[Line]:
    """Return the rows; empty where nothing was tested."""
    best = view.best
    settings = [*([best] if best is not None and best.test(_total(best)).n else []), *view.changed, *view.baselines]
    if not settings:
        return []
    first = settings[0] if settings[0] is best else None
    lines = [line for setting in settings for line in _of_setting(first, setting, view.opposed(setting))]
    lines += [_lost(setting) for setting in view.untrained if setting.baseline]
    return [*lines, *_published(view, first, settings)]


def _note(kind: str, setting: TestedSetting, **values: Any) -> Statement:
    """Return a note on the row of a configuration."""
    return Statement(id=f"note.{kind}", values={"title": setting.title, **values}, rows=tuple(row_names(setting.runs)))


def _total(setting: TestedSetting) -> str:
    return "distortion" if setting.deterministic else "neg_elbo"


def _of_setting(best: TestedSetting | None, setting: TestedSetting, other: TestedSetting | None) -> list[Line]:
    """Return the row of a configuration, that of its last epoch where figures differ, and what its source printed.

    A baseline of the same runs as the best, or as the other that it is set against, has one row, marked so.
    """
    title, count = escape(setting.title), _count(setting, setting.test(_total(setting)).n)
    if best is not None and setting is not best and same_runs(best, setting):
        return [Line([title, count, *_figures(setting, "test")], "the best itself", _note("best_itself", setting))]
    if best is not None and other is not None and setting.baseline and same_runs(other, setting):
        itself = f"trial {setting.source_trial} itself"
        same = _note("trial_itself", setting, trial=setting.source_trial)
        return [Line([title, count, *_figures(setting, "test")], itself, same)]
    reasons = incomparable(best, setting) if best is not None and setting is not best else []
    comparable = "yes" if best is not None else "–"
    note = _note("differs", setting, why=tuple(reasons)) if reasons else None
    if reasons:
        comparable = "FID, MSE" if best is not None and same_images(best, setting) else "no"
        comparable = (
            "all but IW-NLL" if best is not None and setting.same_protocol == best.same_protocol else comparable
        )
    if best is not None and setting.baseline and setting.source_trial not in (None, best.source_trial):
        comparable = f"{comparable}, with trial {setting.source_trial}" if comparable != "no" else comparable
    lines = [Line([title, count, *_figures(setting, "test")], comparable, note)]
    if moved(setting):
        cells = [
            f"{title}, last epoch",
            _count(setting, _at(setting, "test_last", _total(setting)).n),
            *_figures(setting, "test_last"),
        ]
        lines.append(Line(cells, comparable, note))
    if setting.published:
        printed = _note("printed", setting, published=setting.published)
        lines.append(Line([f"{title}, as published", *["–"] * 6], "no", printed))
    return lines


def _count(setting: TestedSetting, n: int) -> str:
    """Return `3`; `1 of 4` where other seeds failed."""
    return f"{n:,}{f' of {setting.planned:,}' if setting.failures else ''}"


def _lost(setting: TestedSetting) -> Line:
    """Return the row of a baseline of which every run failed."""
    return Line([escape(setting.title), _count(setting, 0), *["–"] * 5], "no", _note("failed", setting))


def _figures(setting: TestedSetting, when: str) -> list[str]:
    neg_elbo = "–" if setting.deterministic else format_interval(_at(setting, when, "neg_elbo"))
    return [neg_elbo, _weighted(setting) if when == "test" else "–", *at_epoch(setting, when)]


def at_epoch(setting: TestedSetting, when: str) -> list[str]:
    """Return rate, FID and MSE at the best epoch (`test`) or at the last one (`test_last`); a deterministic code has no rate."""
    return [
        "–"
        if name == "rate" and setting.deterministic
        else format_interval(_at(setting, when, name), METRICS[name].digits)
        for name in BESIDE
    ]


def moved(setting: TestedSetting) -> bool:
    """Tell whether rate, FID or MSE of the last epoch is known and differs from that of the best epoch, as shown."""
    best, last = at_epoch(setting, "test"), at_epoch(setting, "test_last")
    return any(shown not in ("–", other) for shown, other in zip(last, best, strict=True))


def _at(setting: TestedSetting, when: str, metric: str) -> Interval:
    return interval_on_test(setting.runs, f"{when}/{metric}")


def _weighted(setting: TestedSetting) -> str:
    """Return `91.04 ± 1.09 (200)`; the mean of runs that share their number of samples, an en dash otherwise."""
    samples = set(finite(column(setting.runs, "result.test/importance_samples")))
    interval = setting.test("iw_nll")
    return f"{format_interval(interval)} ({int(samples.pop()):,})" if interval.n and len(samples) == 1 else "–"


def incomparable(best: TestedSetting, setting: TestedSetting) -> list[Statement]:
    """Return why figures of a configuration cannot be set beside those of the best; empty where all of them can."""
    if setting.deterministic and not best.deterministic:
        reasons = [Statement(id="differs.deterministic")]
    else:
        reasons = [
            _differs(name, setting.protocol.get(part), best.protocol.get(part))
            for part, name in PROTOCOL.items()
            if part not in ("estimator", "fingerprint") and setting.protocol.get(part) != best.protocol.get(part)
        ]
    counts = [sorted(set(finite(column(row.runs, "result.test/importance_samples")))) for row in (setting, best)]
    if not reasons and counts[0] and counts[1] and counts[0] != counts[1]:
        here, there = (tuple(map(int, samples)) for samples in counts)
        reasons.append(Statement(id="differs.samples", values={"here": here, "there": there}))
    return reasons


def _differs(part: str, here: str | None, there: str | None) -> Statement:
    kind = "not_recorded" if here is None else "recorded" if there is None else "protocol"
    return Statement(id=f"differs.{kind}", values={"part": part, "here": here, "there": there})


def other_data(view: StudyView) -> Statement | None:
    """Say why no published figure can stand beside any row of the study; None for the whole of MNIST."""
    data = view.recorded("data")
    if data.get("title") == "MNIST" and not data.get("subset") and data.get("test") == TEST_IMAGES:
        return None
    here = data.get("title") or data.get("name") or "not recorded here"
    return Statement(id="published.other_data", values={"images": TEST_IMAGES, "data": here})


def unpublished(group: Sequence[TestedSetting]) -> Statement | None:
    """Say why the published figure cannot be set beside these rows of one protocol; None where it can."""
    binarisation, likelihood = (group[0].settings[name] for name in ("binarisation", "likelihood"))
    samples = samples_of(group)
    if binarisation not in PUBLISHED:
        return Statement(id="unpublished.grey")
    if likelihood != "bernoulli":
        return Statement(id="unpublished.likelihood", values={"likelihood": likelihood})
    if not samples:
        return Statement(id="unpublished.no_weighted")
    if PUBLISHED_SAMPLES not in samples:
        values = {"samples": tuple(samples), "published": PUBLISHED_SAMPLES}
        return Statement(id="unpublished.samples", values=values)
    return None


def samples_of(group: Sequence[TestedSetting]) -> list[int]:
    """Return the numbers of importance samples that occur among these rows."""
    return sorted({int(k) for row in group for k in finite(row.runs["result.test/importance_samples"])})


def _published(view: StudyView, best: TestedSetting | None, rows: Sequence[TestedSetting]) -> list[Line]:
    """Return the published figure of the binarisation of the best, beside the rows that share its protocol and number of samples."""
    if best is None or best.deterministic or other_data(view):
        return []
    figure = PUBLISHED.get(best.settings["binarisation"])
    if figure is None or best.settings["likelihood"] != "bernoulli":
        return []
    nll, source = figure
    sharing = [
        row for row in rows if row.same_protocol == best.same_protocol and samples_of([row]) == [PUBLISHED_SAMPLES]
    ]
    values: dict[str, Any] = {"model": PUBLISHED_MODEL, "source": source, "nll": Figure(value=nll, unit=NATS)}
    cells = ["published (Burda et al. 2016)", "–", "–", f"{format_number(nll)} ({PUBLISHED_SAMPLES:,})", "–", "–", "–"]
    if not sharing:
        apart = Statement(id="note.published_apart", values={**values, "why": unpublished([best])})
        return [Line(cells, "no", apart)]
    if best in sharing:
        return [Line(cells, "IW-NLL", Statement(id="note.published", values=values))]
    beside = Statement(id="note.published", values={**values, "titles": tuple(row.title for row in sharing)})
    return [Line(cells, f"IW-NLL, k = {PUBLISHED_SAMPLES:,}", beside)]
