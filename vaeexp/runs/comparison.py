"""Compare two trainings of one trial: epochs, end, best epoch, final figures, weights.

Numbers must agree bit for bit where the same operations run in the same order: same device,
precision, fuse, compile, threads, processor and PyTorch, on the CPU. Elsewhere the −ELBO of each
epoch has a relative tolerance, and the best −ELBO half of it. The tolerances were measured with an
MLP on 500 and 1,000 digits, over 10 to 40 epochs at learning rates of 1e-3 to 1e-2:

- `ROUNDING`: the same draws, added up in another order (threads, fuse, compile, processor,
  version). Measured: 2e-8. The tolerance is larger because differences grow in long trainings. It
  always holds on accelerators, because their kernels choose the order and because a fused trial had
  neighbours.
- `PRECISION`: the same draws in bf16 instead of float32, or the other way round. Measured: 1.5e-2.
- `DRAWS`: another kind of device, which draws another order of images and other noise. Measured: a
  standard deviation over draws of 2.4e-2 in the worst epoch, 1.2e-2 in the last. The tolerance is
  three standard deviations of a difference, 3 · √2 · 2.4e-2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from sweeps import Damaged, Epoch, Outcome, Progress, Trial
from vaeexp.evaluation.metrics import NATS, measured_at, runs_have
from vaeexp.run_files import LAST, WEIGHTS
from vaeexp.training.checkpoint import load_tensors

ROUNDING = 1e-3
PRECISION = 2e-2
DRAWS = 1e-1
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
BOUNDS = runs_have(lambda metric: metric.bound)
"""Test metrics that have the tolerance of an epoch."""


@dataclass(frozen=True)
class Criterion:
    """The tolerance between two trainings, and its reason."""

    tolerance: float
    """Relative tolerance of the −ELBO of each epoch; 0 asks for equal bits of all numbers."""
    why: str
    scale: float = 0.0
    """Mean absolute −ELBO of the recorded epochs. Differences of values near 0, which densities can
    have, are relative to it.
    """

    def near(self, recorded: float | None, again: float | None, share: float = 1.0) -> bool:
        """Tell whether a number lies within this share of the tolerance."""
        if recorded is None or again is None:
            return recorded is again
        if not (math.isfinite(recorded) and math.isfinite(again)):
            return recorded == again or (math.isnan(recorded) and math.isnan(again))
        return abs(again - recorded) <= share * self.tolerance * max(abs(recorded), self.scale)


class Part(NamedTuple):
    """One part of the comparison. `agrees` is None where the part is missing, or does not count
    under the criterion.
    """

    what: str
    words: str
    agrees: bool | None


def choose_criterion(
    recorded: Mapping[str, Any], here: Mapping[str, Any], epochs: Sequence[Epoch]
) -> Criterion:
    """Choose the criterion from `vaeexp.runs.provenance.arithmetic` on record and here, and from
    the recorded epochs.
    """
    changed = [name for name in here if here[name] != recorded.get(name)]
    changes = ", ".join(
        f"{name} {here[name]} instead of {recorded.get(name) or 'unknown'}" for name in changed
    )
    scale = fmean(abs(epoch.objective) for epoch in epochs) if epochs else 0.0
    if "device" in changed:
        return Criterion(DRAWS, f"{changes}: other random draws", scale)
    if "precision" in changed:
        return Criterion(PRECISION, f"{changes}: the same draws, rounded otherwise", scale)
    if changed:
        return Criterion(ROUNDING, f"{changes}: the same draws, added up in another order", scale)
    if here["device"] != "cpu":
        return Criterion(ROUNDING, "an accelerator adds up in an order of its own", scale)
    return Criterion(0.0, f"{', '.join(here)} are those of the record", scale)


def difference(recorded: Epoch, again: Epoch | Progress, wanted: Criterion) -> str | None:
    """Describe the first metric of an epoch that differs: any but times; with a tolerance, the
    −ELBO alone. None without one.
    """
    if wanted.tolerance:
        near = wanted.near(recorded.objective, again.objective)
        return (
            None
            if near
            else f"epoch {recorded.epoch}, −ELBO {_by(recorded.objective, again.objective)}"
        )
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
    record: Trial, again: Trial, folders: tuple[Path | None, Path | None], wanted: Criterion
) -> list[Part]:
    """Compare what two trainings left: epochs, end, best epoch, final figures, weights. `folders`
    are those of the two.

    The outcome of `again` is `pruned` where it would go on after the last recorded epoch.
    """
    assert record.outcome is not None
    assert again.outcome is not None
    parts = [_epochs(record, again, wanted), _end(record.outcome, again.outcome, wanted)]
    if "best_epoch" in record.results:
        epochs = record.results["best_epoch"], again.results.get("best_epoch", math.nan)
        parts.append(_best(epochs, (record.outcome.objective, again.outcome.objective), wanted))
    parts += _final_figures(record.results, again.results, wanted)
    weights = [_weights(*folders, wanted, file) for file in (WEIGHTS, LAST)]
    return [*parts, *(part for part in weights if part)]


def _epochs(record: Trial, again: Trial, wanted: Criterion) -> Part:
    pairs = list(zip(record.epochs, again.epochs, strict=False))
    count = f"{len(pairs):,} of {len(record.epochs):,}"
    first = next((text for pair in pairs if (text := difference(*pair, wanted))), None)
    if first is not None:
        return Part("epochs", f"differ first at {first}", False)
    if len(pairs) < len(record.epochs):
        return Part("epochs", f"{count} trained; they agree", None if wanted.tolerance else False)
    if not pairs:
        return Part("epochs", "none on record", None)
    if not any(difference(*pair, Criterion(0.0, "")) for pair in pairs):
        return Part(
            "epochs",
            f"{count} equal, bit for bit, each in {len(_metrics(pairs[0][0]))} figures",
            True,
        )
    most, epoch = max(
        (abs(after.objective - before.objective), before.epoch) for before, after in pairs
    )
    return Part(
        "epochs",
        f"{count} agree; −ELBO differs by at most {most:.3g} nats per image (epoch {epoch})",
        True,
    )


def _end(recorded: Outcome, found: Outcome, wanted: Criterion) -> Part:
    failure, again = recorded.failure, found.failure
    if failure and failure.kind == "timed_out" and not again:
        return Part("end", "not tried, because a limit on time ended the trial", None)
    if failure or again:
        same = failure and again and failure.kind == again.kind
        if not wanted.tolerance:
            same = same and recorded.epoch == found.epoch
        return Part("end", f"{_describe(found)}; on record: {_describe(recorded)}", bool(same))
    if (recorded.state == "complete") == (found.state == "complete"):
        return Part("end", f"{recorded.state} after {found.epoch} epochs, as on record", True)
    words = "is complete" if found.state == "complete" else "would go on"
    words = f"{words} after {found.epoch} epochs, where the record has it {recorded.state}"
    return Part("end", words, None if wanted.tolerance else False)


def _describe(outcome: Outcome) -> str:
    if outcome.failure is None:
        return "does not fail"
    return f"fails in epoch {outcome.epoch}, {outcome.failure.kind} ({outcome.failure.message})"


def _best(
    epochs: tuple[float, float], values: tuple[float | None, float | None], wanted: Criterion
) -> Part:
    if not wanted.near(*values, share=0.5):
        return Part("best epoch", f"−ELBO {_by(*values)}", False)
    recorded, found = epochs
    if recorded == found:
        return Part("best epoch", f"{recorded:.0f}, equal", True)
    return Part(
        "best epoch", f"{found:.0f} instead of {recorded:.0f}", None if wanted.tolerance else False
    )


def _final_figures(
    recorded: Mapping[str, float], again: Mapping[str, float], wanted: Criterion
) -> list[Part]:
    """Compare the number of parameters and the test metrics, but for those of the classifier."""
    names = sorted(recorded.keys() - {"best_epoch", *OF_CLASSIFIER})
    if wanted.tolerance:
        bounds = BOUNDS.intersection(names) or {"test/distortion", "test_last/distortion"}
        names = [name for name in names if name in bounds or name == "parameters"]
    if not names:
        return []
    wrong = [name for name in names if not wanted.near(recorded[name], again.get(name))]
    text = "; ".join(f"{name} {_by(recorded[name], again.get(name))}" for name in wrong)
    return [Part("final figures", text or f"{', '.join(names)}: as on record", not wrong)]


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
    if wanted.tolerance:
        return Part(what, "not compared: sums that round otherwise end in other weights", None)
    if before.keys() != after.keys() or any(before[n].shape != after[n].shape for n in before):
        return Part(what, "names or shapes of the tensors are others", False)
    apart = {
        name: (after[name].double() - tensor.double()).abs().max().item()
        for name, tensor in before.items()
        if not tensor.equal(after[name])
    }
    if not apart:
        return Part(what, f"{len(before):,} tensors equal, bit for bit", True)
    most = max(apart, key=lambda name: apart[name])
    text = f"{len(apart):,} of {len(before):,} tensors differ, {most} by up to {apart[most]:.3g}"
    return Part(what, text, False)


EVALUATED = 1e-4
"""Relative tolerance of a test figure where device, processor and PyTorch are those of the record.
The draws are the same on any device, and other numbers of threads differ by less than 1e-5, because
they add up in another order."""


def compare_figures(
    found: Mapping[str, float], recorded: Mapping[str, float], *, last: bool, same: bool
) -> Part:
    """Compare the figures `test/…` of an evaluation with those that the study recorded of the run.

    Figures that rest on another number of importance samples, or on the classifier in the user's
    cache, do not count.

    Args:
        last: whether they are of the last epoch, which the record has as `test_last/…`.
        same: whether device, processor and PyTorch are those of the record; else the tolerance is
            `ROUNDING`.
    """
    prefix = "test_last/" if last else "test/"
    tolerance = EVALUATED if same else ROUNDING
    pairs = {
        name: (recorded[on_record], value)
        for name, value in found.items()
        if name not in OF_CLASSIFIER and (on_record := name.replace("test/", prefix, 1)) in recorded
    }
    if found.get("test/importance_samples") != recorded.get("test/importance_samples"):
        pairs = {
            name: pair for name, pair in pairs.items() if name.removesuffix("_se") not in OF_SAMPLES
        }
    if not pairs:
        return Part(
            "record", "not compared: the study has no test figures of this run on record", None
        )
    wrong = [
        f"{name} {_by(before, after)}"
        for name, (before, after) in pairs.items()
        # In nats a value near 0 is no more exact than a value of 1.
        if not Criterion(tolerance, "", 1.0 if name in IN_NATS else 0.0).near(before, after)
    ]
    if wrong:
        return Part("record", f"differs from the study's record: {'; '.join(wrong)}", False)
    return Part(
        "record",
        f"{len(pairs)} figures are those of the study's record, within {100 * tolerance:g} %",
        True,
    )


def _by(recorded: float | None, again: float | None) -> str:
    if recorded is None or again is None:
        return "is on record alone" if again is None else "is not on record"
    return f"{again:.10g} instead of {recorded:.10g}, by {abs(again - recorded):.3g}"
