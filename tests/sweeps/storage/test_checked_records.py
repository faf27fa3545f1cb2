"""Damage of what is stored: each changed record is found and named, and a damaged journal is saved
up to it.
"""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_lanes import ToyLanes
from toy_study import table, toy_study

from sweeps.checksums import Damaged
from sweeps.doctor.storage import check_storage
from sweeps.engine import open_sweep, run_study
from sweeps.errors import UserError
from sweeps.storage import open_storage, open_study, recorded_study
from sweeps.storage.checked_records import check_lines, parse_line, record_line
from sweeps.storage.journal import journal_path, study_lock
from sweeps.storage.journals import journals_at

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
records = st.dictionaries(st.text(), values, min_size=1).filter(
    lambda record: "crc32" not in record
)


def flipped(content: bytes, bit: int) -> bytes:
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


# ---- lines ----


@settings(max_examples=30)
@given(records)
def test_a_line_gives_its_record_back(record):
    assert parse_line(record_line(record)) == record


@settings(max_examples=50)
@given(records, st.data())
def test_any_flipped_bit_of_a_line_is_found(record, data):
    line = record_line(record)
    with pytest.raises(ValueError, match=r"no record|no checksum|does not match"):
        parse_line(flipped(line, data.draw(st.integers(0, 8 * len(line) - 1))))


@settings(max_examples=30)
@given(st.lists(records, min_size=2, max_size=4), st.data())
def test_every_cut_is_a_half_written_line_and_every_flip_is_none(content, data):
    lines = [record_line(record) for record in content]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    found = check_lines(whole[:cut])
    assert found.problem is None
    assert found.length == max(
        end for end in range(cut + 1) if end == 0 or whole[end - 1 : end] == b"\n"
    )
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    found, damaged = check_lines(flipped(whole, bit)), whole[: bit // 8].count(b"\n")
    assert (found.problem is not None, found.records, found.rest >= 1) == (True, damaged, True)
    assert found.length == len(b"".join(lines[:damaged]))


# ---- journals ----


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Content of the journal of a finished study, and its table."""
    runs = tmp_path_factory.mktemp("runs")
    run_study(STUDY, lanes, runs=runs)
    return journal_path(runs, "toy").read_bytes(), table(opened(runs))


STUDY = toy_study(trials=5, sampler="tpe", sampler_options={"startup_trials": 2}, pruner="median")


def lanes():
    return ToyLanes(width=2, epochs=3)


def opened(runs):
    return open_study(open_storage(None, runs, "toy"), STUDY)


def garbage(line):
    return b"garbage\n"


def zeros(line):
    return b"\x00" * len(line)


def digit(line):
    """Another digit within a number: still valid JSON."""
    at = re.search(rb'"op_code":(\d)', line).start(1)
    return line[:at] + (b"5" if line[at : at + 1] != b"5" else b"6") + line[at + 1 :]


def without_checksum(line):
    return re.sub(rb',"crc32":"[0-9a-f]{8}"', b"", line)


CASES = [
    (garbage, "middle"),
    (zeros, "middle"),
    (without_checksum, "end"),
    *((digit, place) for place in ("head", "middle", "end")),
]


@pytest.mark.parametrize(("damage", "place"), CASES)
def test_a_damaged_journal_is_refused_saved_and_continued(tmp_path, journal, damage, place):
    content, undisturbed = journal
    lines = content.splitlines(keepends=True)
    bad = {"head": 0, "middle": len(lines) // 2, "end": len(lines) - 1}[place]
    path = journal_path(tmp_path, "toy")
    path.parent.mkdir()
    damaged = b"".join([*lines[:bad], damage(lines[bad]), *lines[bad + 1 :]])
    path.write_bytes(damaged)
    named = rf"toy\.log: line {bad + 1} is damaged: it.*`Finding.repair`"
    with pytest.raises(Damaged, match=named), open_sweep(STUDY, runs=tmp_path):
        pass
    with pytest.raises(Damaged, match=named):
        open_storage(None, tmp_path, "toy", must_exist=True)
    assert path.read_bytes() == damaged  # nothing is cut off without a word

    journals = journals_at(None, tmp_path)
    found, aside = journals.salvage("toy")
    glued = damage is zeros  # its line feed is gone, too
    assert (found.records, found.rest) == (bad, len(lines) - bad - glued)
    assert aside == f"{path}.damaged"
    assert Path(aside).read_bytes() == damaged
    assert path.read_bytes() == b"".join(lines[:bad])
    assert journals.salvage("toy") is None
    run_study(STUDY, lanes, runs=tmp_path)
    assert table(opened(tmp_path)) == undisturbed


@pytest.mark.parametrize("bad", [[0], [0, 3], [2], [3]], ids=str)
def test_a_study_without_its_first_records_keeps_the_identity_that_mlflow_knows(
    tmp_path, journal, bad
):
    content, undisturbed = journal
    lines = content.splitlines(keepends=True)
    assert b'"identity"' in lines[3]
    path = journal_path(tmp_path, "toy")
    path.parent.mkdir()
    path.write_bytes(
        b"".join(garbage(line) if place in bad else line for place, line in enumerate(lines))
    )
    (finding,) = check_storage(None, tmp_path, "toy", [])
    assert finding.repair().startswith(
        f"kept {bad[0]} records; the other {len(lines) - bad[0]} are in"
    )
    identity = json.loads(lines[3])["user_attr"]["identity"]
    assert recorded_study(None, tmp_path, "toy").identity == identity
    run_study(STUDY, lanes, runs=tmp_path)
    assert recorded_study(None, tmp_path, "toy").identity == identity
    assert table(opened(tmp_path)) == undisturbed


def test_a_study_of_whose_records_none_is_whole_gets_a_new_identity(tmp_path):
    path = journal_path(tmp_path, "toy")
    path.parent.mkdir()
    path.write_bytes(b"garbage\n")
    (finding,) = check_storage(None, tmp_path, "toy", [])
    finding.repair()
    assert recorded_study(None, tmp_path, "toy").identity


def test_damage_that_comes_while_a_driver_works_stops_it(tmp_path):
    path = journal_path(tmp_path, "toy")
    seen = []

    def damage(event):
        seen.append(event)
        if len(seen) == 6:
            with path.open("ab") as file:
                file.write(b'{"op_code":4,"worker_id":"x","trial_id":0}\n')

    with pytest.raises(Damaged, match=r"toy\.log: line \d+ is damaged: it has no checksum"):
        run_study(STUDY, lambda: ToyLanes(width=2, epochs=3, before=damage), runs=tmp_path)


def test_a_journal_that_is_driven_is_not_moved(tmp_path, journal):
    path = journal_path(tmp_path, "toy")
    path.parent.mkdir()
    path.write_bytes(journal[0] + b"garbage\n")
    with study_lock(tmp_path, "toy"), pytest.raises(UserError, match="is running it already"):
        journals_at(None, tmp_path).salvage("toy")
    assert path.read_bytes().endswith(b"garbage\n")
