"""Compare two trainings of one trial: epochs, end, best epoch, final figures, weights.

Numbers must agree bit for bit where the same operations run in the same order: same device,
precision, fuse, compile, threads, processor and PyTorch, on the CPU. Elsewhere sums round in
another order, and another kind of device draws other noise, as another seed does. What differs
then is shown next to the spread that seeds have in the study.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sweeps import Damaged, Epoch, Outcome, Progress, Trial
from vaeexp.evaluation.metrics import NATS, measured_at, runs_have
from vaeexp.run_files import LAST, WEIGHTS
from vaeexp.training.checkpoint import load_tensors

LIMIT = 3 * math.sqrt(2)
"""Standard deviations over seeds by which the best −ELBO may differ: three of a difference."""
OF_TIME = measured_at("", "cost")
"""Metrics that measure the machine."""
OF_CLASSIFIER = runs_have(lambda metric: metric.by_classifier)
"""Metrics that rest on the classifier in the user's cache, which no record holds."""
IN_NATS = runs_have(lambda metric: metric.unit == NATS)
OF_SAMPLES = {
    "test/importance_samples",
    *runs_have(lambda metric: "importance_samples" in metric.protocol),
}
"""Their number of importance samples, and the metrics that rest on it."""
SHOWN = {"best_epoch", *runs_have(lambda metric: metric.bound)}
"""Final figures that are shown where bits may differ."""


class Criterion(NamedTuple):
    """What two trainings are to have in common."""

    exact: bool
    """Whether all bits are to be equal."""
    why: str

    def judge(self, equal: bool) -> bool | None:
        """Return whether a part agrees; None where it need not be equal, and is not."""
        if equal:
            return True
        return False if self.exact else None


class Part(NamedTuple):
    """One part of the comparison. `agrees` is None where the part is missing, or may differ."""

    what: str
    words: str
    agrees: bool | None


def choose_criterion(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Criterion:
    """Choose the criterion from `vaeexp.runs.provenance.arithmetic` on record and here."""
    changes = ", ".join(
        f"{name} {here[name]} instead of {recorded.get(name) or 'unknown'}"
        for name in here
        if here[name] != recorded.get(name)
    )
    if changes:
        return Criterion(False, f"{changes}: other rounding, or other random draws")
    if here["device"] != "cpu":
        return Criterion(False, "an accelerator adds up in an order of its own")
    return Criterion(True, f"{', '.join(here)} are those of the record")


def difference(recorded: Epoch, again: Epoch | Progress) -> str | None:
    """Describe the first metric of an epoch that differs, any but times; None without one."""
    before = _metrics(recorded)
    after = _metrics(again)
    for name in before | after:
        if before.get(name) != after.get(name):
            return f"epoch {recorded.epoch}, {name} {_by(before.get(name), after.get(name))}"
    return None


def _metrics(epoch: Epoch | Progress) -> dict[str, float]:
    """Return the −ELBO, then all metrics but times, by name; as in a record, without those that are
    not finite.
    """
    measured = {
        name: value
        for name, value in epoch.metrics.items()
        if name not in OF_TIME and math.isfinite(value)
    }
    return {"−ELBO": epoch.objective, **dict(sorted(measured.items()))}


def compare(
    record: Trial,
    again: Trial,
    folders: tuple[Path | None, Path | None],
    wanted: Criterion,
    spread: float,
) -> list[Part]:
    """Compare what two trainings left: epochs, end, final figures, weights. `folders` are those of
    the two; `spread` is the standard deviation of the best −ELBO over seeds, or NaN.

    The outcome of `again` is `pruned` where it would go on after the last recorded epoch.
    """
    parts = [_epochs(record, again, wanted)]
    if parts[0].agrees is None:
        parts.append(_best(record, again, spread))
    parts += [_end(record, again, wanted), *_final_figures(record.results, again.results, wanted)]
    weights = [_weights(*folders, wanted, file) for file in (WEIGHTS, LAST)]
    return [*parts, *(part for part in weights if part)]


def _epochs(record: Trial, again: Trial, wanted: Criterion) -> Part:
    pairs = [*zip(record.epochs, again.epochs, strict=False)]
    first = next((text for pair in pairs if (text := difference(*pair))), None)
    if first is not None:
        return Part("epochs", f"differ first at {first}", wanted.judge(False))
    words = f"{len(pairs):,} of {len(record.epochs):,} equal, bit for bit"
    return Part("epochs", words, wanted.judge(len(pairs) == len(record.epochs)))


def _best(record: Trial, again: Trial, spread: float) -> Part:
    """Compare the best −ELBO of both with the spread of seeds."""
    known, found = (
        min((epoch.objective for epoch in trial.epochs), default=math.nan)
        for trial in (record, again)
    )
    words = f"{_by(known, found)} nats per image; standard deviation over seeds"
    if math.isnan(spread):
        return Part("best −ELBO", f"{words} unknown: no setting has two of them", None)
    return Part("best −ELBO", f"{words} {spread:.3g}", abs(found - known) <= LIMIT * spread)


def _end(record: Trial, again: Trial, wanted: Criterion) -> Part:
    assert record.outcome is not None
    assert again.outcome is not None
    recorded, found = record.outcome, again.outcome
    kinds = [each.failure and each.failure.kind for each in (recorded, found)]
    if kinds == ["timed_out", None]:
        return Part("end", "not tried, because a limit on time ended the trial", None)
    complete = (recorded.state == "complete") == (found.state == "complete")
    if complete and kinds[0] == kinds[1] and recorded.epoch == found.epoch:
        return Part("end", f"{_describe(recorded)}, as on record", True)
    words = f"{_describe(found)}; on record: {_describe(recorded)}"
    return Part("end", words, wanted.judge(False) if kinds[0] == kinds[1] else False)


def _describe(outcome: Outcome) -> str:
    if outcome.failure is None:
        return f"{outcome.state} after {outcome.epoch} epochs"
    return f"fails in epoch {outcome.epoch}, {outcome.failure.kind} ({outcome.failure.message})"


def _final_figures(
    recorded: Mapping[str, float], again: Mapping[str, float], wanted: Criterion
) -> list[Part]:
    """Compare the best epoch, the number of parameters and the test metrics, but for those of the
    classifier.
    """
    names = sorted(recorded.keys() - OF_CLASSIFIER)
    if not wanted.exact:
        names = [name for name in names if name in SHOWN]
    if not names:
        return []
    wrong = [name for name in names if name not in again or not _near(recorded[name], again[name])]
    text = "; ".join(f"{name} {_by(recorded[name], again.get(name))}" for name in wrong)
    words = text or f"{', '.join(names)}: as on record"
    return [Part("final figures", words, wanted.judge(not wrong))]


def _weights(
    recorded: Path | None, again: Path | None, wanted: Criterion, file: str
) -> Part | None:
    """Compare the weights of the best or the last epoch, tensor by tensor. None where neither
    training kept this file.
    """
    what = "weights" if file == WEIGHTS else "last weights"
    there = [folder is not None and (folder / file).is_file() for folder in (recorded, again)]
    if recorded is None or again is None or not all(there):
        if there[1]:
            return Part(what, f"the run has left no {file}", None)
        return Part(what, "none now", False) if there[0] else None
    try:
        before = load_tensors(recorded / file)
        after = load_tensors(again / file)
    except (Damaged, OSError) as error:
        return Part(what, f"the run's {file} cannot be used: {error}", False)
    equal = {name for name in before.keys() & after.keys() if before[name].equal(after[name])}
    if apart := (before.keys() | after.keys()) - equal:
        text = f"{len(apart):,} of {len(before):,} tensors differ, the first is {min(apart)}"
        return Part(what, text, wanted.judge(False))
    return Part(what, f"{len(before):,} tensors equal, bit for bit", True)


EVALUATED = {True: 1e-4, False: 1e-3}
"""Whether device, processor and PyTorch are those of the record → relative tolerance of a test
figure. The draws are the same on any device, and other numbers of threads differ by less than 1e-5,
because they add up in another order."""


def compare_figures(
    found: Mapping[str, float], recorded: Mapping[str, float], *, last: bool, same: bool
) -> Part:
    """Compare the figures `test/…` of an evaluation with those that the study recorded of the run.

    Figures that rest on another number of importance samples, or on the classifier in the user's
    cache, do not count.

    Args:
        last: whether they are of the last epoch, which the record has as `test_last/…`.
        same: whether device, processor and PyTorch are those of the record.
    """
    prefix = "test_last/" if last else "test/"
    tolerance = EVALUATED[same]
    apart = OF_CLASSIFIER
    if found.get("test/importance_samples") != recorded.get("test/importance_samples"):
        apart = apart | OF_SAMPLES
    pairs = dict[str, tuple[float, float]]()
    for name, value in found.items():
        on_record = name.replace("test/", prefix, 1)
        if on_record in recorded and name.removesuffix("_se") not in apart:
            pairs[name] = recorded[on_record], value
    if not pairs:
        return Part(
            "record", "not compared: the study has no test figures of this run on record", None
        )
    wrong = [
        f"{name} {_by(before, after)}"
        for name, (before, after) in pairs.items()
        # In nats a value near 0 is no more exact than a value of 1.
        if not _near(before, after, tolerance, 1.0 if name in IN_NATS else 0.0)
    ]
    if wrong:
        return Part("record", f"differs from the study's record: {'; '.join(wrong)}", False)
    return Part(
        "record",
        f"{len(pairs)} figures are those of the study's record, within {100 * tolerance:g} %",
        True,
    )


def _near(recorded: float, again: float, tolerance: float = 0.0, least: float = 0.0) -> bool:
    """Return whether two numbers differ by at most this share of the larger, or of `least`."""
    if math.isnan(recorded):
        return math.isnan(again)
    return math.isclose(recorded, again, rel_tol=tolerance, abs_tol=tolerance * least)


def _by(recorded: float | None, again: float | None) -> str:
    if recorded is None or again is None:
        return "is on record alone" if again is None else "is not on record"
    return f"{again:.10g} instead of {recorded:.10g}, by {abs(again - recorded):.3g}"
