"""Another Optuna than the one that serves is told in one line, before anything is imported from
it.
"""

import importlib.metadata
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.requirements import check_optuna

CLAIMED = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def install(folder: Path, name: str, version: str, *needs: str) -> None:
    """Put what an installer leaves of a package into a folder."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir()
    lines = CLAIMED.format(name=name, version=version) + "".join(
        f"Requires-Dist: {need}\n" for need in needs
    )
    (place / "METADATA").write_text(lines)


@pytest.mark.parametrize("version", ["4.9.0", "6.0.0", "3.0"])
def test_another_optuna_is_named_with_the_one_that_is_needed(version, tmp_path, monkeypatch):
    install(tmp_path, "optuna", version)
    install(tmp_path, "project", "1.0", "optuna>=5,<6", "other; extra == 'more'")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as caught:
        check_optuna("project")
    assert (
        str(caught.value)
        == f"optuna: optuna {version} is not <6,>=5. Try `pip install 'optuna<6,>=5'`."
    )


def test_the_optuna_that_is_needed_is_no_error(tmp_path, monkeypatch):
    install(tmp_path, "optuna", "5.4.0")
    install(tmp_path, "project", "1.0", "optuna>=5,<6")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("optuna") == "5.4.0"
    check_optuna("project")
    check_optuna("no-such-project")
