"""What the sweep tells people to type."""

import sys

from vaeexp.console import program


def test_the_program_is_named_so_that_it_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert program() == "vaeexp"
    installed = tmp_path / "venv" / "bin" / "vaeexp"
    installed.parent.mkdir(parents=True)
    installed.write_text("#!/bin/sh\n")
    assert program() == "venv/bin/vaeexp"
    monkeypatch.setenv("PATH", str(installed.parent))
    installed.chmod(0o755)
    assert program() == "vaeexp"
