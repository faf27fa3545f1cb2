"""Every change of a sealed file, of a file with a digest, and of a record with a checksum is
found.
"""

import hashlib
import json
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.checksums import SLOT, Damaged, check_seal, file_digest, seal
from sweeps.errors import UserError

PATH = Path("mlruns/trials/x/settings.json")
TEXTS = st.text('aß😀"\\{}:, 0\n', max_size=6)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXTS,
    st.lists(TEXTS, max_size=2),
)
RECORDS = st.dictionaries(TEXTS, VALUES | st.dictionaries(TEXTS, VALUES, max_size=2), max_size=3)


def as_json(record: dict, *, compact: bool = False) -> bytes:
    layout = {"separators": (",", ":")} if compact else {"indent": 1}
    return json.dumps(record | {"sha256": SLOT}, **layout).encode()


@settings(max_examples=40)
@given(RECORDS, st.booleans())
def test_a_seal_is_the_hash_of_the_content_with_zeros_in_its_place(record, compact):
    content = as_json(record, compact=compact)
    sealed = seal(content)
    check_seal(sealed, PATH)
    digest = hashlib.sha256(content).hexdigest()
    assert sealed.replace(digest.encode(), SLOT.encode()) == content
    assert json.loads(sealed) == record | {"sha256": digest}


@settings(max_examples=40)
@given(RECORDS, st.data())
def test_every_flipped_bit_is_found(record, data):
    sealed = bytearray(seal(as_json(record)))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        check_seal(bytes(sealed), PATH)


@settings(max_examples=40)
@given(RECORDS, st.data())
def test_cuts_additions_zeros_and_exchanged_bytes_are_found(record, data):
    sealed = seal(as_json(record))
    first, second = sorted(
        data.draw(st.tuples(st.integers(0, len(sealed)), st.integers(0, len(sealed))))
    )
    added = data.draw(st.binary(min_size=1, max_size=5))
    for damaged in (
        sealed[:first],
        sealed[:first] + sealed[second:],
        sealed[:first] + bytes(second - first) + sealed[second:],
        sealed[:first] + added + sealed[first:],
        sealed[:first] + random.Random(first).randbytes(second - first) + sealed[second:],
    ):
        if damaged != sealed:
            with pytest.raises(Damaged):
                check_seal(damaged, PATH)


def test_the_seal_of_other_content_is_refused():
    one, two = (seal(as_json({"beta": beta})) for beta in (1.0, 2.0))
    digest = json.loads(one)["sha256"].encode()
    with pytest.raises(Damaged, match="does not match"):
        check_seal(two.replace(json.loads(two)["sha256"].encode(), digest), PATH)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"sha256": "12"}', as_json({})[:-4]])
def test_a_file_without_a_seal_is_refused_with_its_name_and_the_reason(content):
    with pytest.raises(Damaged, match="older version") as refused:
        check_seal(content, PATH)
    assert refused.value.place == str(PATH)
    assert isinstance(refused.value, UserError)
    assert isinstance(pickle.loads(pickle.dumps(refused.value)), Damaged)


@pytest.mark.parametrize("content", [b"{}", b'{"sha256": "%s"}' % (b"1" * 64), b'{"x": "sha256"}'])
def test_content_without_a_slot_cannot_be_sealed(content):
    with pytest.raises(ValueError, match="no slot"):
        seal(content)


def test_the_digest_of_a_file_is_its_sha_256(tmp_path):
    path = tmp_path / "array.npy"
    for content in (b"", b"abc", random.Random(0).randbytes(300_001)):
        path.write_bytes(content)
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
