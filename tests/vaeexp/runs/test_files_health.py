"""What `doctor` says of the files of runs: each kind is red by real damage, moved aside, and green
when whole.
"""

import shutil

import pytest
from tiny_study import NAME

from sweeps.errors import UserError
from sweeps.storage import open_storage
from sweeps.storage.study_record import read_state
from vaeexp.runs.checks import check_files
from vaeexp.runs.run import open_run

FILES = (
    "settings.json",
    "result.json",
    "weights.safetensors",
    "last.safetensors",
    "pictures.npz",
    "evaluation.npz",
)


@pytest.fixture
def runs(tmp_path, tiny_study):
    return shutil.copytree(tiny_study / "mlruns", tmp_path / "mlruns")


def wrong(runs):
    stored = read_state(open_storage(None, runs, NAME, must_exist=True), NAME)
    *findings, last = check_files(runs, stored)
    assert last.ok
    return findings


def test_the_files_of_a_healthy_study_match_their_checksums(runs):
    assert wrong(runs) == []
    # No test images in the search.
    assert not (runs / "trials" / NAME / "trial-0001" / "evaluation.npz").exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99], ids=["head", "middle", "end"])
def test_a_flipped_bit_anywhere_is_red_and_the_file_is_moved_aside_and_then_missed(
    runs, name, place
):
    folder = runs / "trials" / NAME / "repeat-0000"
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 4
    (folder / name).write_bytes(content)
    (finding,) = wrong(runs)
    assert (finding.name, finding.ok) == (f"{NAME}/r0: {name}", False)
    assert f"{folder / name}: " in finding.words
    assert finding.remedy.startswith(f"`vaeexp reproduce {NAME}/r0 --restore`")
    assert finding.repair() == f"moved the damaged file to {folder / name}.damaged"
    assert (folder / f"{name}.damaged").read_bytes() == content
    assert not (folder / name).exists()
    (missing,) = wrong(runs)
    assert (missing.name, missing.repair) == (finding.name, None)
    assert missing.remedy == finding.remedy
    if name in ("settings.json", "weights.safetensors"):
        with pytest.raises(
            UserError,
            match=rf"has no {name}.*`vaeexp reproduce RUN --restore`",
        ):
            open_run(f"{NAME}/r0", runs)


def test_a_file_of_another_run_and_a_missing_one_are_red(runs):
    folder = runs / "trials" / NAME
    shutil.copy(folder / "trial-0001" / "weights.safetensors", folder / "repeat-0000")
    (finding,) = wrong(runs)
    assert "is whole, and not the file of its run's record" in finding.words
    (folder / "repeat-0000" / "weights.safetensors").unlink()
    (finding,) = wrong(runs)
    assert finding.words.endswith(
        "weights.safetensors is missing, and the record says that the run has left it"
    )
    assert finding.repair is None
