"""The spaces whose learning curves are tabulated, and the configurations of each: known ones, Sobol
points, points near the best.

A, B, C and D are the studies in `spaces/`. A and B are the spaces of `studies/beta_mnist.yaml` and
`studies/mog_mnist.yaml` on 10,000 images; C is a small convolutional VAE on colour images of 16 ×
16 pixels, because the likelihood of larger ones takes four times as long; D is A with little
training: 4,000 images and 10 epochs. Configurations have numbers from 0, the same on every machine:

- `FIRST` configurations of the first stage: the `start` list of the study; in B each configuration
  of the shipped lists; then points of a scrambled Sobol sequence (Owen 1998), each number of the
  sequence being a quantile of its parameter's distribution.
- `NEAR` configurations near the `CENTRES` best of the first stage, in turn: a numeric parameter
  moves by a normal step of `STEP` of its range, a choice is drawn anew with probability `REDRAWN`.

Real numbers have six digits, so that a table holds them as they were trained.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from curve_table import position
from scipy.special import ndtri
from scipy.stats import qmc

from sweeps.study.space import Space
from sweeps.study.study import Study
from vaeexp.study import open_study_file

__all__ = [
    "FIRST",
    "LARGE",
    "NEAR",
    "SPACES",
    "first_configurations",
    "key_of",
    "near_configurations",
    "open_space",
]

SPACES = ("A", "B", "C", "D")
LARGE = "L"
"""A on 50,000 images: the first configurations of A alone, because an epoch takes five times as
long.
"""
FIRST, NEAR = 150, 50
CENTRES, STEP, REDRAWN = 10, 0.08, 0.25
_FOLDER = Path(__file__).resolve().parent / "spaces"
_LISTED = {"B": "mog_mnist"}
"""Space → shipped study whose configurations, all of which are in the space, come first."""
_SEED, _SEED_NEAR = 29, 30
_POWER = 12  # 4,096 points of the sequence, of which the first that are new are taken


def open_space(name: str) -> Study:
    """Read the study of a space. Raises UserError."""
    return open_study_file(str(_FOLDER / f"{name}.yaml"))


def first_configurations(study: Study, count: int = FIRST) -> list[dict[str, Any]]:
    """Return the first `count` configurations of a space, in the order of their numbers."""
    known = [dict(params) for params in study.start]
    if study.name in _LISTED:
        listed = open_study_file(_LISTED[study.name]).space.configurations()
        # In an order without a pattern, so that the first rounds hold some of each kind.
        known += sorted(
            listed, key=lambda params: hashlib.sha256(key_of(params).encode()).hexdigest()
        )
    points = _sobol(len(study.space.parameters), _SEED)
    return _distinct(
        chain(known, (_configuration(study.space, point) for point in points)), [], count
    )


def near_configurations(
    space: Space,
    first: Sequence[Mapping[str, Any]],
    centres: Sequence[Mapping[str, Any]],
    count: int = NEAR,
) -> list[dict[str, Any]]:
    """Return `count` configurations near the centres, none of which is among `first`."""
    points = _sobol(len(space.parameters), _SEED_NEAR)
    moved = (
        _moved(space, centres[index % len(centres)], point) for index, point in enumerate(points)
    )
    return _distinct(moved, first, count)


def _sobol(dimensions: int, seed: int) -> np.ndarray:
    """Return the points of a scrambled Sobol sequence, float64 [4096, dimensions] in [0, 1)."""
    return qmc.Sobol(dimensions, scramble=True, seed=seed).random_base2(_POWER)


def _configuration(space: Space, point: Sequence[float]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for parameter, quantile in zip(space.parameters, point, strict=True):
        if parameter.name in space.active(params):
            params[parameter.name] = _rounded(parameter.at(float(quantile)))
    return params


def _moved(space: Space, centre: Mapping[str, Any], point: Sequence[float]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for parameter, draw in zip(space.parameters, map(float, point), strict=True):
        if parameter.name not in space.active(params):
            continue
        if parameter.name not in centre:
            quantile = draw
        elif parameter.kind == "choice":
            quantile = (
                draw / REDRAWN if draw < REDRAWN else position(parameter, centre[parameter.name])
            )
        else:
            quantile = _reflected(
                position(parameter, centre[parameter.name]) + STEP * float(ndtri(max(draw, 1e-9)))
            )
        params[parameter.name] = _rounded(parameter.at(quantile))
    return params


def _reflected(quantile: float) -> float:
    """Return a number mirrored at 0 and 1 until it lies in [0, 1)."""
    folded = abs(quantile) % 2
    return min(folded if folded < 1 else 2 - folded, 1 - 1e-12)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def key_of(params: Mapping[str, Any]) -> str:
    """Return a string that equal configurations share; a list, such as channels, may be a value."""
    return json.dumps(params, sort_keys=True)


def _distinct(
    candidates: Iterable[dict[str, Any]], others: Sequence[Mapping[str, Any]], count: int
) -> list[dict[str, Any]]:
    """Return the first `count` candidates that differ from each other and from `others`, fewer
    where there are no more.
    """

    def found() -> Iterator[dict[str, Any]]:
        seen = {key_of(params) for params in others}
        for params in candidates:
            if (key := key_of(params)) not in seen:
                seen.add(key)
                yield params

    return list(islice(found(), count))
