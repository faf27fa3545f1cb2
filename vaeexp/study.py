"""Study files as vaeexp reads them: the settings that a study fixes, and the largest model that it can ask for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vaeexp.paths import shipped_studies
from vaeexp.settings import SECTIONS, Settings

if TYPE_CHECKING:
    from sweeps.studyfile import Study

__all__ = ["check_settings", "largest", "maxima_of", "open_study_file", "settings_of", "uses_average"]


def open_study_file(
    name: str,
    *,
    overrides: Sequence[str] = (),
    name_as: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> "Study":
    """Read and check a study file; `name_as` keeps it under another name.

    With the shape of the images (C, H, W), every network that it can ask for is built once.

    Raises:
        UserError: anything in it is wrong.
    """
    from sweeps.studyfile import load_study

    check = partial(check_settings, image_shape=image_shape)
    study = load_study(name, sections=SECTIONS, shipped=shipped_studies(), overrides=overrides, check=check)
    return replace(study, name=name_as) if name_as else study


def check_settings(sections: dict[str, dict[str, Any]], image_shape: tuple[int, int, int] | None = None) -> None:
    """Raise ValueError where a setting names a part that does not exist, or parts that the data do not fit."""
    from vaeexp.likelihoods import check_targets
    from vaeexp.vae import check_model

    check_model(SimpleNamespace(**sections["model"]), image_shape)
    check_targets(sections["model"]["likelihood"], sections["data"]["binarisation"])


def settings_of(study: "Study") -> Settings:
    """The settings that the study fixes; searched ones stand at their defaults."""
    return Settings(**study.fixed)


def largest(study: "Study", name: str) -> int:
    """The largest value of a whole-number setting that a trial of this study can have."""
    return int(study.space.maximum(name) or settings_of(study).flat()[name])


def maxima_of(study: "Study") -> dict[str, int]:
    """Largest latent size and component count that a trial of this study can have."""
    return {name: largest(study, name) for name in ("latent_size", "components")}


def uses_average(study: "Study") -> bool:
    """Whether any trial evaluates a running average of its weights."""
    return "ema_decay" in study.space.names or settings_of(study).train.ema_decay > 0
