"""The network of the user's own in docs/guide/own-network.md, as it stands there: found, trained,
tracked, loaded again.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import without_mnist

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "docs" / "guide" / "own-network.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess:
    """In `place`, without it on the module path, as an installed command is."""
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(
        command, cwd=place, env=without_mnist(place), capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name in re.findall(r"is `(\w+\.\w+)`", SECTION):
        kind = {".py": "python", ".yaml": "yaml"}[Path(name).suffix]
        (folder / name).write_text(
            next(text for language, text in BLOCKS if language == kind), encoding="utf-8"
        )
    return folder


def test_the_section_is_whole(place):
    assert [language for language, _ in BLOCKS] == ["python", "yaml", "sh", "python", "python"]
    assert sorted(path.name for path in place.iterdir()) == ["my_networks.py", "pooled.yaml"]


@pytest.mark.slow
def test_the_command_trains_it_in_child_processes_and_the_run_loads_again(
    place, empty_store, swept_smoke
):
    (place / "mlruns").mkdir()
    shutil.copy(empty_store, place / "mlruns")
    swept_smoke.copy_cache_to(place)
    words = next(text for language, text in BLOCKS if language == "sh").split()
    assert words[0] == "vaeexp"
    done = run(place, "-m", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    folders = sorted((place / "mlruns" / "trials" / "pooled").iterdir())
    assert [folder.name for folder in folders] == [f"trial-{number:04d}" for number in range(4)]
    networks = [
        json.loads((folder / "settings.json").read_text())["model"]["network"] for folder in folders
    ]
    assert "my_networks:Pooled" in networks
    own = folders[networks.index("my_networks:Pooled")].name
    loading = next(text for _, text in BLOCKS if "load_model" in text).replace("trial-0000", own)
    (place / "load.py").write_text(
        f"{loading}\nprint(tuple(images.shape), [type(m).__name__ for m in vae.encoder][1])\n"
    )
    loaded = run(place, "load.py")
    assert loaded.stdout.strip() == "(16, 1, 28, 28) BatchNorm2d", loaded.stderr
    drawn = run(place, "-m", "vaeexp", "sample", f"pooled/{own.removeprefix('trial-')}", "-n", "2")
    assert drawn.returncode == 0, "the study began here: " + drawn.stderr
    shutil.copytree(place / "mlruns" / "trials", place / "sent" / "trials")
    refused = run(
        place, "-m", "vaeexp", "sample", f"pooled/{own.removeprefix('trial-')}", "--runs", "sent"
    )
    assert refused.returncode == 2
    assert "--allow-code" in refused.stderr
    (place / "my_networks.py").rename(place / "my_other_networks.py")
    missing = run(place, "load.py")
    assert missing.returncode != 0
    assert "'my_networks:Pooled' cannot be imported" in missing.stderr
