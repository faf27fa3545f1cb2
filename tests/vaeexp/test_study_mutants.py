"""Two thousand damaged copies of the shipped studies: each loads, or is refused in plain words with
a place.
"""

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.errors import UserError
from sweeps.study.yaml_file import parse_yaml
from vaeexp.study import open_study_file

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
MUTANTS, BATCHES = 2000, 8

HOSTILE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        0.5,
        -5.5,
        10**12,
        10**30,
        1e308,
        1e-300,
        "",
        " ",
        "no",
        "x",
        "é✓",
        "a.b",
        ":",
    ),
    *(
        [],
        [0],
        [-5],
        [10**12],
        [[]],
        [[1, 2], [3]],
        [None],
        ["a", {}],
        {},
        {"a": 1},
        {"name": [1]},
        {"name": {"a": 1}},
    ),
    *(
        {"low": 1},
        {"low": 0, "high": 10**9, "step": 1},
        {"low": 1, "high": 2, "log": True, "step": 1},
    ),
    *(
        {"values": []},
        {"values": [1, 1.0]},
        {"values": [[64], "x"]},
        {"values": [0.1], "when": {"prior": "x"}},
    ),
    *(
        "grid",
        "qmc",
        "hyperband",
        "patient",
        {"name": "patient", "inner": {"name": "patient", "inner": []}},
    ),
    *(
        "beta_mnist",
        "os:system",
        "builtins:exec",
        "conv",
        "deterministic",
        "mixture",
        "gaussian",
        "folder",
    ),
)
"""Values that any entry may get."""
TEXTS = (
    *(
        "!!python/object/apply:os.system [touch CODE_RAN]",
        "!!timestamp 2001-01-01",
        "2001-01-01",
        "!!binary aGk=",
        "!!set {a}",
    ),
    *(
        "!!python/name:os.system",
        "9" * 5000,
        "1e999",
        ".nan",
        ".inf",
        "0x1F",
        "1_000",
        "010",
        "*a",
        "&a [*a]",
        "&a {b: *a}",
    ),
    *(
        "[" * 60 + "]" * 60,
        "{" * 60,
        "'",
        '"',
        "? a\n: b",
        "--- a",
        "\t",
        "\x00",
        "\ud7ff",
        "%YAML 1.1",
        "| \n x",
        "<<: {a: 1}",
    ),
)
"""Text that takes the place of any piece of the file."""


def entries(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all entries."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    return [
        inner for key, value in items for inner in [(*path, key), *entries(value, (*path, key))]
    ]


def holder(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def change_entry(content: Any, rng: random.Random) -> None:
    path = rng.choice(entries(content))
    holder(content, path)[path[-1]] = copy.deepcopy(rng.choice(HOSTILE))


def drop_entry(content: Any, rng: random.Random) -> None:
    path = rng.choice(entries(content))
    holder(content, path).pop(path[-1])


def rename_entry(content: Any, rng: random.Random) -> None:
    path = rng.choice([path for path in entries(content) if isinstance(path[-1], str)])
    inside = holder(content, path)
    inside[
        rng.choice(
            [
                "x",
                path[-1] + "s",
                "extends",
                "when",
                "name",
                *map(str, rng.choice(entries(content))),
            ]
        )
    ] = inside.pop(path[-1])


def move_entry(content: Any, rng: random.Random) -> None:
    one, other = rng.choice(entries(content)), rng.choice(entries(content))
    holder(content, one)[one[-1]] = copy.deepcopy(holder(content, other)[other[-1]])


TREE: tuple[Callable[[Any, random.Random], None], ...] = (
    change_entry,
    change_entry,
    drop_entry,
    rename_entry,
    move_entry,
)


def damaged_text(text: str, rng: random.Random) -> str:
    pieces = re.findall(r"\w+|\W", text)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(pieces))
        kind = rng.randrange(4)
        if kind == 0:
            pieces[place] = rng.choice(TEXTS)
        elif kind == 1:
            del pieces[place]
        elif kind == 2:
            pieces.insert(place, rng.choice(pieces))
        else:
            pieces[place] = chr(
                rng.choice([0, 9, 10, 32, 35, 39, 44, 58, 91, 123, 125, 233, 0x2028, 0x1F600])
            )
    return "".join(pieces)


def mutant(number: int) -> str:
    rng = random.Random(number)
    text = rng.choice(STUDIES).read_text(encoding="utf-8")
    if rng.random() < 0.4:
        return damaged_text(text, rng)
    content = parse_yaml(text, "x")[0]
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice(TREE)(content, rng)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


KEYS = (
    *(
        "beta",
        "hidden",
        "prior",
        "epochs",
        "trials",
        "seed",
        "seeds",
        "question",
        "search",
        "sampler",
        "pruner",
        "start",
        "extends",
    ),
    *(
        "search.beta",
        "search.beta.low",
        "search.hidden.values",
        "search.prior.when.x",
        "sampler.name",
        "sampler.name.x",
    ),
    *(
        "pruner.inner.name",
        "budget.trials",
        "baselines",
        "baselines.a.settings.beta",
        "compare.parameter",
        "x.y",
        "...",
        "",
    ),
)


def overrides(number: int) -> list[str]:
    """What `--set` gives beside a mutant: for most of them nothing."""
    rng = random.Random(f"overrides {number}")
    values = [
        rng.choice([json.dumps(rng.choice(HOSTILE)), rng.choice(TEXTS), "3"])
        for _ in range(rng.choice([0, 0, 0, 1, 2]))
    ]
    return [f"{rng.choice(KEYS)}={value}" for value in values]


@pytest.mark.parametrize(
    "batch", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, BATCHES))]
)
def test_a_damaged_study_loads_or_is_refused_in_plain_words(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = 0
    for number in range(batch, MUTANTS, BATCHES):
        Path("x.yaml").write_text(mutant(number), encoding="utf-8", errors="surrogatepass")
        refusal = ""
        try:
            study = open_study_file("x.yaml", overrides=overrides(number))
        except UserError as error:
            refusal = str(error)
        except Exception as error:
            raise AssertionError(f"mutant {number} is not refused in plain words") from error
        else:
            loaded += 1
            json.dumps(study.spec(), allow_nan=False)
        for line in refusal.splitlines():
            assert re.match(r"x\.yaml|--set |/|and \d+ more", line), f"{number}: {refusal}"
            assert len(line) < 1500, f"{number}: {refusal}"
    assert loaded > 10
    assert {path.name for path in tmp_path.iterdir()} == {"x.yaml"}, "code ran"
