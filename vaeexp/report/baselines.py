"""Confirmed configurations and baselines side by side, with published figures, a table for each
protocol.
"""

import math
import re
from collections.abc import Callable, Sequence

import pandas as pd

from sweeps.results import Interval, mean_interval
from vaeexp.evaluation.metrics import METRICS, OF_PICTURES, own_name, with_own
from vaeexp.report.headline import (
    samples_of,
)
from vaeexp.report.markup import escape, folded, heading, narrow_tables
from vaeexp.report.sentences import Block, Words
from vaeexp.report.tables import (
    CONFIGURATION,
    RATE_AND_DISTORTION,
    Column,
    active_share,
    mean_on_test,
    on_test,
    table_of,
)
from vaeexp.results.plan import likelihood_words
from vaeexp.results.statements import Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, interval_on_test, own_metrics, row_names
from vaeexp.results.tested_settings import TestedSetting, by_protocol
from vaeexp.words import format_interval, of_data

INTRODUCTION = (
    "Mean ± 95 % interval over seeds, in nats per image, sorted by validation −ELBO within a "
    "protocol. Tables of different protocols measure different things: no figure of one can be "
    "set against a figure of another."
)
CLASSIFIER = (
    "FID and IS take their features from a classifier that was trained on the labelled training "
    "images, in the place of Inception; they are not to be set against figures of Inception."
)
LOSS = "train loss, last epoch"
"""Column of what training minimised, which is another quantity than the −ELBO of the columns on
validation and test.
"""


def protocol_tables(view: StudyView) -> list[Block]:
    """Return the chapter, block by block; empty without a confirmed configuration and without a
    baseline.
    """
    settings = [*view.confirmed, *view.retrained.baselines]
    if not settings:
        return []
    drawn = f" {CLASSIFIER}" if any(row.test("fid").n for row in settings) else ""
    blocks: list[Block] = [heading("Rows by protocol"), f"{of_data(INTRODUCTION)}{drawn}"]
    titles: set[str] = set()
    for group in by_protocol(settings):
        title = _title(view, group)
        # Two protocols may differ in a part that the heading does not name.
        title = title if title not in titles else f"{title} ({len(titles) + 1})"
        titles.add(title)
        inside = [_protocol_words(group), _likelihood_table(view, group), *_quality(view, group)]
        blocks += folded(title, inside)
    return blocks


def _title(view: StudyView, group: Sequence[TestedSetting]) -> str:
    """Return the heading of a protocol: `Static binarisation, bernoulli likelihood, gaussian
    posterior`.
    """
    row = group[0]
    shape = view.plan.recorded("data").get("image_shape") or [1]
    binarisation = _recorded(row, "binarisation")
    posterior = _recorded(row, "posterior")
    likelihood = " or ".join(dict.fromkeys(_recorded(each, "likelihood") for each in group))
    levels = "Grey levels" if shape[0] == 1 else "Colour levels"
    # So the protocol calls targets that are no levels of bytes.
    if "numbers" in row.protocol.get("binarisation", ""):
        levels = "Numbers"
    targets = levels if binarisation == "none" else f"{binarisation.capitalize()} binarisation"
    ending = "deterministic autoencoder" if row.deterministic else f"{posterior} posterior"
    return f"{targets}, {likelihood.replace('_', ' ')} likelihood, {ending}"


def _recorded(row: TestedSetting, name: str) -> str:
    """Return a setting; where the study's settings are not recorded, its protocol has them."""
    return str(row.settings[name] or row.protocol.get(name) or "unknown").split(" (")[0]


def _protocol_words(group: Sequence[TestedSetting]) -> Block:
    protocol = group[0].protocol
    parts = {
        "Data": ", ".join(protocol[name] for name in ("data", "split") if protocol.get(name)),
        "Binarisation": protocol.get("binarisation") if of_data("image") == "image" else None,
        "Likelihood p(x|z)": likelihood_words(row.protocol for row in group),
        "Measure": protocol.get("measure"),
        "Posterior q(z|x)": protocol.get("posterior"),
    }
    sentence = "; ".join(
        f"{name}: {escape(of_data(value))}" for name, value in parts.items() if value
    )
    if group[0].deterministic:
        return (
            f"{sentence}. A deterministic code has no rate and no ELBO: these figures are the "
            "distortion alone, to be set against other distortions at most, never against a "
            "−ELBO."
        )
    samples = tuple(samples_of(group))
    estimator = of_data("estimator: −ELBO at β = 1 with one posterior sample per image")
    estimator = f"{sentence}; {estimator}"
    # As `provenance.protocol` writes it; records before `validation_draws` say "one sample".
    draws = re.search(r"on validation, (\d+) samples per image", protocol.get("estimator", ""))
    if draws:
        estimator += f", on validation {draws[1]}"
    if not samples:
        return f"{estimator}."
    return (estimator, "; ", say("table.estimator", _rows(group), samples=samples))


def _likelihood_table(view: StudyView, group: Sequence[TestedSetting]) -> str:
    plain = group[0].deterministic
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
    columns += [
        (METRICS["active_units"].label, _units("active_units")),
        ("dimensions in use", _units("used_dimensions")),
        (METRICS["bits_per_dimension"].label, mean_on_test("bits_per_dimension")),
        (f"train {name}, last epoch", _last_epoch(view, total)),
    ]
    if any(_loss_is_another(view, row, total) for row in group):
        columns.append((LOSS, _last_epoch(view, "loss")))
    columns.append(CONFIGURATION)
    return table_of(columns, group)


def _quality(view: StudyView, group: Sequence[TestedSetting]) -> list[Block]:
    """Return how near reconstructions and samples come to images, and metrics of the user's own, at
    the best epoch.
    """
    own = own_metrics(view.study.spec)
    metrics = with_own(own)
    names = (*OF_PICTURES, *map(own_name, own))
    measures = [name for name in names if any(row.test(name).n for row in group)]
    if not measures:
        return []
    cells = []
    for row in group:
        means = [format_interval(row.test(name), metrics[name].digits) for name in measures]
        cells.append([escape(row.title), *means])
    classifier = _classifier(group)
    text = "; metrics of your own: " + ", ".join(f"`{path}`" for path in own) if own else ""
    titles = ["row", *(escape(metrics[name].title) for name in measures)]
    alone = f"Reconstructions of test {view.noun}s"
    introduction = (Words(classifier) if classifier else alone, f"{text}:")
    return [introduction, narrow_tables(titles, cells, right=range(1, len(titles)))]


def _classifier(group: Sequence[TestedSetting]) -> Statement | None:
    """Say how good the classifier is; None where none took part."""
    accuracies = pd.concat(
        [column(row.runs, "result.test/classifier_accuracy") for row in group]
    ).dropna()
    if accuracies.empty:
        return None
    accuracy = Figure(value=100 * float(accuracies.mean()), unit="%", n=len(accuracies), digits=1)
    return say("table.classifier", _rows(group), accuracy=accuracy)


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
    low = int(counts.min())
    high = int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _units(metric: str) -> Callable[[TestedSetting], str]:
    """Return the column of a number of latent dimensions."""
    return lambda row: active_share(
        row.test(metric).mean, column(row.runs, "params.latent_size").iloc[0]
    )


def _last_epoch(view: StudyView, name: str) -> Callable[[TestedSetting], str]:
    """Return the column of a figure of the training images in the last epoch."""
    return lambda row: format_interval(_at_end_of_training(view, row, name))


def _at_end_of_training(view: StudyView, row: TestedSetting, name: str) -> Interval:
    """Return a figure of the training images in the last epoch, mean and interval over the runs of
    a row.
    """
    epochs = view.epochs
    curves = epochs[epochs["repeat"] & epochs["number"].isin(row.runs["number"])].sort_values(
        "epoch"
    )
    last = column(curves, f"train/{name}").groupby(curves["number"]).last()
    return mean_interval(finite(last).tolist())


def _loss_is_another(view: StudyView, row: TestedSetting, total: str) -> bool:
    """Whether what the row minimised is not its −ELBO: under another β than 1, or with free
    nats.
    """
    loss, same = (_at_end_of_training(view, row, name).mean for name in ("loss", total))
    return math.isfinite(loss) and not math.isclose(loss, same, rel_tol=1e-5)
