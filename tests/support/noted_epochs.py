"""Note each epoch that real training begins, in whatever process: a `sitecustomize` for the
environment of a command.
"""

import os
from pathlib import Path
from typing import NamedTuple

_SITECUSTOMIZE = """
import importlib.abc, importlib.util, os, sys, time

def note(lanes_class):
    train = lanes_class._train

    def noted(lanes, group, numbers, replay):
        names = [(group.lanes[number].trial.folder_name, group.lanes[number].epoch + 1) for number in numbers]
        run = os.environ.get("SLURM_RESTART_COUNT", "0")
        lines = "".join(f"{{name}} {{epoch}} {{run}} {{os.uname().nodename}}\\n" for name, epoch in names)
        with open({path!r}, "ab", buffering=0) as file:
            file.write(lines.encode())
        if run == "0":
            time.sleep({pause!r})
        return train(lanes, group, numbers, replay)

    lanes_class._train = noted

class Noting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "vaeexp.training.groups.lanes":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            note(module.TrainingLanes)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Noting())
"""  # noqa: E501


class Begun(NamedTuple):
    """An epoch of a trial begins."""

    trial: str
    """Name of the trial's folder."""
    epoch: int
    run: int
    """Times that Slurm has started the job again."""
    machine: str


def noting(folder: Path, pause: float) -> dict[str, str]:
    """Return the variable with which processes note their epochs in the folder. In a job's first
    run each epoch takes `pause` seconds more.
    """
    code = folder / "noting" / "sitecustomize.py"
    code.parent.mkdir()
    code.write_text(_SITECUSTOMIZE.format(path=str(folder / "noting" / "epochs"), pause=pause))
    return {"PYTHONPATH": f"{code.parent}{os.pathsep}{Path(__file__).resolve().parents[2]}"}


def begun(folder: Path) -> list[Begun]:
    """Return what was noted until now."""
    notes = folder / "noting" / "epochs"
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    return [Begun(trial, int(epoch), int(run), machine) for trial, epoch, run, machine in lines]
