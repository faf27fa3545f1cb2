"""What people have: whatever is accepted without a doubt is read as it is; the rest is refused or
doubted in words.
"""

import numpy as np
import pytest
from plausible_inputs import KINDS, Member, make_member

from sweeps.errors import UserError
from vaeexp.data import Dataset, open_dataset
from vaeexp.settings import DataSettings

FEW, ALL = 63, 300
MEAN, DEVIATION = 0.02, 0.03
"""How far mean and standard deviation of what is prepared, from 0 to 1, may lie from those of the
source.
"""
SOME = [
    pytest.param(number, marks=[pytest.mark.slow] if number >= FEW else []) for number in range(ALL)
]


@pytest.mark.parametrize("number", SOME)
def test_what_is_accepted_is_what_the_source_holds(tmp_path, number):
    (tmp_path / "data").mkdir()
    member = make_member(number, tmp_path / "data")
    problems = judge(member, attempt(member))
    assert not problems, f"member {number}: {member.description}: {'; '.join(problems)}"


def attempt(member: Member) -> Dataset | Exception:
    """Open the input as a user would; an error is returned, because what it says depends on the
    member.
    """
    settings = DataSettings(**{"dataset": member.dataset, "binarisation": "none"} | member.settings)
    try:
        return open_dataset(settings, root=member.path, say=lambda text: None)
    except Exception as error:
        return error


def judge(member: Member, data: Dataset | Exception) -> list[str]:
    """Return in words what is wrong with what became of a member."""
    if isinstance(data, Exception):
        named = isinstance(data, UserError) and data.place
        return [] if named and not member.plain else [f"{type(data).__name__}: {data}"]
    if data.warnings:
        return [f"doubted: {data.warnings}"] if member.plain else []
    if member.doubted:
        return [f"read without a doubt: {data.notes}"]
    unsaid = [] if member.said in "\n".join(data.notes) else [f"nothing is said of '{member.said}'"]
    problems = differences(member, data) + unsaid
    return [*problems, str(data.notes)] if problems else []


def differences(member: Member, data: Dataset) -> list[str]:
    """Return in words what differs between the truth and the prepared images."""
    parts = {"train": data.train, "val": data.validation, "test": data.test}
    read = np.concatenate([part.images for part in parts.values()]).astype(np.float64)
    read /= 255 if data.scaling.bytes else 1
    seen = member.pictures[..., None] if member.pictures.ndim == 3 else member.pictures
    seen = np.broadcast_to(seen, (*seen.shape[:3], read.shape[1])) if seen.shape[3] == 1 else seen
    if seen.shape[3] != read.shape[1]:
        return [f"{read.shape[1]} channels of {seen.shape[3]}"]
    problems = []
    if len(read) != len(seen):
        problems.append(f"{len(read)} images of {len(seen)}")
    if abs(read.mean() - seen.mean()) > MEAN:
        problems.append(f"mean {read.mean():.3f} of {seen.mean():.3f}")
    if abs(read.std() - seen.std()) > DEVIATION:
        problems.append(f"deviation {read.std():.3f} of {seen.std():.3f}")
    if problems:
        return problems
    flat = seen.transpose(0, 3, 1, 2).reshape(len(seen), -1)
    distances = ((read.reshape(len(read), 1, -1) - flat) ** 2).mean(axis=2)
    source = distances.argmin(axis=1)
    if distances.min(axis=1).max() > DEVIATION**2:
        problems.append(
            f"an image that the source does not hold, {distances.min(axis=1).max() ** 0.5:.3f} away"
        )
    if len(set(source.tolist())) < len(source):
        problems.append("an image twice, and so in two splits or read for another")
    where = np.repeat(list(parts), [len(part) for part in parts.values()])
    return problems + _other_splits(member, where, source) + _other_labels(member, data, source)


def _other_splits(member: Member, where: np.ndarray, source: np.ndarray) -> list[str]:
    """Compare splits: the source's own stay, and what the source lacks is drawn from its training
    images.
    """
    if not member.splits:
        return []
    own = np.array(member.splits)[source]
    drawn = {"val", "test"} - set(member.splits)
    wrong = [
        f"{there} is {split}" for split, there in zip(where, own, strict=True) if split != there
    ]
    return sorted(
        {words for words in wrong if words not in {f"train is {split}" for split in drawn}}
    )


def _other_labels(member: Member, data: Dataset, source: np.ndarray) -> list[str]:
    """Compare the names of classes, image by image; labels that a note leaves out are none."""
    truth = np.array([None] * len(member.pictures), object)
    truth[: len(member.labels)] = member.labels
    parts = (data.train, data.validation, data.test)
    names = [
        part.classes[label] if part.classes else None for part in parts for label in part.labels
    ]
    wrong = {
        f"label {name} of {true}"
        for name, true in zip(names, truth[source], strict=True)
        if name != true
    }
    return sorted(wrong)[:4]


def test_the_few_have_members_of_every_kind():
    assert {number % len(KINDS) for number in range(FEW)} == set(range(len(KINDS)))
