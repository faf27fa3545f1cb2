"""What differs between two runs of the same code, by name. Nothing else is left out of a
recording.
"""

import re
from typing import Any

TIMES = {
    *(
        "at",
        "started",
        "ended",
        "seconds",
        "elapsed",
        "session_at",
        "report_at",
        "since",
        "identity",
    ),
    *("datetime_start", "datetime_complete", "images_per_second", "memory_mb", "sweeps.id"),
}
"""Keys of records, and columns of tables, that hold times, memory, or a random name of a study."""

MACHINE = {"workers", "stalls", "worker_kind"}
"""Keys of records that hold processes and hosts."""

CODE = {"version", "git", "git.commit", "git.dirty", "commit", "dirty", "command"}
"""Keys of records that say which code ran, and how its command spells the options."""


PICKLED = ("cma:optimizer:",)
"""Beginnings of keys under which Optuna's CMA-ES keeps a pickle, whose bytes depend on the process.
What it proposes does not.
"""

BY_THE_CLOCK = {"best_objective"}
"""Metrics of MLflow that draw trials of one round in the order in which they ended by the clock."""


def is_masked(key: str) -> bool:
    """Whether a key holds what differs from run to run; `metrics/seconds` and `search_seconds` are
    times, too.
    """
    seconds = "seconds" in re.split(r"[./_]", key)
    return (
        seconds
        or key.startswith(PICKLED)
        or not TIMES.union(MACHINE, CODE).isdisjoint((key, key.split(".")[-1]))
    )


UNSTEADY_FILES = {"wall_time.png"}
"""Names of plots that draw times."""

TIME_WORDS = (
    r"\d+(\.\d+)? ?(s|ms|min|h|hours?|minutes?|seconds?|days?)\b",
    r"took \d+ more",
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?",
)
"""Patterns of what a text says of times."""


def steady_text(text: str) -> list[str]:
    """Return the lines of a text without times and the commit."""
    for pattern in TIME_WORDS:
        text = re.sub(pattern, "TIME", text)
    return [line for line in text.splitlines() if not line.startswith("Commit `")]


def unmasked(value: Any, *, words: bool = False) -> Any:
    """Return a record without what is masked, at any depth; keys as text, tuples as lists. `words`:
    texts are made steady, too.
    """
    if isinstance(value, dict):
        return {
            str(key): unmasked(part, words=words)
            for key, part in value.items()
            if not is_masked(str(key))
        }
    if isinstance(value, list | tuple):
        return [unmasked(part, words=words) for part in value]
    return "\n".join(steady_text(value)) if words and isinstance(value, str) else value
