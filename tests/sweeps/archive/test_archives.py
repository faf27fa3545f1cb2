"""A study in one file: the same study elsewhere, and archives that are damaged, hostile or in the
way.
"""

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
from datetime import datetime
from pathlib import Path

import optuna
import pytest
import zstandard
from hostile_archives import (
    after_each_kill,
    files,
    make_study,
    manifest_of,
    member,
    opened,
    records,
    restored,
    with_records,
    write_archive,
    written,
)
from hypothesis import given
from hypothesis import strategies as st
from postgres import postgres_server

from sweeps.archive.manifest import MANIFEST, MOST, RECORDS, Manifest, check_paths
from sweeps.archive.pack import pack_study
from sweeps.checksums import Damaged
from sweeps.errors import UserError
from sweeps.files import UNFINISHED
from sweeps.storage import open_storage, study_names
from sweeps.storage.journal import study_lock
from sweeps.storage.study_record import read_state

SUPPORT = [str(Path(__file__).parents[3]), str(Path(__file__).parents[2] / "support")]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A folder with `runs`, `reports` and `toy.tar.zst`: only to be read."""
    root = tmp_path_factory.mktemp("packed")
    runs = make_study(root)
    pack_study(
        "toy", root / "toy.tar.zst", runs=runs, storage=None, about={"versions": {"toy": "1"}}
    )
    return root


@pytest.fixture(scope="module")
def content(packed):
    return opened(packed / "toy.tar.zst")


def refused(file, root, *words, **options):
    """Nothing is restored into `root/target`, and nothing is written beside it; the lock alone is
    left.
    """

    def outside():
        return [
            path for path in sorted(root.rglob("*")) if root / "target" not in (path, *path.parents)
        ]

    before = outside()
    with pytest.raises(UserError) as error:
        restored(file, root / "target", **options)
    said = str(error.value)
    assert all(word in said for word in words), said
    assert "\n" not in said
    assert outside() == before
    assert {path.name for path in (root / "target").rglob("*") if path.is_file()} <= {"toy.lock"}


# ---- there and back ----


def without(records, *keys):
    """The records but for these attributes of the study."""
    return [
        {**each, "user": {key: value for key, value in each["user"].items() if key not in keys}}
        for each in records
    ]


def test_a_restored_study_is_the_same_to_the_bit(packed, tmp_path):
    said = restored(packed / "toy.tar.zst", tmp_path)
    ours, theirs = records(packed / "runs"), records(tmp_path / "runs")
    assert any(each["state"] == "PRUNED" for each in theirs if "state" in each)
    assert [each["kind"] for each in theirs if "kind" in each] == ["search", "repeats"]
    assert without(theirs, "report") == without(ours, "report")
    assert theirs[0]["user"]["report"] == str(tmp_path / "reports" / "toy")
    there = files(tmp_path / "runs" / "trials")
    assert there.pop("toy/toy.yaml") == b"question: What is it?\n"
    assert there == files(packed / "runs" / "trials")
    assert files(said.report) == files(packed / "reports" / "toy")
    assert said.manifest.about == {"versions": {"toy": "1"}}
    assert study_names(tmp_path / "runs") == ["toy"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(UNFINISHED)]


def test_optuna_says_nothing_of_its_own(packed, tmp_path, caplog):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        restored(packed / "toy.tar.zst", tmp_path)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records


def test_a_study_under_another_name_names_its_own_folders(packed, tmp_path):
    restored(packed / "toy.tar.zst", tmp_path, name="other")
    stored = read_state(open_storage(None, tmp_path / "runs", "other", must_exist=True), "other")
    old = read_state(open_storage(None, packed / "runs", "toy", must_exist=True), "toy")
    assert stored.study.spec == {**old.study.spec, "name": "other"}
    assert stored.study.identity != old.study.identity
    assert (stored.study.model.name, stored.study.model.run) == ("other", "other/1")
    paths = [stored.study.model.folder]
    for run, before in zip(
        (*stored.trials, *stored.repeats), (*old.trials, *old.repeats), strict=True
    ):
        paths += [run.folder, *(picture.path for picture in run.pictures)]
        assert (run.epochs, run.results, run.files) == (before.epochs, before.results, before.files)
    paths = [path for path in paths if path]
    assert len(paths) > 10
    assert {path.split("/")[1] for path in paths} == {"other"}
    assert all((tmp_path / "runs" / path).exists() for path in paths)


@pytest.mark.filterwarnings("ignore")
def test_a_study_goes_from_postgresql_into_a_journal_and_back(packed, tmp_path):
    with postgres_server("first", "second") as server:
        first, second = (
            server.get_uri(database=name, driver="psycopg") for name in ("first", "second")
        )
        restored(packed / "toy.tar.zst", tmp_path / "a", storage=first)
        pack_study(
            "toy", tmp_path / "a.tar.zst", runs=tmp_path / "a" / "runs", storage=first, about={}
        )
        restored(tmp_path / "a.tar.zst", tmp_path / "b")
        restored(tmp_path / "a.tar.zst", tmp_path / "c", storage=second)
        ours = without(records(packed / "runs"), "report")
        assert without(records(tmp_path / "b" / "runs"), "report") == ours
        assert without(records(tmp_path / "c" / "runs", url=second), "report") == ours
        with pytest.raises(UserError, match="exists here already"):
            restored(tmp_path / "a.tar.zst", tmp_path / "d", storage=second)


def test_the_same_study_gives_the_same_bytes_without_the_user(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2-hunter2")
    again = tmp_path / "again.tar.zst"
    pack_study("toy", again, runs=packed / "runs", storage=None, about={"versions": {"toy": "1"}})
    assert again.read_bytes() == (packed / "toy.tar.zst").read_bytes()
    with zstandard.open(again, "rb") as stream:
        plain = stream.read()
    assert b"hunter2" not in plain
    with tarfile.open(fileobj=zstandard.open(again, "rb"), mode="r|") as tar:
        assert {(info.uid, info.uname, info.mtime, info.mode) for info in tar} == {
            (0, "", 0, 0o644)
        }


def test_files_that_are_half_written_or_moved_aside_stay_out(packed, tmp_path):
    shutil.copytree(packed / "runs", tmp_path / "runs")
    folder = tmp_path / "runs" / "trials" / "toy" / "trial-0000"
    for name in (f"{UNFINISHED}1-weights.bin", "weights.bin.damaged", "weights.bin.damaged-2"):
        (folder / name).write_bytes(b"no")
    shutil.copytree(folder, folder.with_name("trial-0009.unrecorded"))
    (folder / "link").symlink_to("/etc/passwd")
    (folder.parent / "linked").symlink_to("/etc")
    manifest = pack_study(
        "toy", tmp_path / "x.tar.zst", runs=tmp_path / "runs", storage=None, about={}
    )
    expected = pack_study(
        "toy", tmp_path / "y.tar.zst", runs=packed / "runs", storage=None, about={}
    )
    assert [row.path for row in manifest.members] == [row.path for row in expected.members]


def test_a_study_whose_process_died_is_interrupted_where_it_arrives(content, tmp_path):
    def running(record):
        return (
            {**record, "user": record["user"] | {"session": "running"}}
            if record.get("kind") == "search"
            else record
        )

    restored(written(tmp_path / "x.tar.zst", with_records(content, running)), tmp_path)
    stored = read_state(open_storage(None, tmp_path / "runs", "toy", must_exist=True), "toy")
    assert stored.study.session == "interrupted"


def test_times_are_those_of_the_zone_of_the_machine(packed, tmp_path, monkeypatch):
    import time

    first = records(packed / "runs")[1]["started"]
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        restored(packed / "toy.tar.zst", tmp_path)
        assert records(tmp_path / "runs")[1]["started"] == first
        storage = open_storage(None, tmp_path / "runs", "toy")
        [study] = [each for each in storage.get_all_studies() if each.study_name == "toy"]
        there = storage.get_all_trials(study._study_id)[0].datetime_start
        assert there == datetime.fromisoformat(first).astimezone().replace(tzinfo=None)
    finally:
        monkeypatch.undo()
        time.tzset()


# ---- what is refused ----


def test_what_cannot_be_packed_is_one_line_each(packed, tmp_path):
    def said(study, name, runs=packed / "runs"):
        with pytest.raises(UserError) as error:
            pack_study(study, tmp_path / name, runs=runs, storage=None, about={})
        return str(error.value)

    before = sorted(path.name for path in (packed / "runs" / "journal").iterdir())
    assert "no such study 'tox'; start it first. Did you mean 'toy'?" in said("tox", "x.tar.zst")
    assert "must end in .tar.zst. Try x.tar.zst" in said("toy", "x.zip")
    (tmp_path / "there.tar.zst").write_text("mine")
    assert "exists already" in said("toy", "there.tar.zst")
    (tmp_path / "file").write_text("")
    assert "cannot be archived" in said("toy", "file/x.tar.zst")
    with study_lock(packed / "runs", "toy"):
        assert f"process {os.getpid()} on host" in said("toy", "x.tar.zst")
    assert (tmp_path / "there.tar.zst").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there.tar.zst"]
    assert sorted(path.name for path in (packed / "runs" / "journal").iterdir()) == before


def test_a_file_that_changes_while_it_is_packed_is_noticed(packed, tmp_path, monkeypatch):
    shutil.copytree(packed / "runs", tmp_path / "runs")
    weights = tmp_path / "runs" / "trials" / "toy" / "trial-0003" / "weights.bin"
    digest = Manifest.to_bytes

    def changed(manifest):
        weights.write_bytes(b"x" * weights.stat().st_size)
        return digest(manifest)

    monkeypatch.setattr(Manifest, "to_bytes", changed)
    with pytest.raises(UserError, match=r"trial-0003/weights.bin: changed while it was archived"):
        pack_study("toy", tmp_path / "x.tar.zst", runs=tmp_path / "runs", storage=None, about={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_what_cannot_be_restored_is_one_line_each(packed, tmp_path):
    good = packed / "toy.tar.zst"
    for name, data, words in (
        ("empty", b"", "is no archive"),
        ("text", b"question: what?\n", "is no archive"),
        ("zst", zstandard.compress(b"no tar"), "is damaged, cut off"),
        ("tar", zstandard.compress(b"\0" * 10240), "is no archive"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, tmp_path, words)
    refused(tmp_path / "nothing", tmp_path, "there is no such file")
    refused(tmp_path, tmp_path, "there is no such file")
    refused(good, tmp_path, "--name: got '../x' as name", name="../x")
    restored(good, tmp_path / "target")
    for again in (None, "toy"):
        with pytest.raises(UserError, match=r"study 'toy': exists here already\. Try --name NEW"):
            restored(good, tmp_path / "target", name=again)
    with (
        study_lock(tmp_path / "target" / "runs", "busy"),
        pytest.raises(UserError, match="is running it already"),
    ):
        restored(good, tmp_path / "target", name="busy")
    shutil.rmtree(tmp_path / "target" / "runs")
    with pytest.raises(UserError, match=r"reports/toy: exists already"):
        restored(good, tmp_path / "target")
    (tmp_path / "target" / "runs" / "trials" / "toy" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"trials/toy: exists already"):
        restored(good, tmp_path / "target")


FULL = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from sweeps.archive.pack import pack_study
from sweeps.errors import UserError
from hostile_archives import restored
try:
    pack_study("toy", Path({disk!r}) / "x.tar.zst", runs=Path({root!r}) / "runs", storage=None, about={{}})
except UserError as error:
    print(error)
try:
    restored(Path({root!r}) / "toy.tar.zst", Path({disk!r}))
except UserError as error:
    print(error)
print(sorted(path.name for path in Path({disk!r}).iterdir()))
"""  # noqa: E501


def test_a_full_disk_is_one_line_and_leaves_nothing(packed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    code = FULL.format(paths=SUPPORT, disk=str(disk), root=str(packed))
    mount = f'mount -t tmpfs -o size=64k none {disk} && exec {sys.executable} -c "$CODE"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount],
        env={**os.environ, "CODE": code},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("no namespaces here")
    first, second, left = done.stdout.splitlines()
    assert first.endswith(
        "x.tar.zst: the disk is full. What is finished is kept: free some space and give the "
        "same command again."
    )
    assert "the disk is full" in second
    assert left in ("[]", "['runs']")


# ---- damage ----


@given(data=st.data())
def test_a_flipped_bit_or_a_cut_never_restores_other_bytes(packed, content, tmp_path_factory, data):
    whole = (packed / "toy.tar.zst").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7) | st.none())
    root = tmp_path_factory.mktemp("flipped")
    file = root / "x.tar.zst"
    file.write_bytes(
        whole[:at] if bit is None else whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    )
    said = None
    try:
        restored(file, root / "target")
    except UserError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        assert {path.name for path in (root / "target").rglob("*") if path.is_file()} <= {
            "toy.lock"
        }
    else:  # a bit of a header, or the end, at which no reader looks
        assert without(records(root / "target" / "runs"), "report") == without(
            records(packed / "runs"), "report"
        )
        assert opened(file) == content
    shutil.rmtree(root)


# ---- archives of strangers ----

OUTSIDE = (
    "../evil",
    "/tmp/evil",
    "trials/../../evil",
    "trials/x/..",
    "trials/x/./y",
    "trials//y",
    "trials/x",
    "report",
    "evil",
)
ODD = (
    "trials/x/a\\b",
    "trials/x/a\nb",
    f"trials/x/{UNFINISHED}y",
    "trials/x/" + "y" * 256,
    "",
    "trials/x/\0",
    "report/\ud800",
)


@pytest.mark.parametrize("path", [*OUTSIDE, *ODD])
def test_a_path_that_leads_out_is_refused(content, tmp_path, path):
    bad = {**content, path: b"evil"}
    file = write_archive(tmp_path / "x.tar.zst", [member(MANIFEST, manifest_of(bad))])
    refused(file, tmp_path, "as a path in the archive, which may lead out of it")


@given(
    st.lists(
        st.text(st.sampled_from("ab./\\~: \0\n-ä"), max_size=8)
        | st.sampled_from(("trials", "report", "..", ".")),
        max_size=6,
    )
)
def test_every_path_that_passes_stays_in_its_folder(parts):
    path = "/".join(parts)
    try:
        check_paths([RECORDS, path], "x")
    except UserError:
        return
    joined = posixpath.normpath(posixpath.join("/folder", path))
    assert joined == f"/folder/{path}"
    assert joined.startswith(("/folder/trials/", "/folder/report/"))


KINDS = {
    "a symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "a hard link": {"type": tarfile.LNKTYPE, "linkname": "../../../etc/passwd"},
    "a device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
    "a pipe": {"type": tarfile.FIFOTYPE},
    "a folder": {"type": tarfile.DIRTYPE},
    "another name": {"name": "../evil"},
    "an absolute name": {"name": "/tmp/evil"},
    "a sparse file": {"type": tarfile.GNUTYPE_SPARSE},
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_files_of_the_manifest_are_unpacked(content, tmp_path, kind):
    head = member(MANIFEST, manifest_of(content))
    path = next(path for path in content if path.endswith("weights.bin"))
    attributes = KINDS[kind]
    has_content = "type" not in attributes or kind == "a sparse file"
    members = [
        member(
            each,
            data if each != path or has_content else b"",
            **(attributes if each == path else {}),
        )
        for each, data in content.items()
    ]
    file = write_archive(tmp_path / "x.tar.zst", [head, *members])
    refused(file, tmp_path, "is damaged, cut off or not to be trusted")
    assert not Path("/tmp/evil").exists()


def test_a_bomb_is_stopped_at_what_the_manifest_states(content, tmp_path):
    zeros = b"\0" * 50_000_000
    path = next(path for path in content if path.endswith("weights.bin"))
    head = member(MANIFEST, manifest_of(content))
    larger = [member(each, zeros if each == path else data) for each, data in content.items()]
    small = write_archive(tmp_path / "member.tar.zst", [head, *larger])
    assert small.stat().st_size < len(zeros) / 100
    refused(small, tmp_path, "where its manifest has the file")
    named = member(path, content[path], pax_headers={"comment": "x" * 50_000_000})
    rest = [member(each, data) for each, data in content.items() if each != path]
    long_header = write_archive(
        tmp_path / "header.tar.zst", [head, rest[0], named], form=tarfile.PAX_FORMAT
    )
    refused(long_header, tmp_path, "it holds more bytes than its manifest states")
    first = write_archive(tmp_path / "first.tar.zst", [named], form=tarfile.PAX_FORMAT)
    refused(first, tmp_path, "it holds more bytes than its manifest states")
    manifest = write_archive(tmp_path / "manifest.tar.zst", [member(MANIFEST, b" " * (2 * MOST))])
    refused(manifest, tmp_path, "it holds more bytes than its manifest states")


def test_a_manifest_that_lies_is_refused(content, tmp_path):
    rows = json.loads(manifest_of(content))["members"]
    members = [member(path, data) for path, data in content.items()]
    other = [[path, size, "0" * 64 if path == RECORDS else sha256] for path, size, sha256 in rows]
    for name, said, lying, held in (
        ("hash", "records.jsonl does not match its checksum", other, members),
        (
            "size",
            "where its manifest has the file",
            [[rows[0][0], rows[0][1] + 1, rows[0][2]], *rows[1:]],
            members,
        ),
        ("fewer", "it holds more files than its manifest states", rows[:-1], members),
        ("more", "it ends before trials/x/y", [*rows, ["trials/x/y", 0, "0" * 64]], members),
        ("order", "where its manifest has the file", [*rows[1:], rows[0]], members),
        ("twice", "each path once", [*rows, rows[-1]], members),
        ("folder", "may lead out", [*rows, [f"{rows[-1][0]}/x", 0, "0" * 64]], members),
        ("none", "must have the records", [], []),
    ):
        file = tmp_path / f"{name}.tar.zst"
        refused(
            write_archive(file, [member(MANIFEST, manifest_of(content, lying)), *held]),
            tmp_path,
            said,
        )
    newer = write_archive(
        tmp_path / "n", [member(MANIFEST, manifest_of(content, schema=2, version="9.9"))]
    )
    refused(newer, tmp_path, "is stored in schema 2, and sweeps", "Use sweeps 9.9, which wrote it.")
    named = write_archive(tmp_path / "name", [member(MANIFEST, manifest_of(content, study="../x"))])
    refused(named, tmp_path, "as name; must be letters")


def test_paths_in_records_stay_in_the_folder_of_the_study(content, tmp_path):
    def outside(record):
        user = dict(record["user"])
        if record.get("kind") == "search":
            user |= {"report": "/etc", "model": {**user["model"], "loader_module": "os"}}
        elif "folder" in user:
            user |= {
                "folder": "trials/toy/../../../etc",
                "pictures/4": {"a": "/etc/passwd", "b": "trials/other/x/y.png"},
                "paused_with": {"metrics": {}, "folder": "/etc", "files": {}, "bytes": 0},
            }
        return {**record, "user": user}

    restored(written(tmp_path / "x.tar.zst", with_records(content, outside)), tmp_path)
    storage = open_storage(None, tmp_path / "runs", "toy", must_exist=True)
    stored = read_state(storage, "toy")
    assert stored.study.report == str(tmp_path / "reports" / "toy")
    assert stored.study.model is None
    paused = [trial.user_attrs.get("paused_with") for trial in storage.get_all_trials(0)]
    assert {left["folder"] for left in paused if left} == {None}
    assert {(run.folder, run.pictures) for run in (*stored.trials, *stored.repeats)} == {(None, ())}


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "/etc"},
        {"folder": "trials/toy/../../x"},
        {"run": "../../x"},
        {"run": "toy/1\n"},
        {"pip_requirements": ["evil"]},
        {"pip_requirements": ["toy @ https://evil"]},
        {"pip_requirements": ["toy==1.0 --index-url https://evil"]},
        {"loader_module": "os"},
    ],
)
def test_a_model_that_asks_for_other_code_is_left_out(content, tmp_path, change):
    def changed(record):
        user = record["user"]
        return (
            {**record, "user": {**user, "model": user["model"] | change}}
            if record.get("kind") == "search"
            else record
        )

    said = restored(written(tmp_path / "x.tar.zst", with_records(content, changed)), tmp_path)
    assert said.stored.study.model is None


# ---- kills ----


def test_a_restore_that_is_killed_leaves_no_study_or_all_of_it(packed, content, tmp_path):
    whole, found = without(records(packed / "runs"), "report"), []
    few = {
        path: data
        for path, data in content.items()
        if not re.match("trials/(trial-000[1-9]|repeat)", path)
    }
    file = written(tmp_path / "few.tar.zst", few)
    for root in after_each_kill(tmp_path, lambda root: restored(file, root)):
        found.append(study_names(root / "runs"))
        if not found[-1]:
            restored(file, root)
            assert not [path for path in root.rglob("*") if path.name.startswith(UNFINISHED)]
        assert without(records(root / "runs"), "report") == whole
        runs = root / "runs" / "trials" / "toy"
        assert (runs / "trial-0000" / "weights.bin").read_bytes() == few[
            "trials/trial-0000/weights.bin"
        ]
        assert (root / "reports" / "toy" / "README.md").exists()
    assert found[0] == []
    assert found[-1] == ["toy"]
    assert len(found) > 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_restore_into_a_database_that_is_killed_leaves_no_study_or_all_of_it(packed, tmp_path):
    whole, found = without(records(packed / "runs"), "report"), []
    with postgres_server("studies") as server:
        url = server.get_uri(database="studies", driver="psycopg")
        restore = lambda root: restored(packed / "toy.tar.zst", root, name=root.name, storage=url)  # noqa: E731
        for root in after_each_kill(tmp_path, restore):
            found.append(root.name in study_names(root / "runs", url))
            if not found[-1]:
                restore(root)
            ours = without(records(root / "runs", name=root.name, url=url), "report")
            assert [each.get("state") for each in ours] == [each.get("state") for each in whole]
    assert found[-1]
    assert len(found) > 10


def test_an_archive_that_is_killed_leaves_nothing_under_its_name(packed, tmp_path):
    def pack(root):
        pack_study("toy", root / "x.tar.zst", runs=packed / "runs", storage=None, about={})

    kills = 0
    for root in after_each_kill(tmp_path, pack):
        kills += 1
        if not (root / "x.tar.zst").exists():
            pack(root)
        assert [path.name for path in root.iterdir()] == ["x.tar.zst"]
        restored(root / "x.tar.zst", root / "target")
    assert kills > 1


def test_damage_is_told_as_damage(packed, tmp_path):
    whole = (packed / "toy.tar.zst").read_bytes()
    (tmp_path / "x").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match=re.escape(str(tmp_path / "x"))):
        restored(tmp_path / "x", tmp_path / "target")
