"""What commands say when they refuse."""

import pytest

from vaeexp.commands import main


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Return what a command says on its way out with status 2, which is one line."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("vaeexp: ")
    assert said.count("\n") == 1, said
    return said
