"""What is checked before a study is continued: that its data and code are those it began with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweeps import State, StudyRecord, UserError, named_sources, sources
from vaeexp.data.dataset import changes_words
from vaeexp.launch.job import Job
from vaeexp.models.parts import recorded_measure
from vaeexp.own_code import check_loaded, code_changes, code_progress, own_code
from vaeexp.runs.preparation import other_columns, table_in
from vaeexp.runs.provenance import installed_versions
from vaeexp.study import own_paths_of, settings_of

if TYPE_CHECKING:
    from sweeps import Study


def job_of_study(job: Job, study: "Study", before: StudyRecord, read: Callable[[], State]) -> Job:
    """Return the job with the settings of figures that its study began with, and with the code that
    it trains with.

    Args:
        study: the study to train.
        before: the record, as an earlier process left it.
        read: reads the study where it goes on under changed code.

    Raises:
        UserError: the study began on other data or with other code.
    """
    job = replace(job, study=study, settings=settings_of(study))
    _check_same_data(job, before.provenance)
    return _with_own_code(job, before, read)


def check_protocol(study: str, now: Mapping[str, str], before: StudyRecord) -> None:
    """Raise UserError where the values of a study could not be compared with those on record.

    Args:
        now: the facts that two values must share, by name.
    """
    then = {**before.protocol, "measure": recorded_measure(before.protocol)}
    now = {**now, "measure": recorded_measure(now) or ""}
    changed = []
    for fact in ("objective", "split", "binarisation", "measure", "posterior", "estimator"):
        # The test figures are no part of a ranking, and what stands in brackets explains.
        values = [re.split(r" \(|; test", facts.get(fact) or "")[0] for facts in (then, now)]
        if all(values) and values[0] != values[1]:
            changed.append(f"{fact}: {values[0]} → {values[1]}")
    if changed:
        problem = f"{'; '.join(changed)}. Values of the two cannot be compared: give --name NEW."
        raise UserError(f"study '{study}'", problem)


def _check_same_data(job: Job, record: Mapping[str, Any]) -> None:
    """Raise UserError if the study began on other images, because values on different images share
    no ranking.
    """
    before = record.get("data")
    if before is None:
        return
    columns = table_in(job.dataset.preparation)
    if (known := tuple(record.get("columns") or columns)) != columns:
        raise UserError(
            f"study '{job.study.name}'",
            f"was made on other columns: {job.dataset.title} has {other_columns(known, columns)}. "
            "Give the first names and their order again, or try --name NEW for a new study.",
        )
    if before["fingerprint"] != job.dataset.fingerprint:
        raise UserError(
            f"study '{job.study.name}'",
            f"was made on {before['title']} ({before['source']}), and this run would use "
            f"{job.dataset.title} ({job.dataset.source}).{changes_words(job.dataset, before)} Try "
            "--name NEW for a new study, or give the first data again with --data.",
        )
    if job.left_out > before.get("constant", 0):
        raise UserError(
            f"study '{job.study.name}'",
            f"has densities of all sub-pixels, and this version of vaeexp leaves out "
            f"{job.left_out:,} that never change in training: its figures would not compare. Try "
            "--name NEW for a new study.",
        )


def _with_own_code(job: Job, study: StudyRecord, read: Callable[[], State]) -> Job:
    """Return the job with the user's own code that the study names, and with what has changed since
    the study began: that code, vaeexp or PyTorch.

    Raises:
        UserError: the user's code has changed, and the options do not say --extend; or it has
            changed since this process imported it.
    """
    paths = own_paths_of(job.study)
    check_loaded(paths)
    now = own_code(paths)
    before = study.provenance.get("own_code")
    changes = list(study.provenance.get("code_changes", ()))
    differences = [] if before is None else code_changes(before, now)
    if differences and not job.options.extend:
        shown = "".join(f"\n  {line}" for line in differences)
        raise UserError(
            f"study '{job.study.name}'",
            f"began with other code:{shown}\nPut the code back as it was, or give --name NEW "
            "for a new study. --extend goes on and marks the runs of the new code; with "
            "--retry-failed, too, it trains failed runs once more.",
        )
    if job.options.extend:  # without it, workers of other versions are refused
        differences += installed_changes(study)
    if differences:
        changes.append({"changes": differences, **code_progress(read())})
    code = {"own_code": now, "code_changes": changes}
    return replace(job, code={name: content for name, content in code.items() if content})


def installed_changes(study: StudyRecord) -> list[str]:
    """Name the installed code, vaeexp and PyTorch, that is not that of the study's workers."""
    here = named_sources(sources(("sweeps", "vaeexp"))) | {
        "torch": installed_versions().get("torch")
    }
    return [
        f"{name} {study.worker_kind[name]} → {value}"
        for name, value in here.items()
        if study.worker_kind.get(name, value) != value
    ]
