"""The one rule for names that become files and folders: of studies, and through them of journals,
runs and reports.
"""

import re

from sweeps.errors import UserError

LONGEST = 100
"""Letters of a name, because a file system has 255 bytes for a name with what is put before and
after.
"""
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}", re.ASCII)
_SHOWN = 40


def check_name(name: str, place: str) -> str:
    """Return the name. Raises UserError, at `place`, where it could name a file outside its folder,
    or none at all.

    A name also has no `+`, which joins names in the folder of a comparison.
    """
    if not is_name(name):
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise UserError(
            place,
            f"got {shown!r} as name; must be letters, digits, '_' and '-' only, 1 to {LONGEST} "
            "of them.",
        )
    return name


def is_name(text: str) -> bool:
    """Whether a study could have this name."""
    return _PLAIN.fullmatch(text) is not None
