"""A worker on another machine refuses to train what would not be comparable."""

import json
from pathlib import Path

import pytest
import torch
from mnist_files import write_files

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.runs.provenance import arithmetic
from vaeexp.runs.worker import open_remote_lanes
from vaeexp.settings import Settings

RUNNING = {"precision": "float32", "fuse": False, "compile": False, "threads": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_files(root / "MNIST" / "raw", training=60, test=20)
    return root


def open_lanes_here(folder: Path, images: Path, **changes):
    settings = Settings().with_params(
        {"validation_size": 20, "binarisation": "dynamic", "hidden": (8,)}
    )
    fingerprint = open_dataset(settings.data, root=images, say=lambda text: None).fingerprint
    arguments = {
        "settings": settings,
        "fingerprints": [({"binarisation": "dynamic"}, fingerprint)],
        "data": str(images),
        "full_data": False,
        "device": "cpu",
        "maxima": {},
        "averaged": False,
        "study": "s",
        "study_seed": 1,
        "folder": str(folder),
        "lanes": 2,
        "rows": 2,
        "checkpoint_seconds": 20.0,
    }
    return open_remote_lanes(**arguments | RUNNING | changes)


def test_a_machine_like_the_drivers_with_the_same_images_trains(tmp_path, images):
    assert open_lanes_here(tmp_path, images).width == 2


def test_a_worker_says_what_decides_its_numbers(tmp_path, images, monkeypatch):
    kind = open_lanes_here(tmp_path, images).kind
    assert kind.items() > arithmetic("cpu", **RUNNING).items()
    assert kind["vector units"] == torch.backends.cpu.get_cpu_capability()
    assert len(kind["images, dynamic"]) == 64
    assert json.loads(json.dumps(kind)) == kind
    monkeypatch.setattr("vaeexp.runs.worker.why_not_compiled", lambda: "there is no C++ compiler")
    uncompiled = open_lanes_here(tmp_path, images, compile=True).kind
    assert uncompiled["compile"] == "off, because there is no C++ compiler", (
        "its kernels are others"
    )


def test_other_images_are_refused(tmp_path, images):
    write_files(tmp_path / "other" / "MNIST" / "raw", training=70, test=20)
    with pytest.raises(UserError, match=r"has other images than the driver: .*VAEEXP_DATA"):
        open_lanes_here(tmp_path, images, data=str(tmp_path / "other"))
