"""The faults of the campaign. Each does its harm in a folder, at a moment or place drawn by its
seed, and follows the remedies.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from file_faults import damage_between, damage_finished, damage_taken_over, fill_disk
from place import NAME
from process_faults import jump_clock, kill_all, kill_child, limit_memory, send_to_driver
from scene import Scene
from server_faults import damage_mlflow, stop_database, stop_tracking


@dataclass(frozen=True)
class Fault:
    """A function that does the harm and brings the study to its end, and the options of the sweep
    that it needs.
    """

    do: Callable[[Scene], None]
    options: tuple[str, ...] = ()


FAULTS: dict[str, Fault] = {
    "SIGKILL of the driver": Fault(send_to_driver(signal.SIGKILL)),
    "SIGKILL of a worker": Fault(kill_child("worker")),
    "SIGKILL of MLflow's process": Fault(kill_child("mirror")),
    "SIGKILL of all processes": Fault(kill_all),
    "SIGTERM": Fault(send_to_driver(signal.SIGTERM)),
    "SIGINT": Fault(send_to_driver(signal.SIGINT)),
    "SIGHUP": Fault(send_to_driver(signal.SIGHUP)),
    "too little memory": Fault(limit_memory),
    "clock jumps": Fault(jump_clock),
    "disk full": Fault(fill_disk),
    "journal damaged": Fault(damage_between(f"mlruns/journal/{NAME}.log")),
    "checkpoint damaged": Fault(damage_between("mlruns/trials/*/*/checkpoint*.safetensors")),
    "prepared data damaged": Fault(damage_between("cache/prepared/*/*")),
    "classifier damaged": Fault(damage_taken_over("classifiers")),
    "compiled step damaged": Fault(damage_taken_over("compiled"), options=("--compile", "on")),
    "weights damaged": Fault(damage_finished("weights.safetensors", read_by_evaluate=True)),
    "last weights damaged": Fault(damage_finished("last.safetensors", read_by_evaluate=False)),
    "settings damaged": Fault(damage_finished("settings.json", read_by_evaluate=True)),
    "result damaged": Fault(damage_finished("result.json", read_by_evaluate=False)),
    "pictures damaged": Fault(damage_finished("pictures.npz", read_by_evaluate=False)),
    "PostgreSQL killed": Fault(stop_database),
    "tracking server killed": Fault(stop_tracking),
    "MLflow's store damaged": Fault(damage_mlflow),
}
"""To add a fault, add a row."""
