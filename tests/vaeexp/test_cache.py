"""The user's cache: folders made once and whole, checked when they are opened, made again when a
file is damaged.
"""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from other_user import AS_OTHER_USER, needs_root
from sealed import change_marks

from sweeps.checksums import Damaged
from sweeps.errors import UserError
from sweeps.schema import MARKS
from vaeexp.cache import FACTS, build_once, cache_folder, distrust, read_facts, seal_folder

PROGRAM = """
import os, signal, sys
from pathlib import Path
from vaeexp.cache import build_once, read_facts, seal_folder

def build(folder):
    print("builds", flush=True)
    (folder / "numbers").write_bytes(bytes(range(256)))
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    seal_folder(folder, {"made": "whole"})

sys.stdin.readline()
print(build_once(Path(sys.argv[1]), read_facts, build))
"""


def make(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    (folder / "numbers").write_bytes(bytes(range(256)) * 40)
    (folder / "deep" / "words").write_text("kept\n")
    (folder / "empty").touch()
    seal_folder(folder, {"made": "here"})


def start(target: Path, end: str = "whole") -> subprocess.Popen:
    options = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, target, end], cwd=Path(__file__).parents[2], **options
    )


@examples(max_examples=25)
@given(st.sampled_from(["numbers", "deep/words", FACTS]), st.floats(0, 1), st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(tmp_path_factory, name, share, bit):
    folder = tmp_path_factory.mktemp("kept") / "folder"
    assert read_facts(folder) is None, "a folder that nobody made is no damage"
    make(folder)
    assert read_facts(folder) == {"made": "here"}
    content = bytearray((folder / name).read_bytes())
    content[min(int(share * len(content)), len(content) - 1)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(Damaged) as caught:
        read_facts(folder)
    assert caught.value.place == str(folder / name)


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(10_000)])
def test_no_other_length_goes_unseen(tmp_path, content):
    make(folder := tmp_path / "folder")
    (folder / "numbers").unlink()
    if content is not None:
        (folder / "numbers").write_bytes(content)
    with pytest.raises(Damaged, match="numbers"):
        read_facts(folder)


def test_a_folder_of_a_higher_schema_is_refused_and_one_without_a_number_is_read(tmp_path):
    make(folder := tmp_path / "folder")
    assert json.loads((folder / FACTS).read_bytes()).items() >= MARKS.items()
    change_marks(folder / FACTS)
    assert read_facts(folder) == {"made": "here"}
    change_marks(folder / FACTS, schema=2, version="9.1")
    with pytest.raises(UserError, match=r"is stored in schema 2.* Use vaeexp 9\.1") as caught:
        build_once(folder, read_facts, make)
    assert not isinstance(caught.value, Damaged)


@pytest.mark.parametrize("damage", ["a bit", "a missing file", "found later"])
def test_a_damaged_folder_is_made_again_with_one_line(tmp_path, caplog, damage):
    folder, made = tmp_path / "folder", []

    def build(there: Path) -> None:
        there.rmdir()
        make(there)
        made.append(there)

    build_once(folder, read_facts, build)
    if damage == "a bit":
        (folder / "numbers").write_bytes(b"\1" + (folder / "numbers").read_bytes()[1:])
    elif damage == "a missing file":
        (folder / "numbers").unlink()
    else:
        distrust(folder)
    with caplog.at_level(logging.WARNING):
        assert build_once(folder, read_facts, build) == {"made": "here"}
        assert build_once(folder, read_facts, build) == {"made": "here"}
    assert len(made) == 2
    [line] = caplog.messages
    assert str(folder) in line
    assert line.endswith("It is made again.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.lock"]


def test_a_process_that_is_killed_before_the_seal_leaves_nothing_to_believe(tmp_path):
    child = start(tmp_path / "folder", "killed")
    child.communicate("go\n")
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "folder").exists()
    said, _ = start(tmp_path / "folder").communicate("go\n")
    assert said.splitlines() == ["builds", "{'made': 'whole'}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.lock"]


def test_of_processes_that_find_damage_at_once_one_repairs_it(tmp_path):
    start(tmp_path / "folder").communicate("go\n")
    (tmp_path / "folder" / "numbers").write_bytes(bytes(256))
    children = [start(tmp_path / "folder") for _ in range(3)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0] * 3
    assert sorted(lines for lines, _ in said) == [
        *["builds\n{'made': 'whole'}\n"],
        *["{'made': 'whole'}\n"] * 2,
    ]
    assert sum(warnings.count("made again") for _, warnings in said) == 1


def test_a_build_that_fails_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "kept"
    target.mkdir()
    (target / "old").touch()

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(target, open_whole=lambda folder: False, build=fail)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.lock"]


def test_the_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("VAEEXP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "vaeexp" in cache_folder().parts
    monkeypatch.setenv("VAEEXP_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"


@needs_root
@pytest.mark.parametrize("home", [None, "/nonexistent", "read-only"])
def test_without_a_home_the_cache_is_asked_for_and_matplotlib_uses_it(home, tmp_path):
    """As in a container that runs under a number without a name, or as another user."""
    (tmp_path / "read-only").mkdir(mode=0o555)
    (tmp_path / "cache").mkdir(mode=0o777)
    program = (
        "from vaeexp.cache import build_once, cache_folder, spare_home\n"
        "import os\n"
        "from sweeps.errors import UserError\n"
        "try:\n    build_once(cache_folder() / 'x', lambda folder: None, lambda folder: None)\n"
        "except UserError as error:\n    print(error)\n"
        f"os.environ['VAEEXP_CACHE'] = {str(tmp_path / 'cache')!r}\n"
        "spare_home()\n"
        "print(os.environ['MPLCONFIGDIR'])\n"
    )
    homes = [] if home is None else [f"HOME={tmp_path / home}"]
    done = subprocess.run(
        [*AS_OTHER_USER, *homes, sys.executable, "-c", program], capture_output=True, text=True
    )
    asked, used = done.stdout.splitlines()
    assert "VAEEXP_CACHE" in asked, done.stderr
    assert used == str(tmp_path / "cache" / "matplotlib")
