"""Tables of learning curves: files with a line for each curve, and what a reader checks before
anybody trusts them.

    from curve_table import load_table
    table = load_table("A")
    table.neg_elbo[table.row(17), 0, :3]      configuration 17, first seed, epochs 1 to 3

**Files.** A table is all files `A-001.jsonl.xz`, `A-002.jsonl.xz` … of a folder (parts, which never
change) and `A.jsonl` (the file that `curves.py` appends to). Each line is a JSON object: an origin,
or a curve whose field `origin` names one.

| field of a curve | what |
| --- | --- |
| `configuration` | number of the configuration in its space, from 0 (`designs.py`) |
| `stage` | `first`, or `near` for those near the best of the first stage |
| `params` | values of the searched parameters that are active |
| `seed` | number of the seed, from 0; the trial's own seed follows from space, configuration and this number |
| `neg_elbo` | validation −ELBO at β = 1 in nats per image after each epoch, as the driver sees it: one fixed sample per image |
| `rate` | validation rate, KL(q(z\\|x) ‖ p(z)), in nats per image; −ELBO minus rate is the distortion |
| `seconds` | processor seconds of each epoch, with its validation, on one thread; compilation may be in the first |
| `diverged` | whether the next epoch was not finite, where the curve ends early; such a trial has failed in a sweep |
| `date` | end of the training, UTC |
| `origin` | identifier of the origin |

| field of an origin | what |
| --- | --- |
| `space`, `epochs`, `search`, `settings`, `seed` | the space's name, epochs, parameters, fixed settings and seed of the noise that all trials share |
| `fingerprint`, `sizes` | of the images (as each run records it), and how many train, validate and test |
| `code` | SHA-256 of the packages `sweeps` and `vaeexp` |
| `protocol`, `data`, `git`, `versions`, `hardware`, `command` | as each study records them (`vaeexp.runs.provenance.describe_run`) |
| `kind` | what decides the last bits: precision, compiler, threads, vector units |
| `began` | UTC |
| `id` | first 12 digits of the SHA-256 of the other fields as JSON |

All origins of a table agree in the first two rows. Code, versions and processors may differ,
because the last bits are far below the spread over seeds. Processor seconds compare within one
origin only.
"""  # noqa: E501

import hashlib
import json
import lzma
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.files import write_whole
from sweeps.study.space import Parameter, Space
from vaeexp.settings import SECTIONS

__all__ = [
    "TABLES",
    "Table",
    "all_settings",
    "append",
    "identified",
    "live_file",
    "load_table",
    "pack",
    "position",
    "read_lines",
    "to_line",
    "whole_lines",
    "write_lines",
    "write_part",
]

TABLES = Path(__file__).resolve().parent / "tables"
_SAME = ("space", "epochs", "search", "settings", "seed", "fingerprint", "sizes")
_COLUMNS = ("neg_elbo", "rate", "seconds")
_NEAREST = 20
"""Configurations of least mean, from which the spread over seeds is taken."""
position = Parameter.quantile
"""The quantile of a value, as `designs` and the surrogate say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Learning curves of a space: C configurations, S seeds, E epochs; NaN where a curve is missing
    or has ended.
    """

    name: str
    space: Space
    settings: Mapping[str, Any]
    """The fixed settings, by section."""
    numbers: tuple[int, ...]
    """Numbers of the configurations, ascending; the first axis of all arrays is in this order."""
    configurations: tuple[Mapping[str, Any], ...]
    stages: tuple[str, ...]
    neg_elbo: np.ndarray
    """float64 [C, S, E]; nats per image."""
    rate: np.ndarray
    """float64 [C, S, E]; nats per image."""
    seconds: np.ndarray
    """float64 [C, S, E]; of a processor."""
    trained: np.ndarray
    """bool [C, S]; whether the curve is there."""
    diverged: np.ndarray
    """bool [C, S]; whether it ended because a number was not finite."""
    origin: np.ndarray
    """str [C, S]; identifier of the curve's origin, "" where there is no curve."""
    origins: Mapping[str, Mapping[str, Any]]

    @property
    def epochs(self) -> int:
        return int(self.neg_elbo.shape[2])

    def row(self, number: int) -> int:
        """Return the place of a configuration on the first axis. Raises ValueError when the table
        lacks it.
        """
        return self.numbers.index(number)

    def objectives(self) -> np.ndarray:
        """Return the objective of each curve, float64 [C, S]: its least −ELBO; infinite if it
        diverged, NaN if it is missing.
        """
        least = np.min(self.neg_elbo, axis=2, initial=math.inf, where=np.isfinite(self.neg_elbo))
        return np.where(self.trained, np.where(self.diverged, math.inf, least), math.nan)

    def means(self) -> np.ndarray:
        """Return the mean objective of each configuration over the seeds that it has, float64
        [C].
        """
        objectives = np.where(self.trained, self.objectives(), 0.0)
        return objectives.sum(axis=1) / self.trained.sum(axis=1)

    def spread(self) -> float:
        """Return the standard deviation over seeds, in nats: pooled over the 20 configurations of
        least mean with two seeds or more.

        Raises ValueError when no configuration has two seeds.
        """
        several = np.flatnonzero((self.trained.sum(axis=1) > 1) & np.isfinite(self.means()))
        if not len(several):
            raise ValueError(f"table {self.name}: got no configuration with two finished seeds")
        best = several[np.argsort(self.means()[several], kind="stable")[:_NEAREST]]
        objectives = np.where(self.trained, self.objectives(), math.nan)[best]
        return math.sqrt(float(np.nanmean(np.nanvar(objectives, axis=1, ddof=1))))

    def near_best(self, deviations: float) -> np.ndarray:
        """Return the rows whose mean is at most so many standard deviations over seeds above the
        least, the best first.
        """
        means = self.means()
        near = np.flatnonzero(means <= means.min() + deviations * self.spread())
        return near[np.argsort(means[near], kind="stable")]

    def of_seeds(self, count: int) -> "Table":
        """Return the table of the first `count` seeds alone."""
        arrays = {
            name: getattr(self, name)[:, :count]
            for name in (*_COLUMNS, "trained", "diverged", "origin")
        }
        return replace(self, **arrays)

    def within(self, space: Space) -> "Table":
        """Return the table of the configurations that another space holds, such as the lists of the
        shipped study.
        """
        rows = [
            row for row, params in enumerate(self.configurations) if _fault(space, params) is None
        ]
        chosen = {
            name: getattr(self, name)[rows] for name in (*_COLUMNS, "trained", "diverged", "origin")
        }
        listed = {
            name: tuple(getattr(self, name)[row] for row in rows)
            for name in ("numbers", "configurations", "stages")
        }
        return replace(self, space=space, **listed, **chosen)

    def frame(self) -> pd.DataFrame:
        """Return a row for each epoch of each curve: configuration, stage, seed, epoch, the three
        columns, and the parameters.
        """
        rows, seeds, epochs = np.nonzero(np.isfinite(self.neg_elbo))
        columns = {name: getattr(self, name)[rows, seeds, epochs] for name in _COLUMNS}
        places = {
            "configuration": np.asarray(self.numbers)[rows],
            "stage": np.asarray(self.stages)[rows],
        }
        params = {
            name: [self.configurations[row].get(name) for row in rows] for name in self.space.names
        }
        return pd.DataFrame({**places, "seed": seeds, "epoch": epochs + 1, **columns, **params})


def load_table(name: str, folder: Path = TABLES) -> Table:
    """Read and check the table of a space. Raises ValueError for a table without curves and for all
    that the checks find.
    """
    origins, curves = read_lines(name, folder)
    if not curves:
        raise ValueError(f"table {name}: got no curves in {folder}")
    known = next(iter(origins.values()))
    space, epochs = Space.from_dict(known["search"]), known["epochs"]
    numbers = sorted({configuration for configuration, _ in curves})
    of_number = {
        number: [curve for (other, _), curve in curves.items() if other == number]
        for number in numbers
    }
    for curve in curves.values():
        _check_curve(curve, space, epochs)
    for number, same in of_number.items():
        if any(
            (curve["params"], curve["stage"]) != (same[0]["params"], same[0]["stage"])
            for curve in same
        ):
            raise ValueError(
                f"table {name}: configuration {number} has other parameters with another seed"
            )
    shape = (len(numbers), 1 + max(seed for _, seed in curves))
    arrays = {column: np.full((*shape, epochs), math.nan) for column in _COLUMNS}
    trained, diverged = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    origin = np.full(shape, "", dtype="<U12")
    for (number, seed), curve in curves.items():
        place = numbers.index(number), seed
        for column in _COLUMNS:
            arrays[column][place][: len(curve[column])] = curve[column]
        trained[place], diverged[place], origin[place] = True, curve["diverged"], curve["origin"]
    return Table(
        name=name,
        space=space,
        settings=known["settings"],
        numbers=tuple(numbers),
        configurations=tuple(of_number[number][0]["params"] for number in numbers),
        stages=tuple(of_number[number][0]["stage"] for number in numbers),
        trained=trained,
        diverged=diverged,
        origin=origin,
        origins=origins,
        **arrays,
    )


def read_lines(
    name: str, folder: Path
) -> tuple[dict[str, dict[str, Any]], dict[tuple[int, int], dict[str, Any]]]:
    """Return the origins by identifier and the curves by (configuration, seed), each as its line
    has it.

    Raises ValueError for a line that is no JSON, a curve without its origin, origins that do not
    belong together, and two different curves of one configuration and seed.
    """
    origins: dict[str, dict[str, Any]] = {}
    curves: dict[tuple[int, int], dict[str, Any]] = {}
    for path in [*sorted(folder.glob(f"{name}-*.jsonl.xz")), live_file(name, folder)]:
        for line in whole_lines(path):
            content = json.loads(line)
            if "configuration" not in content:
                _check_origin(content, origins, name, path)
                origins[content["id"]] = content
                continue
            if content["origin"] not in origins:
                raise ValueError(
                    f"{path.name}: got a curve of the unknown origin {content['origin']}"
                )
            place = content["configuration"], content["seed"]
            if curves.setdefault(place, content) != content:
                raise ValueError(
                    f"{path.name}: configuration {place[0]}, seed {place[1]} has two different "
                    "curves"
                )
    return origins, curves


def live_file(name: str, folder: Path) -> Path:
    """Return the file to which new curves of a space are appended."""
    return folder / f"{name}.jsonl"


def to_line(content: Mapping[str, Any]) -> str:
    """Return the line of an origin or a curve, with its end."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def append(path: Path, line: str) -> None:
    """Append a line and bring it to the disk. What a killed process left of a line at the end goes
    first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def identified(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return an origin with its `id`."""
    content = {key: value for key, value in origin.items() if key != "id"}
    return {
        "id": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12],
        **content,
    }


def pack(name: str, folder: Path, into: Path) -> Path | None:
    """Write the curves of `folder` that are not in `into` yet, with their origins, as its next
    part; return the part.

    None: there are no new curves. A process may append to the table meanwhile.
    """
    origins, curves = read_lines(name, folder)
    parts = sorted(into.glob(f"{name}-*.jsonl.xz"))
    packed = {
        json.dumps(json.loads(line), sort_keys=True) for part in parts for line in whole_lines(part)
    }
    new = [
        curve
        for _, curve in sorted(curves.items())
        if json.dumps(curve, sort_keys=True) not in packed
    ]
    if not new:
        return None
    used = {curve["origin"] for curve in new}
    lines = [*(origin for identifier, origin in origins.items() if identifier in used), *new]
    return write_part(into, f"{name}-", map(to_line, lines))


def write_part(into: Path, prefix: str, lines: Iterable[str]) -> Path:
    """Write lines as the next part of a folder, the parts of which begin with this prefix; return
    the part.
    """
    part = into / f"{prefix}{len([*into.glob(f'{prefix}[0-9]*.jsonl.xz')]) + 1:03d}.jsonl.xz"
    write_lines(part, lines)
    return part


def write_lines(part: Path, lines: Iterable[str]) -> None:
    """Write lines as a compressed file, in place of an earlier file of this name."""
    content = lzma.compress("".join(lines).encode(), preset=9)
    write_whole(part, lambda path: path.write_bytes(content), durable=True)


def whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a part, or of a file that is appended to, but for a last line that has no
    end yet.
    """
    if path.suffix == ".xz":
        yield from lzma.decompress(path.read_bytes()).decode().split("\n")[:-1]
    elif path.exists():
        yield from path.read_text(encoding="utf-8").split("\n")[:-1]


def _check_origin(
    origin: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], name: str, path: Path
) -> None:
    if identified(origin) != origin:
        raise ValueError(f"{path.name}: the origin {origin.get('id')} was changed")
    if origin["space"] != name:
        raise ValueError(f"{path.name}: got an origin of space {origin['space']}")
    for other in others.values():
        one, two = ({**each, "settings": all_settings(each)} for each in (origin, other))
        if unlike := [key for key in _SAME if one[key] != two[key]]:
            raise ValueError(
                f"{path.name}: origins {other['id']} and {origin['id']} differ in "
                f"{', '.join(unlike)}"
            )


def all_settings(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an origin by section; those that its version of vaeexp did not have
    stand at their defaults.
    """
    return {
        name: SECTIONS[name](**values).model_dump(mode="json")
        for name, values in origin["settings"].items()
    }


def _check_curve(curve: Mapping[str, Any], space: Space, epochs: int) -> None:
    where = f"configuration {curve['configuration']}, seed {curve['seed']}"
    if fault := _fault(space, curve["params"]):
        raise ValueError(f"{where}: {fault}")
    lengths = {len(curve[column]) for column in _COLUMNS}
    if len(lengths) > 1 or (lengths == {epochs}) == curve["diverged"] or max(lengths) > epochs:
        raise ValueError(
            f"{where}: got {sorted(lengths)} epochs of {epochs}, diverged: {curve['diverged']}"
        )
    values: Sequence[float] = [value for column in _COLUMNS for value in curve[column]]
    if not all(math.isfinite(value) for value in values) or min(curve["seconds"], default=1.0) < 0:
        raise ValueError(f"{where}: got a number that is not finite, or negative seconds")


def _fault(space: Space, params: Mapping[str, Any]) -> str | None:
    """Say why these are no parameters of a trial in the space; None if they are."""
    if (active := set(space.active(params))) != params.keys():
        return f"got the parameters {sorted(params)}; must be {sorted(active)}"
    wrong = [name for name in params if not space[name].allows(params[name])]
    return (
        f"{wrong[0]}: got {params[wrong[0]]!r}; must be {space[wrong[0]].domain()}"
        if wrong
        else None
    )
