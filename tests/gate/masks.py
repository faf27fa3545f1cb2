"""What differs between two runs of the same code, by name. Nothing else is left out of a recording."""

import re
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


def unmasked(value: Any) -> Any:
    """Return a record without what is masked, at any depth; keys as text, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): unmasked(part) for key, part in value.items() if not is_masked(str(key))}
    if isinstance(value, list | tuple):
        return [unmasked(part) for part in value]
    return value
