"""The form of a study file as one pydantic model, made from a workload's own settings."""

import copy
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Self, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from sweeps.search.pruners import AnyPruner, PromotionSettings
from sweeps.search.samplers import AnySampler, CurvesSettings
from sweeps.study.start import BestOf
from sweeps.study.yaml_file import Part, mapping, types_of

Sections = Mapping[str, type[BaseModel]]
FORMS = "must be a range {low: …, high: …} or a choice {values: […]}"


class Budget(Part):
    """Limits of the search, which ends at the first one reached. The budget is of the study, not of
    one command.
    """

    trials: int | None = Field(
        default=None, ge=1, description="Trials started, in whatever state they end."
    )
    seconds: float | None = Field(default=None, gt=0, description="Seconds spent searching.")
    epochs: int | None = Field(
        default=None, ge=1, description="Trial-epochs trained, over all trials."
    )
    stale_trials: int | None = Field(
        default=None,
        ge=1,
        description="Trials that end one after the other without a better value.",
    )

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError(NO_BUDGET)
        return self


NO_BUDGET = f"nothing limits the search; give at least one of {', '.join(Budget.model_fields)}."


class Confirm(Part):
    """The best configurations, trained again with fresh seeds and only then evaluated on test
    data.
    """

    top: int = Field(ge=1, description="Configurations, the best of the search.")
    seeds: int = Field(
        ge=1,
        description="Fresh seeds for each configuration; in a race all of them for the winner, "
        "at most so many for others.",
    )
    race: bool = Field(
        default=False,
        strict=True,
        description="Train seed by seed, from 3 seeds on only those configurations that can "
        "still win, and stop when the rest is too close to matter.",
    )

    late: int = Field(
        default=0,
        ge=0,
        description="Paused trials (pruner promotion) that are trained to their end after the "
        "search, those that fell most in their last epoch: a test whether the pruner stops slow "
        "learners.",
    )

    @model_validator(mode="after")
    def _raced(self) -> Self:
        if self.race and (self.top < 2 or self.seeds < LEAST_RACED_SEEDS):
            raise ValueError(
                f"got race: true with top: {self.top} and seeds: {self.seeds}; must have 2 "
                f"configurations or more and {LEAST_RACED_SEEDS} seeds or more, because none is "
                "dropped before 3. Try race: false."
            )
        return self


LEAST_RACED_SEEDS = 4


class Compare(Part):
    """Matched pairs: the same configuration and seed with each value of one parameter, for each of
    these parameters.
    """

    parameters: list[str] = Field(
        min_length=1, description="Searched choices whose values are compared, each on its own."
    )
    top: int = Field(
        ge=1,
        description="Configurations for each parameter: the best that the search found with each "
        "value, then the next best.",
    )
    seeds: int = Field(ge=1, description="Seeds for each configuration.")


class Keep(Part):
    """Files that trials leave on disk. They decide no result, so this section may change between
    two commands.
    """

    pruned: Literal["figures", "weights"] = Field(
        default="figures",
        description="Of a pruned trial: its figures alone, or its weights and pictures, too, as "
        "of a complete one.",
    )
    pictures: Literal["all", "last"] = Field(
        default="all",
        description="Pictures of a trial: of every epoch that is to be shown, or of the last of "
        "a complete trial alone.",
    )
    sheets: bool = Field(
        default=True,
        strict=True,
        description="Whether each trial of the search, paused, pruned and failed ones, too, "
        "keeps a sheet of pictures of its last epoch, at most 100 kB.",
    )
    weights: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=100,
        description="Complete trials of the search that keep their weights and the pictures of "
        "earlier epochs: so many, the best, or all. Repeats keep them in any case.",
    )
    paused: int = Field(
        default=200,
        ge=0,
        description="Paused trials (pruner promotion) that keep a checkpoint, the best. One "
        "without a checkpoint trains again from its start when it goes on, with the same result.",
    )
    paused_gb: float = Field(
        default=20.0, ge=0, description="Gigabytes that these checkpoints take at the most."
    )


class BaselineRow(Part):
    """A row of the report that is trained whatever the search finds, under the protocol that its
    settings make.
    """

    title: str | None = Field(
        default=None, min_length=1, description="Name of the row in the report; the key when empty."
    )
    at: Literal["fixed", "best"] = Field(
        default="fixed",
        description="What `settings` change: the settings that the file fixes, or the best "
        "configuration.",
    )
    seeds: int = Field(default=3, ge=1, description="Fresh seeds, shared with all other repeats.")
    published: str | None = Field(
        default=None,
        min_length=1,
        description="Published result, in words; the report shows it below the row.",
    )
    settings: Any = Field(default=None, description="Settings by name, from any section.")


class Baseline(BaselineRow):
    """A checked row with its name. It is JSON-able."""

    name: str
    title: str
    settings: dict[str, Any]
    """Name → value, in the order of the file."""


class StudyFile(Part):
    """A study: its question, what is fixed, what is searched, and how far."""

    extends: str | None = Field(
        default=None,
        description="Study, by name or path, that this file changes; null in this file removes "
        "an entry.",
    )
    question: str | None = Field(
        default=None, min_length=1, description="What the study is to find out."
    )
    objectives: list[str] | None = Field(
        default=None,
        description="Two metrics of validation, both minimised; when empty, the one objective of "
        "the workload.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Seed of the sampler and of all trials."
    )
    sampler: AnySampler = Field(
        default=CurvesSettings(),
        description="How configurations are chosen; when empty, curves, or tpe where curves "
        "cannot (two objectives, `learn_from`, a range that grows, `epochs` searched).",
    )
    pruner: AnyPruner = Field(
        default=PromotionSettings(),
        description="When a trial ends early; when empty, promotion, or none where `epochs` is "
        "searched.",
    )
    budget: Budget | None = Field(default=None, description="When the search ends.")
    confirm: Confirm | None = Field(
        default=None, description="What is trained again with fresh seeds."
    )
    compare: Compare | None = Field(default=None, description="What is compared in matched pairs.")
    keep: Keep = Field(
        default=Keep(), description="Files that trials leave on disk; they decide no result."
    )
    search: Any = None
    baselines: Any = None
    start: Any = None
    learn_from: str | None = Field(
        default=None,
        min_length=1,
        description="Study of the same storage and protocol whose trials also teach the sampler.",
    )
    subset: tuple[str, ...] = Field(
        default=(),
        description="Changes, each as after `--set`, that hold where the data turn out to be a "
        "small part of the set, as the bundled digits are of MNIST.",
    )


def default_search(
    written: Mapping[str, Any], overrides: Sequence[str], epochs: str | None
) -> dict[str, str]:
    """Return the sampler and the pruner of a study that names none. `epochs`: the setting that says
    how many a trial has.

    `curves` needs them, and searches neither for two objectives nor ranges that grow, nor does it
    learn from another study. Where `epochs` is searched, trials are of different length: curves
    have no common end, and no trial is ended by the word of another.
    """
    named = {key for key in written if written[key]}
    named |= {override.partition("=")[0].strip() for override in overrides}
    for name, parameter in mapping(written.get("search")).items():
        named |= {f"search.{name}.{key}" for key in mapping(parameter) if parameter[key]}
    if any(f"{name}.".startswith(f"search.{epochs}.") for name in named):
        return {"sampler": "tpe", "pruner": "none"}
    curves = epochs and not any(
        name in ("objectives", "learn_from") or name.endswith(".grow") for name in named
    )
    return {"sampler": "curves" if curves else "tpe", "pruner": "promotion" if epochs else "median"}


PARTS: dict[str, tuple[str, ...]] = {
    name: () for name in StudyFile.model_fields if name not in ("extends", "search")
} | {
    "budget": tuple(Budget.model_fields),
    "confirm": tuple(Confirm.model_fields),
    "compare": tuple(Compare.model_fields),
}
"""Top-level keys besides the sections, `search` and `extends` → fields that need no prefix."""


@cache
def study_model(sections: tuple[tuple[str, type[BaseModel]], ...]) -> type[StudyFile]:
    """Make the model of a workload's study files.

    Args:
        sections: section and settings model. Field names are unique over all sections; each field
            has a description.
    """
    fields: dict[str, FieldInfo] = {}
    for _, model in sections:
        fields |= model.model_fields
    parts: dict[str, Any] = {}
    for name, model in sections:
        strict = create_model(model.__name__, __base__=(model, Part), __doc__=model.__doc__)
        sentence = (model.__doc__ or model.__name__).strip().splitlines()[0]
        parts[name] = (_or_empty(strict), Field(default_factory=model, description=sentence))
    search = {
        name: (_parameter(name, field), _absent(field.description))
        for name, field in fields.items()
    }
    space = _model("Search", "Searched parameters: a range or a choice for each.", search)
    settings: Any = _or_empty(
        _model(
            "Settings",
            "Values of settings, from any section.",
            {n: _optional(f) for n, f in fields.items()},
        )
    )
    row: Any = create_model(
        "Baseline",
        __base__=BaselineRow,
        __doc__=BaselineRow.__doc__,
        settings=(settings, _absent("Settings by name, from any section.")),
    )
    rows: Any = dict[str, _or_empty(row)]  # type: ignore[misc]
    parts["search"] = (_or_empty(space), _absent("What is searched."))
    parts["baselines"] = (rows | None, _absent("Rows trained whatever the search finds."))
    entry: Any = Annotated[
        Annotated[settings, Tag("Settings")] | Annotated[BestOf, Tag("BestOf")],
        Discriminator(
            lambda entry: "BestOf" if isinstance(entry, dict) and "study" in entry else "Settings"
        ),
    ]
    parts["start"] = (
        list[entry] | None,
        _absent(
            "Values of parameters that the first trials take, or a study whose best "
            "configurations they take."
        ),
    )
    own = {
        "parameters": Compare.model_fields["parameters"],
        "race": Confirm.model_fields["race"],
        "late": Confirm.model_fields["late"],
        **Budget.model_fields,
    }
    for name, field in {**own, **fields}.items():
        if name not in parts and name not in StudyFile.model_fields:
            parts[name] = _optional(field)
    return create_model("Study", __base__=StudyFile, __doc__=StudyFile.__doc__, **parts)


def _model(name: str, doc: str, fields: dict[str, Any]) -> Any:
    return create_model(name, __base__=Part, __doc__=doc, **fields)


def _absent(description: str | None) -> Any:
    """Make a field that need not be given; its schema names no default."""
    return Field(
        default=None,
        description=description,
        json_schema_extra=lambda schema: schema.pop("default", None),
    )


def _optional(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """Return type and copy of a field as one that need not be given."""
    optional = copy.copy(field)
    if optional.is_required():
        optional.default = None
    return field.annotation, optional


def _or_empty(model: Any) -> Any:
    """Return the type of a mapping that may be left empty."""
    return Annotated[
        model,
        BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=model),
    ]


# ---- searched parameters ----


def number_type(field: FieldInfo) -> Any:
    """Return the type of a range's ends, with the bounds of the setting; None where the setting
    takes no number.
    """
    union = typing.get_origin(field.annotation) in (Union, types.UnionType)
    arms = typing.get_args(field.annotation) if union else (field.annotation,)
    for kind in (int, float):
        for arm in arms:
            plain, *rules = typing.get_args(arm) if typing.get_origin(arm) is Annotated else (arm,)
            if plain is kind:
                metadata = (*rules, *field.metadata)
                return Annotated[(kind, *metadata)] if metadata else kind
    return None


def _parameter(name: str, field: FieldInfo) -> Any:
    """Return the type of a searched parameter: a choice of values, or a range where the setting
    takes numbers.
    """
    number = number_type(field)
    condition = (
        "Searched only where each of these parameters has this value, or one of these values in a "
        "list."
    )
    when = (dict[str, Any] | None, _absent(condition))
    value: Any = (
        Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    )
    values = (list[value], Field(min_length=1, description="Values to choose from."))
    choice: Any = _model(f"{name}_choice", "A choice of values.", {"values": values, "when": when})

    def check(section: Any) -> Any:
        if not isinstance(section, dict):
            raise PydanticCustomError("form", FORMS)
        return section

    union = choice
    if number is not None:
        ends = {
            "low": (number, Field(description="Smallest value, included.")),
            "high": (number, Field(description="Largest value, included.")),
            "log": (
                bool,
                Field(default=False, strict=True, description="Draw evenly in the logarithm."),
            ),
            "step": (
                (int if int in types_of(number) else float) | None,
                _absent("Distance of neighbouring values."),
            ),
            "grow": (
                bool,
                Field(
                    default=False,
                    strict=True,
                    description="Let the search widen the range where its best trials pile up at "
                    "an end.",
                ),
            ),
            "when": when,
        }
        span: Any = _model(f"{name}_range", "A range of numbers.", ends)
        union = Annotated[
            Annotated[span, Tag(span.__name__)] | Annotated[choice, Tag(choice.__name__)],
            Discriminator(lambda section: (choice if "values" in section else span).__name__),
        ]
    return Annotated[union | None, BeforeValidator(check, json_schema_input_type=union | None)]
