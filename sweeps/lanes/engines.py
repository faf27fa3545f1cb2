"""Where the workers of a study run: `ENGINES`, and what an engine has to do.

A new engine is a class like `Engine`, a function that opens it, and a row of the table.
"""

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.lanes import Lanes
from sweeps.lanes.worker import Worker
from sweeps.lanes.worker_process import Child

ENGINES = {
    "local": "sweeps.lanes.engines:open_local",
    "ray": "sweeps.ray.worker:open_ray",
}
"""Name (`--engine`) → `module:function` that opens it, as `open_engine` calls it; loaded when
used.
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Starts the workers of a study, here as processes of this machine. The fields are what a
    worker needs.
    """

    folder: Path
    """The files of trials. The argument `folder` of the lanes is another one where a worker does
    not see this folder.
    """
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    """Bytes that are set aside for a worker."""
    limit: float = 60.0
    """Seconds without a sign of life after which a worker is replaced."""
    checkpoints: bool = False
    """Whether checkpoints lie where all workers see them, though the folder may not."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the workers whose machine does not set them."""

    @property
    def remote(self) -> bool:
        """Whether workers may run on other machines, so that each loads its data by itself."""
        return False

    @property
    def places(self) -> int | None:
        """Workers for which its machines have room, if nothing else uses them; None: not
        known.
        """
        return None

    def worker(
        self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any]
    ) -> Worker:
        """Make a worker, for `WorkerPool`."""
        return Child(name, factory, arguments)

    def shown(self) -> AbstractContextManager[None]:
        """Prepare the folder for the workers, until the block ends. Workers are started within
        it.
        """
        return nullcontext()


def open_engine(
    name: str, *, address: str, packages: Sequence[Path], **needs: Any
) -> AbstractContextManager[Engine]:
    """Open an engine until the block ends.

    Args:
        name: a name of `ENGINES`.
        address: of the cluster, for an engine that has one.
        packages: folders of the Python packages that workers on other machines get from this
            process.
        needs: fields of `Engine`.

    Raises:
        UserError: the engine is not installed, or its cluster cannot be joined.
    """
    engine: AbstractContextManager[Engine] = pkgutil.resolve_name(ENGINES[name])(
        address, packages, **needs
    )
    return engine


@contextmanager
def open_local(address: str, packages: Sequence[Path], **needs: Any) -> Iterator[Engine]:
    """Open the engine whose workers are processes of this machine."""
    yield Engine(**needs)
