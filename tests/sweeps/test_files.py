"""Files are replaced whole: after an error, a kill or a race there is the old file or a new file,
and nothing else.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sweeps.files import UNFINISHED, remove_unfinished, write_whole

ROOT = Path(__file__).parents[2]


def test_a_file_is_replaced_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    for content in ("old", "new"):
        write_whole(
            path,
            lambda unfinished, content=content: unfinished.write_text(content),
            durable=content == "new",
        )
        assert path.read_text() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]


def test_the_temporary_name_lies_beside_the_file_and_ends_as_its_name(tmp_path):
    seen = []
    write_whole(
        tmp_path / "program.pt2", lambda unfinished: seen.append(unfinished) or unfinished.touch()
    )
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(UNFINISHED)
    assert seen[0].suffix == ".pt2"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [
        ("table.csv", "old")
    ]


def test_a_link_to_the_same_file_leaves_one_name(tmp_path):
    """Renaming a hard link onto another link to the same file does nothing, and leaves both
    names.
    """
    (tmp_path / "origin").write_text("content")
    for _ in range(2):
        write_whole(tmp_path / "copy", lambda unfinished: os.link(tmp_path / "origin", unfinished))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy", "origin"]


def test_a_killed_writer_leaves_the_old_file_and_its_leftover_can_be_removed(tmp_path):
    path = tmp_path / "checkpoint.bin"
    path.write_bytes(b"old")
    program = (
        "import sys, time; from pathlib import Path; from sweeps.files import write_whole\n"
        "def write(unfinished): unfinished.write_bytes(b'half'); print('written', flush=True); "
        "time.sleep(60)\n"
        "write_whole(Path(sys.argv[1]), write)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.glob(f"{UNFINISHED}*"))) == 1
    remove_unfinished(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.bin"]


def test_a_reader_never_sees_a_part(tmp_path):
    path, stop = tmp_path / "file", threading.Event()
    path.write_bytes(b"0" * 100_000)

    def read() -> None:
        while not stop.is_set():
            content = path.read_bytes()
            sizes.append((len(content), len(set(content))))

    sizes: list[tuple[int, int]] = []
    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 0.5
    digit = 0
    while time.monotonic() < end:
        digit = (digit + 1) % 10
        write_whole(
            path,
            lambda unfinished, digit=digit: unfinished.write_bytes(str(digit).encode() * 100_000),
        )
    stop.set()
    reader.join()
    assert set(sizes) == {(100_000, 1)}
