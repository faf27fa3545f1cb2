"""Study files as vaeexp reads them: the settings that a study fixes, and what its trials can ask
for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from typing import Any

from pydantic import (
    BaseModel,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from sweeps import (
    Baseline,
    Parameter,
    Space,
    Study,
    UserError,
    as_lists,
    load_study,
    mentioned,
    parse_yaml,
    shown_path,
)
from vaeexp import models
from vaeexp.data.datasets import find_definition
from vaeexp.data.values import ImageShape, Values
from vaeexp.import_paths import BY_PATH, own_paths, paths_in
from vaeexp.machine import shipped_studies
from vaeexp.models.parts import DETERMINISTIC, SUPPORTS, check_parts, check_targets, measure_of
from vaeexp.schedules import SCHEDULES
from vaeexp.settings import (
    APART,
    FIGURES,
    OBJECTIVES,
    SECTIONS,
    DataSettings,
    EvaluationSettings,
    ModelSettings,
    Settings,
    TrainSettings,
)

WITHOUT_DEFAULT = ("likelihood",)
"""Choices whose default describes few data."""
_USED_BY = {
    "momentum": ("optimizer", ["sgd"]),
    "beta1": ("optimizer", ["adam", "adamax", "adamw", "radam", "nadam", "lion"]),
    "beta2": ("optimizer", ["adam", "adamax", "adamw", "radam", "nadam", "lion"]),
    "schedule_factor": ("schedule", ["exponential", "step"]),
    "schedule_epochs": ("schedule", ["step"]),
}
"""Setting → another, and with which of its values it is used."""


def open_study_file(
    name: str,
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Values] | Values | ImageShape | None = None,
    text: str | None = None,
    least_batch: int | None = None,
    subset: bool = False,
) -> Study:
    """Read and check a study file, with its changes for a small part of the data.

    Args:
        name: name or path of the study.
        overrides: changes as of `--set`, which come after those of `subset`.
        values: those of the images, or their shape (C, H, W), or those of each `DataSettings.key`;
            every network that the study can ask for is then built once, and tried.
        least_batch: the smallest batch that every network may meet.
        text: the study itself, where it lies in no file.
        subset: whether the data are a small part of the set, so that these changes hold.

    Raises:
        UserError: for all mistakes of the file, a line each; then for those of its changes.
    """
    read = partial(_read_study_file, name, text=text)
    study = read(overrides)
    if study.subset:
        changed = read([*study.subset, *overrides])
        before, after = ([*data_of(each).values()] for each in (study, changed))
        # A baseline that goes may have been the only one that needs its data.
        if after[0] != before[0] or not all(data in before for data in after):
            problem = "changes the data, of which the subset is; must change other settings."
            raise UserError(f"{study.path}: subset", problem)
        if subset:
            study, overrides = changed, [*study.subset, *overrides]
    if values is None:
        return study
    return read(overrides, values=values, least_batch=least_batch)


def _read_study_file(
    name: str,
    overrides: Sequence[str],
    *,
    text: str | None,
    values: Mapping[str, Values] | Values | ImageShape | None = None,
    least_batch: int | None = None,
) -> Study:
    sections = sections_for(name, overrides, text)
    study = load_study(
        name,
        sections=sections,
        shipped=shipped_studies(),
        overrides=overrides,
        check=partial(check_settings, values=values, least_batch=least_batch),
        epochs="epochs",
        warmup="warmup_epochs",
        # Numbers must share these settings to stand in one ranking.
        unsearchable={
            *DataSettings.model_fields.keys() - {"scale", "scale_per"},
            *EvaluationSettings.model_fields,
            "size_factor",
            "posterior",
        },
        shared={*DataSettings.model_fields, "validation_draws"} - {*APART},
        without_default=WITHOUT_DEFAULT,
        data="data",
        metrics=OBJECTIVES,
        figures=FIGURES,
        text=text,
    )
    _check_used(study)
    _check_objectives(study)
    _check_measure(study)
    check_warmups(study)
    _check_lengths(study)
    # Of a class that other processes know.
    given = study.fixed["model"]
    model = ModelSettings.model_construct(given.model_fields_set, **given.model_dump())
    return replace(study, fixed={**study.fixed, "model": model}, subset=_applying(study))


def _applying(study: Study) -> tuple[str, ...]:
    """Return the changes for a small part of the data without those of a part that the study does
    not have: one that extends another may have dropped it.
    """
    missing = tuple(f"{part}." for part in ("confirm", "compare") if getattr(study, part) is None)
    return tuple(change for change in study.subset if not change.strip().startswith(missing))


def sections_for(
    name: str, overrides: Sequence[str] = (), text: str | None = None
) -> dict[str, type[BaseModel]]:
    """Return the sections of a study: `SECTIONS` with the settings of each network of the user's
    own that the study mentions.

    Raises:
        UserError: the file cannot be read, or a network or its settings cannot.
    """
    texts = mentioned("network", name, shipped=shipped_studies(), overrides=overrides, text=text)
    networks = [network for network in texts if ":" in network]
    fields: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for network in networks:
        try:
            settings = models.networks.own_settings(network)
        except ValueError as error:
            raise UserError(f"{name}: network", str(error).removeprefix("network: ")) from error
        for setting, (annotation, default) in settings.items():
            owner = owners.setdefault(setting.partition(".")[0], network)
            if owner != network:
                problem = f"'{owner}' and '{network}' have settings and one name; rename a class."
                raise UserError(f"{name}: network", problem)
            try:
                TypeAdapter(annotation).validate_python(default)
            except (ValidationError, PydanticUserError) as error:
                problem = f"{setting} has the default {default!r}: {' '.join(str(error).split())}"
                raise UserError(f"'{network}'", problem) from error
            words = f"Setting `{setting.partition('.')[2]}` of the network `{network}`."
            fields[setting] = (annotation, Field(default=default, description=words))
    if not fields:
        return SECTIONS
    return {**SECTIONS, "model": create_model("ModelSettings", __base__=ModelSettings, **fields)}


def _check_objectives(study: Study) -> None:
    """Raise UserError where a study with two objectives trains models without a rate."""
    if study.objectives and settings_of(study).model.posterior == "deterministic":
        problem = (
            f"got [{', '.join(study.objectives)}] with posterior deterministic, which has no "
            "rate, so that −ELBO and distortion are one; must be left out there."
        )
        raise UserError(f"{shown_path(study.path)}: objectives", problem)


def _check_measure(study: Study) -> None:
    """Raise UserError where the searched likelihoods do not measure one thing, so that no ranking
    may hold their values.
    """
    names = searched_values(study, "likelihood")
    if len(names) < 2:  # spares PyTorch
        return
    found: dict[str, str] = {}
    for name in names:
        support = models.likelihoods.find_likelihood(name).support
        measure = measure_of(name, support, settings_of(study).data.binarisation)
        found.setdefault(measure, f"{name} ({SUPPORTS.get(support, 'no declared support')})")
    if len(found) > 1:
        field = "search.likelihood"
        problem = (
            f"got {' and '.join(found.values())}: −log p of one measures another thing than that "
            "of the other, so their trials cannot be ranked together. Search likelihoods of one "
            "kind of values; `baselines:` holds rows with others."
        )
        raise UserError(f"{_place(study, field)}: {field}", problem)


def _check_used(study: Study) -> None:
    """Raise UserError where a number of an optimizer or a schedule is fixed and no trial uses it,
    or is searched and some trial would not use it, as momentum without sgd.
    """
    train = vars(study.fixed["train"])
    for name, (owner, users) in _USED_BY.items():
        if name in study.space.names:
            field = f"search.{name}"
            remedy = f"Give it `when: {{{owner}: …}}`, or leave it out."
            owners = as_lists(study.space[name].when.get(owner, searched_values(study, owner)))
        else:
            field = f"train.{name}"
            remedy = "Leave it out."
            owners = _all_values(study, owner)
            if train[name] == TrainSettings.model_fields[name].default or {*owners} & {*users}:
                continue
        if unused := [value for value in dict.fromkeys(owners) if value not in users]:
            problem = f"has no use with {owner} {', '.join(unused)}; must go with"
            place = f"{_place(study, field)}: {field}"
            raise UserError(place, f"{problem} {', '.join(users)}. {remedy}")


def _check_lengths(study: Study) -> None:
    """Raise UserError where a pruner would compare trials at equal epochs whose learning rates
    differ there for their lengths alone.
    """
    falling = [name for name in searched_values(study, "schedule") if SCHEDULES[name].to_zero]
    if study.unlike_lengths and study.pruner.compares and falling:
        problem = (
            f"got {study.pruner.name}, which compares trials after as many epochs, and `epochs` "
            f"is searched with schedule {falling[0]}: a shorter trial has a lower learning rate "
            "there. Try `pruner: none`, `schedule: constant`, or fix `epochs`."
        )
        raise UserError(f"{_place(study, 'pruner')}: pruner.name", problem)


def check_warmups(study: Study, images: int | None = None) -> list[str]:
    """Return a line for each searched warm-up that some trials cannot end, so that they never train
    at the β or learning rate they ask for.

    Args:
        images: how many are trained on. Without it, the steps of an epoch are unknown, and
            `warmup_steps` is not looked at.

    Raises:
        UserError: no trial of the search, or no run of a baseline, can end its warm-up.
    """
    lines = []
    for row in (None, *study.baselines):
        epochs = setting_options(study, "epochs", row)
        lines += _check_warmup(study, row, "warmup_epochs", epochs)
        if images is not None:
            batches = [images // size for size in setting_options(study, "batch_size", row)]
            steps = [count * each for count, each in product(epochs, batches)]
            lines += _check_warmup(study, row, "warmup_steps", steps)
    return lines


def _check_warmup(
    study: Study, row: Baseline | None, name: str, lengths: Sequence[int]
) -> list[str]:
    """Compare a warm-up with the lengths that trainings of a baseline, or of the search (None), can
    have. Returns and raises as `check_warmups`.
    """
    warmups = setting_options(study, name, row)
    unit = name.removeprefix("warmup_")
    if math.ceil(max(warmups)) < min(lengths):
        return []
    part = "search" if name in study.space.names else "train"
    if row:
        part = f"baselines.{row.name}"
    field = f"{part}.{name}"
    ends = dict.fromkeys([min(warmups), max(warmups)])
    got = f"got {' to '.join(f'{end:,.10g}' for end in ends)}"
    remedy = f"Give a shorter `{name}`, or more `epochs`."
    if math.ceil(min(warmups)) >= max(lengths):
        place = _place(study, part if row else field)
        problem = f"{got}, and a training has {max(lengths):,} {unit}; must be less."
        raise UserError(f"{place}: {field}", f"{problem} {remedy}")
    effect = "has no value" if unit == "epochs" else "never trains at its `learning_rate`"
    return [
        f"{field} {got}, and a training may have no more than {min(lengths):,} {unit}. A trial "
        f"whose warm-up does not end {effect}. {remedy}"
    ]


def setting_options(study: Study, name: str, row: Baseline | None) -> list[Any]:
    """Return the values of a setting that a trial of the search, or a run of a baseline, can have;
    of a range its ends.
    """
    if row is not None and name in row.settings:
        return [row.settings[name]]
    if name not in study.space.names or (row is not None and row.at != "best"):
        return [settings_of(study).flat()[name]]
    parameter = study.space.widest()[name]
    unless = [settings_of(study).flat()[name]] if parameter.when else []
    return [*_values_of(parameter), *unless]


def _place(study: Study, path: str) -> str:
    """Return file and line of an entry; the file alone where it does not give the entry itself."""
    file = shown_path(study.path)
    places = parse_yaml(study.text, file)[1]
    keys = tuple(path.split("."))
    return str(places.get(keys) or places.get(keys[-1:]) or file)


def check_settings(
    sections: dict[str, dict[str, Any]],
    values: Mapping[str, Values] | Values | ImageShape | None = None,
    least_batch: int | None = None,
) -> None:
    """Raise ValueError where a setting names a part that does not exist, or parts that do not fit
    each other or the data.
    """
    data = DataSettings(**sections["data"])
    find_definition(data.dataset)
    check_scale(data)
    values = values.get(data.key) if isinstance(values, Mapping) else values
    model = ModelSettings.model_construct(**sections["model"])
    check_parts(model)
    check_targets(model.likelihood, sections["data"]["binarisation"])
    train = sections["train"]
    if values is not None or own_paths(sections["model"]):
        batch_size = min(train["batch_size"], least_batch or train["batch_size"])
        models.vae.check_model(model, values, batch_size)
    loss = train["loss"]
    if loss != TrainSettings.model_fields["loss"].default or own_paths(sections["model"]):
        from vaeexp.training.losses import check_loss  # late, because it brings PyTorch

        check_loss(loss, model, values)
    if paths := sections["evaluation"]["metrics"]:
        from vaeexp.evaluation.own_metrics import check_metrics  # late, for the same reason

        check_metrics(paths, model, values)
    posterior = model.posterior
    if posterior in DETERMINISTIC and train["beta"] != 0:
        raise ValueError(
            f"beta: {train['beta']:g} weighs a rate that a {posterior} posterior does not have; "
            "give `beta: 0`."
        )


def check_scale(data: DataSettings) -> None:
    """Raise ValueError where settings of the scale contradict each other."""
    if data.binarisation != "none" and (data.scale != "unit" or data.clip is not None):
        other = f"scale: {data.scale}" if data.scale != "unit" else "clip"
        raise ValueError(
            f"binarisation: '{data.binarisation}' makes zeros and ones of grey levels, which "
            f"`{other}` changes. Try `binarisation: none`."
        )
    if data.clip is not None and data.clip[0] >= data.clip[1]:
        low, high = data.clip
        raise ValueError(
            f"clip: got [{low:g}, {high:g}]; must be a lower and a higher percentile, as "
            "[0.1, 99.9]."
        )


@dataclass(frozen=True, kw_only=True)
class StudyParts:
    """The part of a study that says which settings its trials can have."""

    fixed: Mapping[str, Any]
    space: Space
    baselines: tuple[Baseline, ...]


AnyStudy = Study | StudyParts


def recorded_parts(spec: Mapping[str, Any]) -> StudyParts:
    """Read the parts of a study from its record (`Study.spec`); settings that the record lacks
    stand at their defaults.
    """
    return StudyParts(
        fixed={section: model(**(spec.get(section) or {})) for section, model in SECTIONS.items()},
        space=Space.from_dict(spec.get("search") or {}),
        baselines=tuple(
            Baseline(name=name, **row) for name, row in (spec.get("baselines") or {}).items()
        ),
    )


def settings_of(study: AnyStudy) -> Settings:
    """Return the settings that the study fixes; searched ones stand at their defaults, a searched
    likelihood at its first value.
    """
    settings = Settings.model_validate(dict(study.fixed))
    searched = [name for name in WITHOUT_DEFAULT if name in study.space.names]
    return settings.with_params({name: study.space[name].values[0] for name in searched})


def largest(study: AnyStudy, name: str) -> int:
    """Return the largest value of a whole-number setting that a trial or a baseline of this study
    can have.
    """
    searched = study.space.maximum(name) or settings_of(study).flat()[name]
    return max([int(searched), *(int(row.settings.get(name, 0)) for row in study.baselines)])


def smallest_batch(study: AnyStudy) -> int:
    """Return the smallest batch that trials of any network may have."""
    conditional = "batch_size" in study.space.names and study.space["batch_size"].when
    searched = [] if conditional else searched_values(study, "batch_size")
    return int(min([*searched, settings_of(study).train.batch_size]))


def distinct_values(study: AnyStudy, name: str) -> list[str]:
    """Return the different values of a name that trials and baselines of this study can have, those
    of the search first.
    """
    return list(dict.fromkeys(_all_values(study, name)))


def data_changes(study: AnyStudy) -> list[dict[str, Any]]:
    """Return the settings of the data in which the trials of a study may differ, a row for each
    data set that they may need.
    """
    rows = product(*(distinct_values(study, name) for name in APART))
    found = [dict(zip(APART, row, strict=True)) for row in rows]
    return [row for row in found if row["binarisation"] == "none" or row["scale"] == "unit"]


def data_of(study: AnyStudy) -> dict[str, DataSettings]:
    """Return the data sets that trials and baselines of a study need by `DataSettings.key`, that of
    the search first.
    """
    settings = settings_of(study)
    found: dict[str, DataSettings] = {}
    for changes in data_changes(study):
        wanted = settings.with_params(changes).data
        found.setdefault(wanted.key, wanted)
    return found


def own_paths_of(study: AnyStudy) -> list[str]:
    """Return the import paths of the user's own code that trials and baselines of this study can
    name.
    """
    values = chain.from_iterable(_all_values(study, field) for field in BY_PATH)
    paths = chain.from_iterable(map(paths_in, values))
    return list(dict.fromkeys(paths))


def largest_own(study: AnyStudy) -> dict[str, Any]:
    """Return the largest value of each searched number among the settings of the user's
    networks.
    """
    own = {name: study.space.maximum(name) for name in study.space.names if "." in name}
    return {name: value for name, value in own.items() if value is not None}


def train_options(study: AnyStudy) -> dict[str, list[Any]]:
    """Return each setting of the section `train` → values that trials or baselines can have; of a
    range its ends.
    """
    return {name: _all_values(study, name) for name in TrainSettings.model_fields}


def _all_values(study: AnyStudy, name: str) -> list[Any]:
    """Return the values that a trial of the search or a baseline can have; of a range its ends."""
    of_baselines = [row.settings[name] for row in study.baselines if name in row.settings]
    return [*searched_values(study, name), *of_baselines]


def searched_values(study: AnyStudy, name: str) -> list[Any]:
    """Return the values that a trial of the search can have; of a range its ends."""
    if name not in study.space.names:
        return [settings_of(study).flat()[name]]
    return _values_of(study.space[name])


def _values_of(parameter: Parameter) -> list[Any]:
    return (
        as_lists(parameter.values)
        if parameter.kind == "choice"
        else [parameter.low, parameter.high]
    )


def maxima_of(study: AnyStudy) -> dict[str, int]:
    """Return the largest latent size and component count that a trial of this study can have."""
    return {name: largest(study, name) for name in ("latent_size", "components")}


def uses_average(study: AnyStudy) -> bool:
    """Tell whether any trial evaluates a running average of its weights."""
    return any(decay > 0 for decay in _all_values(study, "ema_decay"))
