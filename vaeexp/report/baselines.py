"""Confirmed configurations and baselines side by side, with published figures, a table for each
protocol.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from sweeps.results import Interval, mean_interval
from vaeexp.evaluation import FID_IMAGES
from vaeexp.evaluation.metrics import METRICS, OF_PICTURES, own_name, with_own
from vaeexp.report.headline import (
    PUBLISHED,
    PUBLISHED_MODEL,
    PUBLISHED_SAMPLES,
    moved,
    other_data,
    samples_of,
    unpublished,
)
from vaeexp.report.markup import escape, folded, heading, narrow_tables, table
from vaeexp.report.sentences import Block, Words, bullets, joined
from vaeexp.report.tables import (
    CONFIGURATION,
    RATE_AND_DISTORTION,
    Column,
    active_share,
    mean_on_test,
    on_test,
    table_of,
)
from vaeexp.report.templates import PICTURES
from vaeexp.results.statements import Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, interval_on_test, own_metrics, row_names
from vaeexp.results.tested_settings import TestedSetting, by_protocol
from vaeexp.words import format_interval, format_number


def published(view: StudyView, group: Sequence[TestedSetting]) -> Block:
    """Return the published figure of the protocol of these rows as a table, or a sentence why there
    is none.

    Empty where `other_data` says why, and for plain autoencoders, which have no likelihood.
    """
    if other_data(view) or group[0].deterministic:
        return ""
    if why := unpublished(group):
        return say("published.none", why=why)
    nll, source = PUBLISHED[group[0].settings["binarisation"]]
    line = [escape(PUBLISHED_MODEL), format_number(nll), f"{PUBLISHED_SAMPLES:,}", escape(source)]
    words = (
        "Published figures of the same protocol, to set beside the importance-weighted NLL with "
        "the same k:"
    )
    return f"{words}\n\n{table(['published', 'test NLL', 'k', 'source'], [line], right=(1, 2))}"


INTRODUCTION = (
    "Mean ± 95 % interval over seeds, in nats per image, sorted by validation −ELBO within a "
    "protocol. Tables of different protocols measure different things: no figure of one can be "
    "set against a figure of another."
)
CLASSIFIER = (
    "FID and IS take their features from a classifier that was trained on the labelled training "
    "images, in the place of Inception; they are not to be set against figures of Inception."
)
LOSS = "train loss (distortion + β·rate), last epoch"
OWN_LOSS = "train loss (as `loss` says), last epoch"
"""Column of what training minimised, which is another quantity than the −ELBO of the columns on
validation and test.
"""


def protocol_tables(view: StudyView) -> list[Block]:
    """Return the chapter, block by block; empty without a confirmed configuration and without a
    baseline.
    """
    settings = [*view.confirmed, *view.baselines]
    if not settings:
        return []
    elsewhere = other_data(view)
    introduction: list[Block] = [INTRODUCTION, *([] if elsewhere is None else [elsewhere])]
    introduction += [CLASSIFIER] if any(row.test("fid").n for row in settings) else []
    blocks: list[Block] = [heading("Rows by protocol"), joined(introduction)]
    titles: set[str] = set()
    for group in by_protocol(settings):
        title = _title(view, group[0])
        # Two protocols may differ in a part that the heading does not name.
        title = title if title not in titles else f"{title} ({len(titles) + 1})"
        titles.add(title)
        inside = [_protocol_words(group), _likelihood_table(view, group), *_quality(view, group)]
        blocks += folded(title, [*inside, published(view, group), _reported(view, group)])
    return blocks


def sub_pixels(view: StudyView) -> int:
    """Return D = H·W·C of the study's images; 0 where it is not recorded."""
    shape = view.recorded("data").get("image_shape")
    return math.prod(shape) if shape else 0


def _title(view: StudyView, row: TestedSetting) -> str:
    """Return the heading of a protocol: `Static binarisation, bernoulli likelihood, gaussian
    posterior`.
    """
    shape = view.recorded("data").get("image_shape") or [1]
    names = ("binarisation", "likelihood", "posterior")
    # Where the study's settings are not recorded, its protocol has them.
    recorded = [
        str(row.settings[name] or row.protocol.get(name) or "unknown").split(" (")[0]
        for name in names
    ]
    binarisation, likelihood, posterior = recorded
    levels = "Grey levels" if shape[0] == 1 else "Colour levels"
    targets = levels if binarisation == "none" else f"{binarisation.capitalize()} binarisation"
    ending = "deterministic autoencoder" if row.deterministic else f"{posterior} posterior"
    return f"{targets}, {likelihood.replace('_', ' ')} likelihood, {ending}"


def _protocol_words(group: Sequence[TestedSetting]) -> Block:
    protocol = group[0].protocol
    parts = {
        "Data": ", ".join(protocol[name] for name in ("data", "split") if protocol.get(name)),
        "Binarisation": protocol.get("binarisation"),
        "Likelihood p(x|z)": protocol.get("likelihood"),
        "Posterior q(z|x)": protocol.get("posterior"),
    }
    sentence = "; ".join(f"{name}: {escape(value)}" for name, value in parts.items() if value)
    if group[0].deterministic:
        return (
            f"{sentence}. A deterministic code has no rate and no ELBO: these figures are the "
            "distortion alone, to be set against other distortions at most, never against a "
            "−ELBO."
        )
    samples = tuple(samples_of(group))
    estimator = f"{sentence}; estimator: −ELBO at β = 1 with one posterior sample per image"
    if not samples:
        return f"{estimator}."
    several = ", a column each, since a larger k alone lowers it" if len(samples) > 1 else ""
    return (
        estimator,
        "; ",
        Words(say("table.estimator", _rows(group), samples=samples)),
        f"{several}.",
    )


def _likelihood_table(view: StudyView, group: Sequence[TestedSetting]) -> str:
    plain, size = group[0].deterministic, sub_pixels(view)
    total = "distortion" if plain else "neg_elbo"
    name = METRICS[total].label
    columns: list[Column] = [
        ("row", lambda row: escape(row.title)),
        ("seeds", lambda row: row.seeds),
        ("best epoch", _epochs),
        (f"val {name}", lambda row: format_interval(row.validation)),
        on_test(total),
    ]
    if not plain:
        weighted = METRICS["iw_nll"].label
        columns += [
            (f"test {weighted}, k = {samples:,}", _weighted(samples))
            for samples in samples_of(group)
        ]
        columns += RATE_AND_DISTORTION
    columns.append((METRICS["active_units"].label, partial(_units, metric="active_units")))
    columns.append(("dimensions in use", partial(_units, metric="used_dimensions")))
    if size:
        columns.append(
            ("nats per sub-pixel", lambda row: format_number(row.test(total).mean / size, 4))
        )
        if not plain and any(row.beta not in (None, 1) for row in group):
            columns.append(
                (
                    "test distortion + β·rate per sub-pixel",
                    lambda row: _loss_per_sub_pixel(row, size),
                )
            )
    bits = METRICS["bits_per_dimension"].label
    columns += [
        (bits, mean_on_test("bits_per_dimension")),
        (f"train {name}, last epoch", _last_epoch(view, total)),
    ]
    of_elbo = all(row.settings.get("loss") in (None, "elbo") for row in group)
    if any(_loss_is_another(view, row, total) for row in group):
        columns.append((LOSS if of_elbo else OWN_LOSS, _last_epoch(view, "loss")))
    if of_elbo and size and "(squared error)" in group[0].protocol.get("likelihood", ""):
        # −log p(x|z) is the summed squared error and this constant, which notebooks leave out.
        constant = 0.5 * size * math.log(math.pi)
        columns.append(
            (LOSS.replace("distortion", "squared error"), _last_epoch(view, "loss", less=constant))
        )
    columns.append(CONFIGURATION)
    return table_of(columns, group)


def _quality(view: StudyView, group: Sequence[TestedSetting]) -> list[Block]:
    """Return how near reconstructions and samples come to images, and metrics of the user's own, at
    the best epoch and, where it differs, at the last one."""
    own = own_metrics(view.study.spec)
    metrics, names = with_own(own), (*OF_PICTURES, *map(own_name, own))
    measures = [name for name in names if any(row.test(name).n for row in group)]
    if not measures:
        return []
    apart = [row for row in group if moved(row)]
    if apart and not group[0].deterministic:
        measures.insert(0, "rate")
    cells = []
    for row in group:
        for when, ending in {"test": "", "test_last": ", last epoch"}.items():
            if when == "test" or row in apart:
                means = {name: interval_on_test(row.runs, f"{when}/{name}") for name in measures}
                shown = [
                    format_interval(mean, metrics[name].digits) for name, mean in means.items()
                ]
                cells.append([f"{escape(row.title)}{ending}", *shown])
    classifier = _classifier(group)
    text = "; a row stands once more at its last epoch where figures differ there" if apart else ""
    text += "; metrics of your own: " + ", ".join(f"`{path}`" for path in own) if own else ""
    titles = ["row", *(escape(metrics[name].title) for name in measures)]
    introduction = (Words(classifier) if classifier else PICTURES, f"{text}:")
    return [
        introduction,
        narrow_tables(titles, cells, right=range(1, len(titles))),
        *_no_fid(group),
    ]


def _classifier(group: Sequence[TestedSetting]) -> Statement | None:
    """Say how good the classifier is; None where none took part."""
    accuracies = pd.concat(
        [column(row.runs, "result.test/classifier_accuracy") for row in group]
    ).dropna()
    if accuracies.empty:
        return None
    accuracy = Figure(value=100 * float(accuracies.mean()), unit="%", n=len(accuracies), digits=1)
    return say("table.classifier", _rows(group), accuracy=accuracy)


def _no_fid(group: Sequence[TestedSetting]) -> list[Statement]:
    """Say why there is no FID where there are samples and too few test images."""
    without = [row for row in group if row.test("generated").n and not row.test("fid").n]
    if not without:
        return []
    images = round(min(row.test("generated").mean for row in without))
    return [say("table.no_fid", _rows(without), least=FID_IMAGES, images=images)]


def _rows(group: Sequence[TestedSetting]) -> list[str]:
    return row_names(pd.concat([row.runs for row in group])).drop_duplicates().tolist()


def _weighted(samples: int) -> Callable[[TestedSetting], str]:
    """Return the column of the importance-weighted NLL of the runs that took so many samples."""
    return lambda row: format_interval(
        interval_on_test(
            row.runs[row.runs["result.test/importance_samples"] == samples], "test/iw_nll"
        )
    )


def _epochs(row: TestedSetting) -> str:
    """Return the best epoch: `74 of 94`, over several seeds `70–74 of 90–94`."""
    best, trained = (row.runs[name].dropna().astype(int) for name in ("best_epoch", "epochs"))
    return f"{_span(best)} of {_span(trained)}" if len(best) else "–"


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _units(row: TestedSetting, metric: str) -> str:
    return active_share(row.test(metric).mean, column(row.runs, "params.latent_size").iloc[0])


def _last_epoch(view: StudyView, name: str, less: float = 0.0) -> Callable[[TestedSetting], str]:
    """Return the column of a figure of the training images in the last epoch."""
    return lambda row: format_interval(_at_end_of_training(view, row, name, less))


def _at_end_of_training(
    view: StudyView, row: TestedSetting, name: str, less: float = 0.0
) -> Interval:
    """Return a figure of the training images in the last epoch, mean and interval over the runs of
    a row.
    """
    epochs = view.epochs
    curves = epochs[epochs["repeat"] & epochs["number"].isin(row.runs["number"])].sort_values(
        "epoch"
    )
    last = column(curves, f"train/{name}").groupby(curves["number"]).last()
    return mean_interval((finite(last) - less).tolist())


def _loss_is_another(view: StudyView, row: TestedSetting, total: str) -> bool:
    """Whether what the row minimised is not its −ELBO: under another β than 1, or with free
    nats.
    """
    loss, same = (_at_end_of_training(view, row, name).mean for name in ("loss", total))
    return math.isfinite(loss) and not math.isclose(loss, same, rel_tol=1e-5)


def _loss_per_sub_pixel(row: TestedSetting, size: int) -> str:
    if row.beta is None:
        return "–"
    return format_number((row.test("distortion").mean + row.beta * row.test("rate").mean) / size, 4)


def _reported(view: StudyView, group: Sequence[TestedSetting]) -> Block:
    """Return the figures that the sources of the baselines printed; none on a part of the data,
    which they did not use.
    """
    lines = [f"{escape(row.title)}: {escape(row.published)}" for row in group if row.published]
    if not lines or view.recorded("data").get("subset"):
        return ""
    return "Reported elsewhere, as the study file has it:\n\n", bullets(lines)
