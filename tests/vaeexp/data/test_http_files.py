"""Files over HTTP from a real server: transfers that break off, stall or bring other bytes."""

import hashlib

import pytest
from file_server import FileServer, serving
from image_files import noise

from vaeexp.data import http_files
from vaeexp.data.formats import RemoteFile
from vaeexp.data.http_files import DownloadError, fetch_file, fetch_json

CONTENT = noise(3_000_000).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http_files, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        server.files["/file.bin"] = CONTENT
        yield server


def fetch(server: FileServer, folder, *, md5: str = MD5, stall: float = 5.0, **changes):
    file = RemoteFile(f"{server.address}/file.bin", "below/file.bin", md5)
    return fetch_file(file._replace(**changes), folder, stall=stall)


def lying_in(folder) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("md5", [MD5, ""])
def test_a_file_arrives(server, tmp_path, md5):
    path = fetch(server, tmp_path, md5=md5)
    assert path == tmp_path / "below" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert lying_in(tmp_path) == ["below/file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("md5", [MD5, ""])
def test_a_transfer_that_breaks_off_is_resumed_or_begun_again(server, tmp_path, ranges, md5):
    server.ranges = ranges
    server.cuts["/file.bin"] = [1_500_000, 700_000]
    assert fetch(server, tmp_path, md5=md5).read_bytes() == CONTENT
    first, second, third = server.transfers("/file.bin")
    assert "Range" not in first
    assert second["Range"] == "bytes=1500000-"
    assert third["Range"] == f"bytes={2_200_000 if ranges else 700_000}-"


def test_a_file_that_changes_between_two_transfers_is_not_patched_together(server, tmp_path):
    server.cuts["/file.bin"] = [1_500_000]
    other = CONTENT[::-1]

    class Changing(dict):
        def __getitem__(self, path):
            return CONTENT if len(server.transfers(path)) < 2 else other

    server.files = Changing({"/file.bin": b""})
    assert fetch(server, tmp_path, md5="").read_bytes() == other
    assert len(server.transfers("/file.bin")) == 2


def test_a_transfer_that_always_breaks_off_leaves_no_file(server, tmp_path):
    server.cuts["/file.bin"] = [100_000] * 9
    with pytest.raises(DownloadError, match=r"broke off 4 times \(400,000 of 3,000,000 bytes"):
        fetch(server, tmp_path)
    assert not (tmp_path / "below" / "file.bin").exists()
    server.cuts.clear()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert "Range" not in server.transfers("/file.bin")[-1]


def test_other_bytes_are_refused_by_their_checksum(server, tmp_path):
    server.files["/file.bin"] = CONTENT[:-1] + b"\0"
    found = hashlib.md5(server.files["/file.bin"]).hexdigest()
    with pytest.raises(DownloadError, match=rf"has the MD5 sum {found}; must be {MD5}"):
        fetch(server, tmp_path)
    assert lying_in(tmp_path) == []
    assert len(server.transfers("/file.bin")) == 1


def test_a_silent_server_is_left(server, tmp_path):
    server.stalls["/file.bin"] = 1.0
    with pytest.raises(DownloadError, match="the connection was silent"):
        fetch(server, tmp_path, stall=0.1)
    assert not (tmp_path / "below" / "file.bin").exists()


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (500, 4), (503, 4)])
def test_an_answer_without_the_file_is_named(server, tmp_path, status, attempts):
    server.statuses["/file.bin"] = status
    with pytest.raises(DownloadError, match=rf"/file.bin answers {status} \(") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.transfers("/file.bin")) == attempts
    assert lying_in(tmp_path) == []


def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(http_files, "PAUSE_SECONDS", 0.0)
    file = RemoteFile("http://127.0.0.1:9/file.bin", "file.bin")
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/file.bin broke off 4 times"):
        fetch_file(file, tmp_path, stall=1.0)


def test_only_addresses_of_the_web_are_opened(tmp_path):
    (tmp_path / "secret").write_text("content")
    file = RemoteFile((tmp_path / "secret").as_uri(), "file.bin")
    with pytest.raises(DownloadError, match="must begin with https://"):
        fetch_file(file, tmp_path / "cache", stall=1.0)


def test_a_token_stays_with_its_host(server, tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "s3cret")
    server.tokens["/file.bin"] = "s3cret"
    with pytest.raises(DownloadError, match="answers 401"):
        fetch(server, tmp_path)
    server.redirections["/within"] = "/file.bin"
    url = f"{server.address}/within"
    assert fetch(server, tmp_path, url=url, token_from="A_TOKEN").read_bytes() == CONTENT
    with serving() as other:
        other.files["/file.bin"] = CONTENT
        server.redirections["/within"] = f"{other.address}/file.bin"
        assert fetch(server, tmp_path, url=url, token_from="A_TOKEN").read_bytes() == CONTENT
        assert all("Authorization" not in headers for *_, headers in other.asked)


def test_json_is_read_or_the_answer_is_named(server):
    server.files["/answer"] = b'{"one": [1, 2]}'
    assert fetch_json(f"{server.address}/answer", stall=5.0) == {"one": [1, 2]}
    server.files["/answer"] = b"<html>"
    with pytest.raises(DownloadError, match=r"/answer answers with something else than JSON"):
        fetch_json(f"{server.address}/answer", stall=5.0)
    with pytest.raises(DownloadError, match=r"/none answers 404 \(Not Found\)"):
        fetch_json(f"{server.address}/none", stall=5.0)
