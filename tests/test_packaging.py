"""The wheel: everything that a user needs is in it, and nothing else is needed from the
repository.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel puts into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder),
    ]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("vaeexp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_holds_both_packages_the_studies_and_the_command(installed):
    shipped = {path.name for path in (ROOT / "studies").glob("*.yaml")}
    assert {path.name for path in (installed / "vaeexp" / "studies").glob("*")} == shipped
    modules = {
        path.relative_to(ROOT)
        for package in ("sweeps", "vaeexp")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path.relative_to(installed) for path in installed.rglob("*.py")} == modules
    for name in ("page/page.css", "summary.schema.json"):
        assert (installed / "vaeexp" / "report" / name).read_bytes() == (
            ROOT / "vaeexp" / "report" / name
        ).read_bytes()
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "vaeexp = vaeexp.commands:main" in entry_points.read_text()


def test_the_links_of_its_readme_lead_to_the_repository(installed):
    (metadata,) = installed.glob("*.dist-info/METADATA")
    text = re.sub(r"```.*?```", "", metadata.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [one or other for one, other in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)]
    here = re.findall(
        r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert len(links) == len(here)
    assert not [link for link in links if not link.startswith("https://")]
    for link in links:
        if "/vaeexp/vaeexp/" in link:
            assert (ROOT / link.partition("/main/")[2].partition("#")[0]).exists(), link
    assert any(
        link.startswith("https://raw.githubusercontent.com/") and link.endswith(".png")
        for link in links
    )


def test_it_finds_its_studies_from_any_folder(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vaeexp", "show", "beta_mnist"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(installed / "vaeexp" / "studies" / "beta_mnist.yaml") in done.stdout.replace(
        "\n", ""
    )
