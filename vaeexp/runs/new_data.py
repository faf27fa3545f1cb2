"""Encode, score and decode new rows for the commands, and write arrays in the unit of the files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sweeps import UserError, did_you_mean
from vaeexp.data.dataset import white_in
from vaeexp.data.formats import printable, some_of
from vaeexp.data.formats.levels import WHITE
from vaeexp.evaluation.detection import EVEN, Estimate, Low, shift, size_words
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE
from vaeexp.runs import codes as measures
from vaeexp.runs.calibration import Calibration
from vaeexp.runs.drawing import drawn_codes
from vaeexp.runs.row_files import (
    array_endings,
    read_codes,
    write_arrays,
    write_rows,
)
from vaeexp.runs.run import (
    Images,
    Run,
    calibration_of,
    code_seed,
    open_images,
    preparation_of,
    score_of,
)
from vaeexp.runs.scoring import Opened, Score, Seen, opened, score_rows, split_batches
from vaeexp.runs.tally import Tally
from vaeexp.training.device import resolve_device
from vaeexp.words import format_least, join_and, one_line, plural

Say = Callable[[str], None]


class Given(NamedTuple):
    """What is to be read: files, or a split of the run's data set. data: where that lies."""

    files: Sequence[Path]
    split: str | None
    data: Path | None


class Asked(NamedTuple):
    """What `score` is asked for: the score and its samples, whether to give p, and files, or the
    name of a class, of anomalies.
    """

    by: str | None
    importance_samples: int
    p: bool
    against: Sequence[Path]
    against_class: str | None


@contextmanager
def _opened(run: Run, given: Given, say: Say) -> Iterator[Opened]:
    """Open what is given."""
    if given.files and given.split:
        raise UserError("--split", "got files and a split; give one of them.")
    if not given.files and given.split is None:
        raise UserError("FILES", "got none; give files, or --split test for the run's own images.")
    if given.split is None:
        with opened(list(given.files), preparation_of(run)) as found:
            yield found
        return
    images = open_images(run, given.data, split=given.split, say=say)
    labels = [images.classes[label] if images.classes else "" for label in images.labels.tolist()]
    batches = split_batches(
        images.x, images.keys, labels, images.names, images.unseen, run.described
    )
    yield Opened(len(images.x), batches, lambda: set(labels))


def _model(run: Run, device: str) -> VAE:
    return run.vae.to(resolve_device(device))


def encode_to(
    run: Run,
    given: Given,
    to: Path,
    *,
    device: str,
    say: Say,
    progress: measures.Progress | None,
) -> list[str]:
    """Write codes of all rows; return lines on what was written."""
    tally = _tally(run, given)
    with _opened(run, given, say) as found:
        watched = tally.read(measures.told(found.batches, found.total, progress))
        rows = measures.encode(_model(run, device), watched, seed=code_seed(run))
        write_rows(to, tally.checked(rows, str(to)))
    size = run.settings.model.latent_size
    line = f"{to}  {plural(tally.rows, 'row')} of codes with {plural(size, 'dimension')}"
    return [line, *tally.lines()]


def _tally(run: Run, given: Given, known: Calibration | None = None) -> Tally:
    return Tally(preparation_of(run) if given.files else None, known)


# ---- scores ----


class Scored(NamedTuple):
    """What was found by scores.

    lines: in words. seen: what is kept of the rows. by: the score in words.
    """

    lines: list[str]
    seen: Seen
    by: str


def score_to(
    run: Run,
    given: Given,
    to: Path,
    asked: Asked,
    *,
    device: str,
    say: Say,
    progress: measures.Progress | None,
) -> Scored:
    """Write scores of all rows; return what was found. What is asked for is checked before anything
    is computed.
    """
    how = score_of(run, asked.by, asked.importance_samples)
    _model(run, device)
    with ExitStack() as stack:
        parts = [stack.enter_context(_opened(run, given, say))]
        if asked.against:
            others = opened([*asked.against], preparation_of(run))
            parts.append(stack.enter_context(others))
        _check_class(asked, parts)
        return _scored(run, given, to, asked, how, parts, device=device, say=say, progress=progress)


def _check_class(asked: Asked, parts: Sequence[Opened]) -> None:
    """Raise UserError where no row has the class of anomalies, or none has another."""
    wanted = asked.against_class
    if wanted is None:
        return
    labels = parts[0].labels().union(*(part.labels() for part in parts[1:]))
    known = sorted(label for label in labels if label)
    if wanted not in known:
        hint = "They have none."
        if known:
            hint = one_line(did_you_mean(wanted, [*map(printable, known)]))
        raise UserError("--against-class", f"got '{wanted}'; must be a label of the rows. {hint}")
    if labels == {wanted}:
        problem = f"got '{wanted}', the label of every row; must leave others to compare with"
        raise UserError("--against-class", problem)


def _scored(
    run: Run,
    given: Given,
    to: Path,
    asked: Asked,
    how: Score,
    parts: Sequence[Opened],
    *,
    device: str,
    say: Say,
    progress: measures.Progress | None,
) -> Scored:
    """Write the scores of parts: the rows, and anomalies where there are files of them."""
    lines = list[str]()
    known = None
    if asked.p:
        known = calibration_of(run, how, given.data, device=device, say=say)
        n = len(known.scores)
        lines.append(
            f"p = (1 + #{{scores of validation {run.noun}s ≥ s}}) / (n + 1): n = {n:,}, so the "
            f"smallest p is {known.least:.2g}"
        )
        lines.append(_shift_words(known.scores, known.test, run.noun))
    anomalies = bool(asked.against or asked.against_class)
    shown = known.judged_by if known else how.by
    seen = Seen(run.values, how.by, shown, measure_sizes=anomalies)
    tally = _tally(run, given, known)

    def rows() -> Iterator[measures.Measured]:
        score_batches = partial(score_rows, _model(run, device), seed=code_seed(run), known=known)
        for place, part in enumerate(parts):
            batches = measures.told(part.batches, part.total, progress)
            for batch, measured in score_batches(batches, how, tally, usual=place == 0):
                strange = np.full(len(batch.x), place == 1)
                if asked.against_class is not None:
                    strange |= np.array(batch.labels, object) == asked.against_class
                seen.take(batch, measured, strange)
                if anomalies:
                    measured["anomaly"] = strange
                yield measured

    write_rows(to, tally.checked(rows(), str(to)))
    lines.append(f"{to}  {plural(tally.rows, 'row')} scored by {_WORDS[how.by]}, in nats")
    lines += tally.lines()
    if known is not None and known.trend is not None:
        lines.append(
            f"Rank correlation of score and row sum: {known.trend.correlation:.2f} among "
            f"validation {run.noun}s; the columns residual and p_residual are without this trend"
        )
        if known.judged_by == "residual":
            lines[-1] += ", and a sheet goes by them"
    if known is not None and (lows := seen.lows(known.own)):
        lines.append(_low_words(lows, len(known.scores), run.noun))
    if anomalies:
        lines += _detection_words(run, seen, how)
    return Scored(lines, seen, _WORDS[shown].partition(",")[0])


def _low_words(lows: Sequence[tuple[str, Low]], n: int, noun: str) -> str:
    """Say that rows lie below the n validation images; p from above does not see these."""
    parts = list[str]()
    for column, low in lows:
        than = f"any of the {n:,}" if not low.spared else f"all but {low.spared:,} of the {n:,}"
        name = _WORDS.get(column, column).partition(",")[0]
        verb = "has" if low.rows == 1 else "have"
        parts.append(
            f"{plural(low.rows, 'row')} {verb} a lower {name} than {than} validation {noun}s "
            f"(chance of so many: {format_least(low.p)})"
        )
    columns = " and ".join(column for column, _ in lows)
    what = f"blank or simpler than the training {noun}s?"
    which = plural(len(lows), "column").partition(" ")[2]
    return f"{join_and(parts)}: {what} See the {which} {columns}"


_WORDS = {
    "neg_elbo": "−ELBO",
    "iw_nll": "importance-weighted NLL",
    "distortion": "distortion, because the posterior has no density",
    "residual": "score without the trend of the row sum",
}


_SHIFTS = {
    "higher": "test {rows} score higher (the interval lies above 0.5), so p is too small for new "
    "{rows}",
    "lower": "test {rows} score lower (the interval lies below 0.5), so p is too large for new "
    "{rows}",
    "spread": "scores are spread differently (p < 0.05), though neither higher nor lower (the "
    "interval holds 0.5), so p may be too small or too large for new {rows}",
    "": "no shift is seen (the interval holds 0.5, and p ≥ 0.05)",
}


def _shift_words(validation: np.ndarray, test: np.ndarray, noun: str) -> str:
    """Say how scores of test images differ from those of the validation images, on which epoch and
    trial were chosen. `noun`: what one of them is called.
    """
    found = shift(validation, test)
    said = _SHIFTS[found.kind].format(rows=f"{noun}s")
    return (
        f"Epoch and trial were chosen on the validation {noun}s. Test against validation: AUROC "
        f"{_interval(found.auroc)}, Kolmogorov–Smirnov p = {found.p:.2g}: {said}"
    )


def _interval(estimate: Estimate) -> str:
    if estimate.high - estimate.low >= 1:
        return f"{estimate.value:.3f} (no interval)"  # any value may be true
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _detection_words(run: Run, seen: Seen, how: Score) -> list[str]:
    found = seen.detected()
    if found is None:
        return ["Anomalies or others have no row with a score, so there is nothing to compare."]
    measured, size, gain = found
    said = _size_said(size, gain, run.noun)
    return [
        f"Anomalies are positive: {seen.counts()}; 95 % intervals of AUROC by DeLong, or Wilson "
        "where few decide, of AUPRC and FPR by bootstrap, none of fewer than 10",
        f"AUROC {_interval(measured.auroc)}, AUPRC {_interval(measured.auprc)}, FPR at 95 % TPR "
        f"{_interval(measured.fpr)}, by {_WORDS[how.by]}",
        f"AUROC {_interval(size)} by size alone ({size_words(run.values)}). {said}",
    ]


def _size_said(size: Estimate, gain: Estimate, noun: str) -> str:
    said = f"Likelihood prefers simple {noun}s (Nalisnick et al. 2019; Serrà et al. 2020)"
    more = f"AUROC of the score minus that of size: {_interval(gain)}"
    if size.high < EVEN:
        said += ", and these anomalies are simpler than the others, so the score may miss them"
    elif gain.low > 0:
        said += "; the score tells more here than size does"
    else:
        said += ", and the score is not seen to tell more here than size does"
    return f"{said}. {more}"


# ---- arrays ----


def decode_to(run: Run, codes: Path, to: Path, *, device: str) -> str:
    """Write what codes decode to; return a line on it."""
    array = read_codes(codes, run.settings.model.latent_size)
    made = measures.decode(_model(run, device), array, preparation_of(run))
    return _written(run, made, len(array), to)


def sample_to(run: Run, count: int, to: Path, *, component: int | None, seed: int) -> str:
    """Write the means of p(x|z) at draws from the prior, those that `draw_samples` shows; return a
    line on it.
    """
    z, _ = drawn_codes(run, count, component=component, seed=seed)
    made = measures.decode(run.vae, z.numpy(), preparation_of(run))
    return _written(run, made, count, to)


def reconstruct_to(run: Run, images: Images, to: Path) -> str:
    """Write the reconstructions of images, in the order of their split; return a line on it."""
    preparation = preparation_of(run)
    order = np.argsort(images.places)

    def pieces() -> Iterator[np.ndarray]:
        for x in images.x[torch.from_numpy(order)].split(image_rows(run.vae)):
            yield preparation.in_units(run.vae.reconstruct(x.to(run.vae.latent_mask)))

    names = np.array(images.names, object)[order]
    return _written(run, pieces(), len(order), to, names)


def array_files(run: Run) -> tuple[str, ...]:
    """Return the endings of files of arrays of the run."""
    return array_endings(preparation_of(run).table)


def _written(
    run: Run,
    pieces: Iterator[np.ndarray],
    count: int,
    to: Path,
    names: np.ndarray | None = None,
) -> str:
    preparation = preparation_of(run)
    titled = None if names is None else (preparation.named_by or "name", names)
    write_arrays(to, map(preparation.as_files, pieces), count, preparation.table, titled)
    plain = preparation.scaling.bytes and white_in(preparation.record) == WHITE
    unit = "bytes from 0 to 255" if plain else "in the unit of the run's files"
    line = f"{to}  {plural(count, 'row')}, {unit}"
    if (columns := preparation.columns) is not None:
        named = some_of(columns.dropped)
        line += f"; {plural(len(columns.dropped), 'column')} constant in training ({named})"
    return line
