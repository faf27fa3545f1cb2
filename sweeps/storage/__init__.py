"""The storage of studies: an Optuna journal per study, in one of the places of
`sweeps.storage.journals`.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from sweeps.errors import UserError, did_you_mean, full_disk
from sweeps.names import check_name
from sweeps.program import program
from sweeps.schema import VERSION
from sweeps.state.record import StudyRecord
from sweeps.storage.journals import PATIENCE, driver_in_words, journals_at
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.study_record import (
    REPEATS,
    json_able,
    read_state,
    record_in,
    study_record,
    write_identity,
    write_study,
)

if TYPE_CHECKING:
    from sweeps.study.study import Study


def open_storage(
    url: str | None, runs: Path, study: str, *, must_exist: bool = False
) -> BaseStorage:
    """Open the storage of a study to read it: its journal file under `runs`, or its records in the
    place at `url`.

    With `must_exist` nothing is created and the study has to be there: for commands that only look.

    Raises:
        UserError: the folder cannot be written, the place cannot be reached, the study does not
            exist, or its name cannot be one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journals = journals_at(url, runs)
    if must_exist:
        names = journals.names()
        if study not in names:
            hint = f" {did_you_mean(study, names)}" if names else ""
            raise UserError(journals.address, f"no such study '{study}'; start it first.{hint}")
    check_name(study, "study")  # a database may hold names that are not ours
    return journals.open(study, create=not must_exist)


@contextmanager
def hold_study(
    url: str | None, runs: Path, study: str, *, take_over: bool = False, patience: float = PATIENCE
) -> Iterator[BaseStorage]:
    """Hold a study as its only driver and open its storage to write it; what is missing is created.

    Args:
        take_over: take a study in a database from a driver that gives no sign of life. A journal
            file needs none: a line says so.
        patience: seconds for which a dropped connection to the database is made again.

    Raises:
        UserError: another process holds the study, or as `open_storage`.
        Damaged: the records are not what was written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_name(study, "study")
    with journals_at(url, runs).hold(study, take_over=take_over, patience=patience) as storage:
        yield storage


def study_holder(url: str | None, runs: Path, study: str) -> dict[str, Any] | None:
    """Return the process that drives a study, as `Journals.holder` does; None when there is
    none.
    """
    return journals_at(url, runs).holder(study)


def study_names(runs: Path, url: str | None = None) -> list[str]:
    """Return the names of the studies with records under `runs`, or in the place at `url`,
    sorted.
    """
    return journals_at(url, runs).names()


# ---- studies ----


@contextmanager
def storage_errors_as_user_errors(url: str | None, runs: Path) -> Iterator[None]:
    """End a study with one line where its disk is full or its folder is gone.

    Raises:
        UserError: in place of the OSError of the disk or folder.
    """
    try:
        yield
    except UserError as error:
        if error.place:
            raise
        raise UserError(str(runs), error.problem) from error  # a write that failed names no file
    except OSError as error:
        if full := full_disk(error):
            raise UserError(full.place or str(runs), full.problem) from error
        if url is None and isinstance(error, FileNotFoundError) and not (runs / "journal").is_dir():
            problem = (
                "the folder is gone. Put it back and give the same command again; without it, "
                "that starts anew."
            )
            raise UserError(str(runs), problem) from error
        raise


def open_study(
    storage: BaseStorage,
    study: "Study",
    *,
    extend: bool = False,
    fields: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Create the Optuna study of a study file, or continue it.

    Args:
        fields: of the record, written before a new definition of the study.

    Raises:
        UserError: the storage holds the study with another definition, and `extend` is not given or
            cannot work; or another version has stored it.
    """
    optuna_study = create_or_load(
        storage, study.name, study.pruner.build_after(study.longest_warmup)
    )
    stored = record_in(storage, study.name)
    if not stored.identity:
        write_identity(optuna_study)
    check_definition(stored, study, extend=extend)
    if stored.spec != (new := json_able(study.spec())):
        before = stored.spec.get("search") or {}
        kept = tuple(
            growth
            for growth in stored.grown
            if before.get(growth.parameter) == new["search"].get(growth.parameter)
        )
        about = {
            "question": study.question,
            "text": study.text,
            "seed": study.seed,
            **(fields or {}),
        }
        if kept != stored.grown:
            about["grown"] = kept
        write_study(optuna_study, finished=False, **about, spec=new)
    return optuna_study


def keep_identity(storage: BaseStorage, study: str, identity: str | None) -> None:
    """Give a study that has lost its first records its identity back, by which MLflow's runs are
    known; a new one where it is lost.
    """
    optuna_study = create_or_load(storage, study)
    if not study_record(optuna_study).identity:
        write_identity(optuna_study, identity)


def recorded_study(url: str | None, runs: Path, study: str) -> StudyRecord | None:
    """Read what the storage that a sweep would use holds of a study; None where it holds nothing
    yet.

    Raises:
        UserError: the database cannot be reached.
    """
    if not journals_at(url, runs).has(study):
        return None
    storage = open_storage(url, runs, study)
    return read_state(storage, study).study if study in study_ids(storage) else None


_EXTENDABLE = (
    "search",
    "sampler",
    "pruner",
    "confirm",
    "compare",
    "baselines",
    "start",
    "learn_from",
    "longest_warmup",
)
"""Entries of `Study.spec` that `extend` may change: the trials so far and later ones are trials of
one study.
"""


def check_definition(stored: StudyRecord, study: "Study", *, extend: bool) -> None:
    """Raise UserError where a study is stored with another definition, and `extend` is not given or
    cannot work. `study`: as `keep_figures` returns it.
    """
    old = with_new_settings(stored.spec, study)
    new = json_able(study.spec())
    if not old or not (differences := spec_differences(old, new)):
        return
    shown = "".join(f"\n  {line}" for line in _with_defaults(differences, stored, study))
    broken = _incompatible(old.get("search", {}), new.get("search", {}))
    unlike = [
        path
        for path in differences
        if path.partition(".")[0] not in _EXTENDABLE and path.partition(".")[2] not in study.figures
    ]
    if unlike and not broken:
        broken = f"{unlike[0]} differs, and trials of one ranking share it"
    if extend and not broken:
        return
    problem = "exists with another definition (stored → file)"
    remedy = "Use `--name NEW` for a new study"
    if extend:
        problem = f"cannot be extended, for {broken}; its trials would no longer fit"
    elif not broken:
        remedy += ", or `--extend` to continue this one with the new file"
    raise UserError(f"study '{study.name}'", f"{problem}:{shown}\n{remedy}.")


def _with_defaults(
    differences: Mapping[str, tuple[Any, Any]], stored: StudyRecord, study: "Study"
) -> Iterator[str]:
    """Yield a line for each difference; one of a default says so, and how to keep its old value.

    It is of a default if neither the present study file nor the stored one, nor its command, names
    the setting.
    """
    command = stored.provenance.get("command", "")
    named = {*re.findall(r"[\w.]+", f"{stored.text} {command}")}
    before = stored.provenance.get("versions", {}).get(program().name, "an earlier version")
    for path, (old, new) in differences.items():
        line = f"{path}: {_json_text(old)} → {_json_text(new)}"
        section, _, name = path.partition(".")
        if section in study.fixed and name not in study.fixed[section].model_fields_set | named:
            keep = shlex.quote(f"{path}={json.dumps(old, ensure_ascii=False)}")
            line += (
                f", the default of {program().name} {before} → {VERSION}. Keep it with --set {keep}"
            )
        yield line


def keep_figures(
    stored: StudyRecord, study: "Study", *, extend: bool
) -> tuple["Study", tuple[str, ...]]:
    """Return the study with the settings of figures (`Study.figures`) that its record has, so that
    all its runs are measured alike, and a line for each that changes thereby. With `extend`, those
    that the study file names are taken from it.
    """
    lines = []
    fixed = dict(study.fixed)
    for section, settings in study.fixed.items():
        before = stored.spec.get(section) or {}
        now = settings.model_dump(mode="json")
        named = settings.model_fields_set if extend else set()
        kept = {
            name: before[name]
            for name in sorted(study.figures & before.keys() & now.keys() - named)
            if before[name] != now[name]
        }
        for name, value in kept.items():
            other = f"{_json_text(now[name])} of the file; --extend takes that for new runs"
            if name not in settings.model_fields_set:
                other = f"{_json_text(now[name])}, the default of {program().name} {VERSION}"
            lines.append(f"{section}.{name} stays {_json_text(value)}, as on record, not {other}.")
        if kept:
            written = settings.model_dump(exclude_unset=True)
            fixed[section] = type(settings).model_validate(written | kept)
    return replace(study, fixed=fixed), tuple(lines)


def with_new_settings(spec: Mapping[str, Any], study: "Study") -> dict[str, Any]:
    """Return a stored definition with the settings that the version of its workload did not have
    yet, at their defaults.
    """
    completed = dict(spec)
    searched = {*study.space.names, *(spec.get("search") or {})}
    for section, settings in study.fixed.items():
        if section in spec:
            model = type(settings)
            optional = {
                name for name, field in model.model_fields.items() if not field.is_required()
            }
            defaults = model.model_construct().model_dump(mode="json", include=optional - searched)
            completed[section] = defaults | spec[section]
    return completed


def spec_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two results of `Study.spec`, as `search.beta.high` → (10, 5);
    wording apart.
    """
    return dict(_differences(_without_wording(old), _without_wording(new), ""))


def _without_wording(spec: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in spec.items() if key not in ("name", "question")}
    baselines = {
        name: {key: value for key, value in row.items() if key not in ("title", "published")}
        for name, row in (spec.get("baselines") or {}).items()
    }
    return {**rest, "baselines": baselines} if baselines else rest


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield path, (old, new)
        return
    for key in [*old, *(key for key in new if key not in old)]:
        yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))


def _json_text(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False).replace('"', "")


def _incompatible(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Say why trials of the old search space cannot be trials of the new one, as Optuna checks
    it.
    """
    for name in sorted(old.keys() ^ new.keys()):
        return f"'{name}' is searched {'no longer' if name in old else 'only now'}"
    for name in old:
        if old[name]["kind"] != new[name]["kind"] or old[name].get("log") != new[name].get("log"):
            return f"'{name}' is of another kind now"
        if old[name].get("values") != new[name].get("values"):
            return f"'{name}' has other choices now"
    return None


def repeat_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Open the Optuna study that keeps the repeats of study `name`; created when missing."""
    return create_or_load(storage, name + REPEATS)


def create_or_load(
    storage: BaseStorage, name: str, pruner: optuna.pruners.BasePruner | None = None
) -> optuna.Study:
    """Create an Optuna study, or open it where it exists. Without a pruner no trial ends early."""
    return optuna.create_study(
        study_name=name,
        storage=storage,
        direction="minimize",
        load_if_exists=True,
        # Each trial is proposed by a sampler of its own, so the study's sampler only fills Optuna's
        # slot.
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner or optuna.pruners.NopPruner(),
    )


__all__ = [
    "check_definition",
    "driver_in_words",
    "hold_study",
    "keep_figures",
    "keep_identity",
    "open_storage",
    "open_study",
    "recorded_study",
    "repeat_study",
    "study_holder",
    "study_names",
]
