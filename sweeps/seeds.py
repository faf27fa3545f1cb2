"""Seeds that depend on a text and on nothing else, the same in every process and version of
Python.
"""

import hashlib


def seed_of(text: str) -> int:
    """Return the first 63 bits of the text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
