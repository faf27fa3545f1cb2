"""What `doctor` says of the machine: each check is red by a real fault, and green without."""

from pathlib import Path

from vaeexp.machine_checks import check_device, check_disk, check_versions


def test_this_machine_is_healthy(tmp_path):
    for check in (
        check_versions,
        check_device,
        lambda: check_disk(tmp_path / "not" / "yet"),
    ):
        for finding in check():
            assert finding.ok, finding


def test_a_folder_that_cannot_be_written_asks_for_another_one():
    """More space would not help."""
    runs, cache = check_disk(Path("/proc/no/such/folder"))
    assert not runs.ok
    assert cache.ok
    assert "--runs" in runs.remedy
    for finding in (runs, cache):
        assert ("free 1 GiB" in finding.remedy) == ("cannot be written" not in finding.words)
