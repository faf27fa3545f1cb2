"""A table of learning curves of which the truth is known, written as files of the real format."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from curve_table import Table, append, identified, live_file, load_table, to_line

from sweeps.study.space import Parameter, Space

EPOCHS = 9
SPACE = Space(
    (
        Parameter(name="optimizer", kind="choice", values=("adam", "adamax")),
        Parameter(name="learning_rate", kind="float", low=1e-4, high=1e-1, log=True),
        Parameter(
            name="components", kind="int", low=1, high=64, log=True, when={"optimizer": ("adam",)}
        ),
    )
)
DIVERGES = 5e-2
"""Learning rate from which curves end after 3 epochs."""


def truth(params: Mapping[str, Any]) -> float:
    """The nats of a configuration after its last epoch, without noise: 100 at best, at learning
    rate 0.002 with 8 components.
    """
    nats = 100 + 10 * math.log10(params["learning_rate"] / 2e-3) ** 2
    return nats + (3 * math.log10(params["components"] / 8) ** 2 if "components" in params else 2)


def draw(random: np.random.Generator) -> dict[str, Any]:
    """A configuration, each value rounded as those of tables are."""
    params: dict[str, Any] = {}
    for parameter in SPACE.parameters:
        if parameter.name in SPACE.active(params):
            value = parameter.at(random.random())
            params[parameter.name] = float(f"{value:.6g}") if isinstance(value, float) else value
    return params


def write_table(
    folder: Path, *, configurations: int = 300, seeds: int = 3, noise: float = 0.2
) -> Table:
    """Write a table and read it; every curve falls to its end, which is the truth and a normal
    error for the seed.
    """
    random = np.random.default_rng(0)
    shared = {"space": "A", "epochs": EPOCHS, "search": SPACE.as_dict(), "settings": {}, "seed": 0}
    origin = identified({**shared, "fingerprint": "f", "sizes": [1, 2, 3], "code": {}})
    lines = [to_line(origin)]
    for number in range(configurations):
        params = draw(random)
        length = 3 if params["learning_rate"] >= DIVERGES else EPOCHS
        for seed in range(seeds):
            end = truth(params) + noise * random.normal()
            values = [
                round(end + 30 * math.exp(-epoch / 2) - 30 * math.exp(-EPOCHS / 2), 4)
                for epoch in range(1, length + 1)
            ]
            content = {"configuration": number, "stage": "first", "params": params, "seed": seed}
            content |= {
                "neg_elbo": values,
                "rate": [20.0] * length,
                "seconds": [0.5 + 0.1 * (number % 3)] * length,
            }
            lines.append(
                to_line(
                    {**content, "diverged": length < EPOCHS, "date": "d", "origin": origin["id"]}
                )
            )
    append(live_file("A", folder), "".join(lines))
    return load_table("A", folder)
