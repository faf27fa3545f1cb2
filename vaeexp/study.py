"""Study files as vaeexp reads them: the settings that a study fixes, and the largest model that it can ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweeps.study import Study, load_study
from sweeps.study.space import Space
from sweeps.study.study_model import Baseline
from vaeexp import models
from vaeexp.machine import shipped_studies
from vaeexp.settings import SECTIONS, DataSettings, EvaluationSettings, ModelSettings, Settings


def open_study_file(
    name: str,
    *,
    overrides: Sequence[str] = (),
    image_shape: tuple[int, int, int] | None = None,
) -> Study:
    """Read and check a study file.

    Args:
        name: name or path of the study.
        overrides: changes as of `--set`.
        image_shape: (C, H, W) of the images; every network that the study can ask for is then built once.

    Raises:
        UserError: for all mistakes of the file, a line each.
    """
    return load_study(
        name,
        sections=SECTIONS,
        shipped=shipped_studies(),
        overrides=overrides,
        check=partial(check_settings, image_shape=image_shape),
        epochs="epochs",
        # Numbers must share these settings to stand in one ranking.
        unsearchable={*DataSettings.model_fields, *EvaluationSettings.model_fields, "likelihood", "posterior"},
        shared={*DataSettings.model_fields} - {"binarisation"},
        data="data",
    )


def check_settings(sections: dict[str, dict[str, Any]], image_shape: tuple[int, int, int] | None = None) -> None:
    """Raise ValueError where a setting names a part that does not exist, or parts that do not fit each other or the data."""
    models.vae.check_model(ModelSettings.model_construct(**sections["model"]), image_shape)
    models.likelihoods.check_targets(sections["model"]["likelihood"], sections["data"]["binarisation"])
    posterior, beta = sections["model"]["posterior"], sections["train"]["beta"]
    if not models.posteriors.POSTERIORS[posterior].stochastic and beta != 0:
        raise ValueError(f"beta: {beta:g} weighs a rate that a {posterior} posterior does not have; give `beta: 0`.")


@dataclass(frozen=True, kw_only=True)
class StudyParts:
    """The part of a study that says which settings its trials can have."""

    fixed: Mapping[str, Any]
    space: Space
    baselines: tuple[Baseline, ...]


def recorded_parts(spec: Mapping[str, Any]) -> StudyParts:
    """Read the parts of a study from its record (`Study.spec`); settings that the record lacks stand at their defaults."""
    return StudyParts(
        fixed={section: model(**(spec.get(section) or {})) for section, model in SECTIONS.items()},
        space=Space.from_dict(spec.get("search") or {}),
        baselines=tuple(Baseline(name=name, **row) for name, row in (spec.get("baselines") or {}).items()),
    )


def settings_of(study: Study | StudyParts) -> Settings:
    """Return the settings that the study fixes; searched ones stand at their defaults."""
    return Settings.model_validate(dict(study.fixed))


def largest(study: Study | StudyParts, name: str) -> int:
    """Return the largest value of a whole-number setting that a trial or a baseline of this study can have."""
    searched = study.space.maximum(name) or settings_of(study).flat()[name]
    return max([int(searched), *(int(row.settings.get(name, 0)) for row in study.baselines)])


def maxima_of(study: Study | StudyParts) -> dict[str, int]:
    """Return the largest latent size and component count that a trial of this study can have."""
    return {name: largest(study, name) for name in ("latent_size", "components")}


def uses_average(study: Study | StudyParts) -> bool:
    """Tell whether any trial evaluates a running average of its weights."""
    averaged = any(row.settings.get("ema_decay", 0) > 0 for row in study.baselines)
    return averaged or "ema_decay" in study.space.names or settings_of(study).train.ema_decay > 0


def binarisations(study: Study | StudyParts) -> list[str]:
    """Return the binarisations that trials and baselines of this study need, that of the search first."""
    fixed = settings_of(study).data.binarisation
    return list(dict.fromkeys([fixed, *(row.settings.get("binarisation", fixed) for row in study.baselines)]))
