"""What differs between two runs of the same code, by name. Nothing else is left out of a recording."""

import re
from pathlib import Path
from typing import Any

TIMES = {
    *("at", "started", "ended", "seconds", "elapsed", "session_at", "report_at", "since", "identity"),
    *("datetime_start", "datetime_complete"),
}
"""Keys of records, and columns of tables, that hold times, or a random name of a study."""

MACHINE = {"workers", "stalls", "worker_kind", "version"}
"""Keys of records that hold processes and hosts, or the version of the package."""


PICKLED = ("cma:optimizer:",)
"""Beginnings of keys under which Optuna's CMA-ES keeps a pickle, whose bytes depend on the process. What it proposes does not."""


def is_masked(key: str) -> bool:
    """Whether a key holds what differs from run to run; `metrics/seconds` and `result.seconds` are times, too."""
    seconds = re.split(r"[./]", key)[-1].startswith("seconds")
    return seconds or key in TIMES or key in MACHINE or key.startswith(PICKLED)


UNSTEADY_FILES: set[str] = set()
"""Names of plots that draw times."""

TIME_WORDS = (
    r"\d+(\.\d+)? ?(s|ms|min|h|hours?|minutes?|seconds?|days?)\b",
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?",
)
"""Patterns of what a text says of times."""


def steady_text(text: str, folder: Path) -> list[str]:
    """Return the lines of a text without times and the place of its files."""
    text = text.replace(str(folder), "PLACE")
    for pattern in TIME_WORDS:
        text = re.sub(pattern, "TIME", text)
    return text.splitlines()


def unmasked(value: Any) -> Any:
    """Return a record without what is masked, at any depth; keys as text, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): unmasked(part) for key, part in value.items() if not is_masked(str(key))}
    if isinstance(value, list | tuple):
        return [unmasked(part) for part in value]
    return value
