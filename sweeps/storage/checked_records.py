"""Checksums of records: one for each line of a journal, in a file or in a table.

A flipped digit is still valid JSON, so a record that can be read is not yet a record that is right.
"""

import io
import json
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sweeps.checksums import CHECKSUM
from sweeps.program import program

_END = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n')
_END_LENGTH = 21
_HALF_WRITTEN = re.compile(rb'(?:\{(?:"[ -~]*)?)?\0*')
"""A record that was cut off while it was written (our JSON is ASCII), and the zeros that a crash of
the machine leaves.
"""
_WHOLE_AND_MORE = re.compile(rb'"crc32":"[0-9a-f]{8}"\}.', re.DOTALL)


def record_line(record: dict[str, Any]) -> bytes:
    """Return a record as a line of JSON whose last key, `crc32`, is the CRC-32 (8 hexadecimal
    digits) of the bytes before it.

    The bytes are checked rather than the record's canonical JSON, because that takes 30 times as
    long.
    """
    content = json.dumps(record, separators=(",", ":")).encode().removesuffix(b"}")
    return b'%b,"%b":"%08x"}\n' % (content, CHECKSUM.encode(), zlib.crc32(content))


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the record of a whole line. Raises ValueError with what is wrong with it, in words."""
    if not (end := _END.fullmatch(line, max(len(line) - _END_LENGTH, 0))):
        older = f"an older version of {program().name} or by another program"
        problem = f"it has no checksum, because it was written by {older}"
        raise ValueError(problem if _is_record(line) else "it is no record")
    if zlib.crc32(memoryview(line)[: end.start()]) != int(end[1], 16):
        raise ValueError("its checksum does not match")
    record: dict[str, Any] = json.loads(line)
    del record[CHECKSUM]
    return record


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def is_half_written(tail: bytes) -> bool:
    """Whether the bytes after the last line feed are nothing, or what a process or machine that
    died left of a record.
    """
    return bool(_HALF_WRITTEN.fullmatch(tail)) and not _WHOLE_AND_MORE.search(tail)


@dataclass(frozen=True, kw_only=True)
class JournalCheck:
    """The result of a look through the bytes of a journal."""

    records: int
    """Whole records before the first bad line."""
    length: int
    """Their bytes."""
    problem: str | None
    """The fault of the bad line, in words; None without a bad line. A half-written last line is
    none.
    """
    rest: int
    """Lines from the first bad line on."""
    identity: str | None
    """Identity of the study, by its newest whole record before or after a bad line; None where no
    bad line is, or no record has it.
    """


def check_lines(content: bytes) -> JournalCheck:
    """Look through a journal, up to its first bad line."""
    records = length = 0
    problem: str | None = None
    for line in io.BytesIO(content):
        try:
            parse_line(line)
        except ValueError as error:
            if line.endswith(b"\n") or not is_half_written(line):
                problem = str(error)
            break
        records += 1
        length += len(line)
    rest = len(content[length:].splitlines())
    identity = _newest_identity(content) if problem else None
    return JournalCheck(
        records=records, length=length, problem=problem, rest=rest, identity=identity
    )


def _newest_identity(content: bytes) -> str | None:
    for line in reversed(list(io.BytesIO(content))):
        if b'"user_attr":{"identity":' in line:
            with suppress(ValueError):
                return str(parse_line(line)["user_attr"]["identity"])
    return None
