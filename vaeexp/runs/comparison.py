"""Whether a trial that was trained a second time is the one on record: what may differ, and what does.

Numbers must agree bit for bit where the same operations run in the same order: same device, precision, fuse, compile, threads,
processor and PyTorch, on the CPU. Elsewhere the −ELBO of each epoch has a relative tolerance, and the best one half of it.
Measured were an MLP on 500 and 1,000 digits, over 10 to 40 epochs at learning rates of 1e-3 to 1e-2:

- `ROUNDING`, the same draws and another order of addition (threads, fuse, compile, processor, version): 2e-8. The margin is for
  long trainings, where differences grow. On accelerators it holds in any case: their kernels add up in an order of their
  own, and a fused trial had others beside it.
- `PRECISION`, the same draws in bf16 instead of float32 or the other way round: 1.5e-2.
- `DRAWS`, another kind of device, which draws another order of images and other noise: a standard deviation over draws of
  2.4e-2 in the worst epoch, 1.2e-2 in the last. The tolerance is three of those of a difference, √2 · 2.4e-2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sweeps.storage.trial_record import EpochRecord, TrialRecord
from sweeps.workload.protocol import Outcome
from vaeexp.training.checkpoint import WEIGHTS

ROUNDING, PRECISION, DRAWS = 1e-3, 2e-2, 1e-1
OF_TIME = ("seconds", "images_per_second", "memory_mb")
"""Measures of the machine."""
OF_CLASSIFIER = ("test/inception_score", "test/fid", "test/classifier_accuracy")
"""Figures that rest on the classifier in the user's cache, which is no part of a record."""


@dataclass(frozen=True)
class Criterion:
    """How near two trainings must be, and why."""

    tolerance: float
    """Of the −ELBO at each epoch, relative to it; 0 asks for equal bits of everything."""
    why: str
    scale: float = 0.0
    """Mean absolute −ELBO over the epochs on record: what a value near 0, which densities can have, is measured by."""

    @property
    def words(self) -> str:
        return f"−ELBO within {100 * self.tolerance:g} % at each epoch" if self.tolerance else "bit for bit"

    def near(self, recorded: float | None, found: float | None, share: float = 1.0) -> bool:
        """Whether a figure lies within this share of the tolerance."""
        if recorded is None or found is None:
            return recorded is found
        return abs(found - recorded) <= share * self.tolerance * max(abs(recorded), self.scale)


@dataclass(frozen=True)
class Difference:
    """Where a figure of an epoch is not the recorded one; None for one that is missing."""

    epoch: int
    figure: str
    recorded: float | None
    found: float | None

    @property
    def words(self) -> str:
        return f"epoch {self.epoch}, {self.figure} {_by(self.recorded, self.found)}"


@dataclass(frozen=True)
class Finding:
    """One thing that was compared. `agrees` is None where it could not be, or does not count under the criterion."""

    what: str
    words: str
    agrees: bool | None


def criterion(recorded: Mapping[str, Any], here: Mapping[str, Any], progress: Sequence[EpochRecord]) -> Criterion:
    """What can be asked of a training, from `vaeexp.runs.provenance.arithmetic` on record and here, and the epochs on record."""
    changed = [name for name in here if here[name] != recorded.get(name)]
    words = ", ".join(f"{name} {here[name]} instead of {recorded.get(name) or 'unknown'}" for name in changed)
    scale = fmean(abs(epoch.objective) for epoch in progress) if progress else 0.0
    if "device" in changed:
        return Criterion(DRAWS, f"{words}: other random draws", scale)
    if "precision" in changed:
        return Criterion(PRECISION, f"{words}: the same draws, rounded otherwise", scale)
    if changed:
        return Criterion(ROUNDING, f"{words}: the same draws, added up in another order", scale)
    if here["device"] != "cpu":
        return Criterion(ROUNDING, "an accelerator adds up in an order of its own", scale)
    return Criterion(0.0, f"{', '.join(here)} are those of the record", scale)


def differing(recorded: EpochRecord, found: EpochRecord, wanted: Criterion) -> Difference | None:
    """The first figure of an epoch that does not agree: of all but times, or the −ELBO where there is a tolerance."""
    if wanted.tolerance:
        near = wanted.near(recorded.objective, found.objective)
        return None if near else Difference(recorded.epoch, "−ELBO", recorded.objective, found.objective)
    before, after = _figures(recorded), _figures(found)
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            return Difference(recorded.epoch, name, before.get(name), after.get(name))
    return None


def compare(
    record: TrialRecord, again: TrialRecord, folders: tuple[Path | None, Path | None], wanted: Criterion
) -> list[Finding]:
    """Everything that can be compared; `folders` hold what the two left.

    The outcome of `again` is "pruned" where it would have gone on after the last epoch on record.
    """
    found = [_epochs(record, again, wanted), _end(ended(record), ended(again), wanted)]
    if "best_epoch" in record.results:
        found.append(_best(record, again, wanted))
    found += _final_figures(record.results, again.results, wanted)
    weights = _weights(*folders, wanted)
    return [*found, weights] if weights else found


def ended(run: TrialRecord) -> Outcome:
    """The outcome of a run that has ended."""
    assert run.outcome is not None
    return run.outcome


def _figures(progress: EpochRecord) -> dict[str, float]:
    """The −ELBO, then all that was measured but times; as in a record, without what is not finite."""
    measured = {name: value for name, value in progress.metrics.items() if name not in OF_TIME and math.isfinite(value)}
    return {"−ELBO": progress.objective, **dict(sorted(measured.items()))}


def _epochs(record: TrialRecord, again: TrialRecord, wanted: Criterion) -> Finding:
    pairs = list(zip(record.epochs, again.epochs, strict=False))
    count = f"{len(pairs):,} of {len(record.epochs):,}"
    first = next((found for pair in pairs if (found := differing(*pair, wanted))), None)
    if first is not None:
        return Finding("epochs", f"differ first at {first.words}", False)
    if len(pairs) < len(record.epochs):
        return Finding("epochs", f"{count} trained; they agree", None if wanted.tolerance else False)
    if not pairs:
        return Finding("epochs", "none on record", None)
    if not any(differing(*pair, Criterion(0.0, "")) for pair in pairs):
        return Finding("epochs", f"{count} equal, bit for bit, each in {len(_figures(pairs[0][0]))} figures", True)
    most, epoch = max((abs(after.objective - before.objective), before.epoch) for before, after in pairs)
    return Finding("epochs", f"{count} agree; −ELBO differs by at most {most:.3g} nats per image (epoch {epoch})", True)


def _end(recorded: Outcome, found: Outcome, wanted: Criterion) -> Finding:
    failure, again = recorded.failure, found.failure
    on_record = f"epoch {recorded.epoch}, {failure.kind} ({failure.message})" if failure else ""
    if failure and again:
        same = failure.kind == again.kind and (wanted.tolerance > 0 or recorded.epoch == found.epoch)
        words = f"{'fails again' if same else 'fails otherwise'} in epoch {found.epoch}: {again.kind} ({again.message})"
        return Finding("end", words if same else f"{words}; on record: {on_record}", same)
    if failure:
        machine = failure.kind in ("crashed", "out_of_memory")
        hint = "; it may have been the machine and not the trial" if machine else ""
        return Finding("end", f"does not fail again; on record: {on_record}{hint}", False)
    if again:
        return Finding("end", f"fails in epoch {found.epoch}: {again.kind} ({again.message})", False)
    # From its own side a trial was stopped, too, that somebody else told Optuna to have failed.
    stopped = recorded.state != "complete"
    if stopped == (found.state != "complete"):
        return Finding("end", f"{recorded.state} after {found.epoch} epochs, as on record", True)
    words = "is complete" if stopped else "would go on"
    words += f" after {found.epoch} epochs, where the record has it {recorded.state}"
    return Finding("end", words, None if wanted.tolerance else False)


def _best(record: TrialRecord, again: TrialRecord, wanted: Criterion) -> Finding:
    epoch, value = record.results["best_epoch"], ended(record).objective
    other, found = again.results.get("best_epoch"), ended(again).objective
    near = wanted.near(value, found, share=0.5)
    if epoch == other and value == found:
        return Finding("best epoch", f"{epoch:.0f}, equal", True)
    if not near:
        return Finding("best epoch", f"−ELBO {_by(value, found)}", False)
    words = f"{other:.0f} instead of {epoch:.0f}" if epoch != other else f"{epoch:.0f}, equal"
    return Finding("best epoch", words, True if epoch == other else None if wanted.tolerance else False)


def _final_figures(recorded: Mapping[str, float], found: Mapping[str, float], wanted: Criterion) -> list[Finding]:
    """Number of parameters and test figures; those of the classifier are told apart."""
    names = sorted(recorded.keys() - {"best_epoch", *OF_CLASSIFIER})
    if wanted.tolerance:
        bounds: list[str] = [name for name in ("test/neg_elbo", "test/iw_nll") if name in names] or ["test/distortion"]
        names = [name for name in names if name in (*bounds, "parameters")]
    findings = []
    if names:
        wrong = [name for name in names if not wanted.near(recorded[name], found.get(name))]
        words = "; ".join(f"{name} {_by(recorded[name], found.get(name))}" for name in wrong)
        findings.append(Finding("final figures", words or f"{', '.join(names)}: as on record", not wrong))
    rest = [] if wanted.tolerance else sorted(recorded.keys() & set(OF_CLASSIFIER))
    if rest:
        wrong = [name for name in rest if recorded[name] != found.get(name)]
        words = "; ".join(f"{name} {_by(recorded[name], found.get(name))}" for name in wrong)
        words += "; not counted, for the classifier in the cache may be another" if wrong else ""
        findings.append(Finding("by the classifier", words or f"{', '.join(rest)}: as on record", not wrong or None))
    return findings


def _weights(recorded: Path | None, again: Path | None, wanted: Criterion) -> Finding | None:
    """Of the best epoch, tensor by tensor; None where neither training has kept any."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    paths = [folder / WEIGHTS for folder in (recorded, again) if folder is not None and (folder / WEIGHTS).is_file()]
    if len(paths) < 2:
        now = again is not None and again / WEIGHTS in paths
        words = f"the run has left no {WEIGHTS}" if now else "none now"
        return Finding("weights", words, None if now else False) if paths else None
    if wanted.tolerance:
        return Finding("weights", "not compared: sums that round otherwise end in other weights", None)
    try:
        before, after = (load_file(path) for path in paths)
    except SafetensorError as error:
        return Finding("weights", f"the run's {WEIGHTS} cannot be read: {error}", False)
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (before, after)]
    if shapes[0] != shapes[1]:
        return Finding("weights", "names or shapes of the tensors are others", False)
    apart = {
        name: (after[name].double() - tensor.double()).abs().max().item()
        for name, tensor in before.items()
        if not tensor.equal(after[name])
    }
    if not apart:
        return Finding("weights", f"{len(before):,} tensors equal, bit for bit", True)
    most = max(apart, key=lambda name: apart[name])
    words = f"{len(apart):,} of {len(before):,} tensors differ, {most} by up to {apart[most]:.3g}"
    return Finding("weights", words, False)


def _by(recorded: float | None, found: float | None) -> str:
    """Two numbers, and how far they are apart."""
    if recorded is None or found is None:
        return "is on record alone" if found is None else "is not on record"
    return f"{found:.10g} instead of {recorded:.10g}, by {abs(found - recorded):.3g}"
