"""Workers on a Ray cluster: the driver joins the cluster, and each worker is an actor that asks for
its resources.

Ray places actors, ends them with their driver and tells when one has died or its machine is gone.
Ray does not notice an actor that hangs, so each worker has a thread that takes its pulse.
"""

import logging
import os
import pickle
import signal
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from sweeps.errors import EngineLostError, UserError, warn_once
from sweeps.files import UNFINISHED, write_whole
from sweeps.lanes import Failure, FailureKind, Lanes
from sweeps.lanes.engines import Engine
from sweeps.lanes.interrupts import uninterrupted
from sweeps.lanes.worker import Lost, Worker
from sweeps.program import how_to_install
from sweeps.ray.actor import LanesActor, Part, Place, SharedFolderProbe

PATIENCE = 30.0
"""Seconds to wait for a worker to start before the study goes on without it; a fresh machine
imports libraries that long.
"""
_PULSES = 6
"""Pulses within the limit, so that a single late one ends nothing."""
_VERDICT_SECONDS = 5.0
"""To learn from Ray why an actor cannot be reached. It knows within milliseconds that a process has
died.
"""
_THREADS = {"lanes": 1, "pulse": 1}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RayEngine(Engine):
    """Starts the workers of a study as actors on a Ray cluster."""

    sign: str = field(default_factory=lambda: f"{UNFINISHED}{uuid.uuid4().hex}")
    own: bool = False
    """Whether this process has started the cluster, on this machine alone."""

    @property
    def _cut_off(self) -> Path:
        return self.folder / f"{UNFINISHED}cut-off"

    @property
    def remote(self) -> bool:
        return True

    @property
    def places(self) -> int:
        nodes = [node["Resources"] for node in _import_ray().nodes() if node["Alive"]]
        demands = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        wanted = {name: demand for name, demand in demands.items() if demand}
        places = [min(node.get(name, 0) // wanted[name] for name in wanted) for node in nodes]
        return int(sum(places))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep a file in the folder by which workers know that they see it, once those that an
        earlier driver could not reach have ended.
        """
        path = self.folder / self.sign
        self.folder.mkdir(parents=True, exist_ok=True)
        if seconds := self._seconds_left():
            ends = f"they will surely have ended in {seconds:.0f} seconds"
            _log.warning(
                "%s", f"workers of the driver before this one could not be reached; {ends}"
            )
            time.sleep(seconds)
        path.write_text(self.sign, encoding="ascii")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if not self._seconds_left():
                self._cut_off.unlink(missing_ok=True)
            with suppress(OSError):  # of a new study that was refused, the folders are empty
                self.folder.rmdir()
                self.folder.parent.rmdir()

    def remember(self, seconds: float) -> None:
        """Keep on file that a worker may train on for so long, unheard, because this driver may end
        before.
        """
        if seconds > self._seconds_left():
            text = f"{time.time() + seconds} {seconds}"
            write_whole(self._cut_off, lambda path: path.write_text(text, encoding="ascii"))

    def _seconds_left(self) -> float:
        try:
            until, seconds = map(float, self._cut_off.read_text(encoding="ascii").split())
            return min(max(0.0, until - time.time()), seconds)  # a clock may have been set
        except (OSError, ValueError):
            return 0.0

    def check_alive(self) -> None:
        """Raise EngineLostError where the only node of a cluster of this process has died, because
        no other node can come.
        """
        if self.own and not any(node["Alive"] for node in _import_ray().nodes()):
            problem = "got local; the only node of this Ray has died. Give the same command again."
            raise EngineLostError("--address", problem)

    def worker(
        self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any]
    ) -> "RayWorker":
        return RayWorker(self, name, factory, arguments)


@contextmanager
def open_ray(address: str, packages: Sequence[Path], **needs: Any) -> Iterator[RayEngine]:
    """Join a Ray cluster (`join_cluster`) and open the engine whose workers are its actors."""
    with join_cluster(address, packages):
        yield RayEngine(own=address == "local", **needs)


@contextmanager
def join_cluster(address: str, packages: Sequence[Path]) -> Iterator[None]:
    """Join a running Ray cluster of which this machine is a part, and leave it at the end.

    Args:
        address: `auto` for the cluster on this machine or of `RAY_ADDRESS`, else HOST:PORT of its
            head.
        packages: folders of the Python packages that the workers get from this process.

    Raises:
        UserError: ray is missing, no cluster answers, or its versions of Ray and Python are others.
    """
    given = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if given.startswith("ray://"):
        problem = (
            f"got {given}; must be `auto` or HOST:PORT. Workers of a Ray Client end with its "
            "connection. Start the command on a machine of the cluster, or with `ray job submit`."
        )
        raise UserError("--address", problem)
    ray = _import_ray()
    before = signal.getsignal(signal.SIGTERM)
    try:
        # Without a folder of their own, workers would find modules in the driver's folder first.
        with tempfile.TemporaryDirectory() as empty:
            (Path(empty) / "empty").touch()
            # Libraries of a worker have one thread until its lanes ask for more, as in a process of
            # this machine.
            environment = {
                "py_modules": [str(path) for path in packages],
                "env_vars": {"OMP_NUM_THREADS": "1"},
            }
            options = {"runtime_env": environment | {"working_dir": empty}, "log_to_driver": False}
            ray.init(address=address, logging_level=logging.WARNING, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        lines = " ".join(str(error).split())
        problem = f"no Ray cluster can be joined at '{address}': {lines}"
        if "RAY_AUTH_MODE" not in os.environ:
            problem += ". Try RAY_AUTH_MODE=token if it asks for a token."
        raise UserError("--address", problem) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray sets its own
    try:
        yield
    finally:
        ray.shutdown()


class RayWorker(Worker):
    """The driver's end of one actor."""

    patience = PATIENCE

    def __init__(
        self,
        engine: RayEngine,
        name: str,
        factory: Callable[..., Lanes],
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__(name, factory, arguments)
        self._engine = engine
        self._ray = _import_ray()
        self._title = name
        self._actor: Any = None
        self._answers: deque[Any] = deque()
        """Generators of references to parts of answers, one for each command."""
        self._messages: deque[bytes] = deque()
        self._broken: Exception | None = None
        """Why no further part of an answer comes."""
        self._place: Place | None = None
        self._batch = 0
        self._over = threading.Event()
        self._silent = False
        self._unreached: bool | None = None
        """Of an actor that is lost, whether its process may live on all the same."""
        self._alive_at: float | None = None
        """Time (`time.monotonic`) of the last sign of life."""

    @classmethod
    def ready(cls, workers: Collection[Self], seconds: float | None) -> set[Self]:
        ray = _import_ray()
        deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
        while True:
            if found := {worker for worker in workers if worker._messages or worker._broken}:
                return found
            next(iter(workers))._engine.check_alive()
            by_answer = {worker._answers[0]: worker for worker in workers}
            left = max(0.0, deadline - time.monotonic())
            # In turns of a second, so that Ctrl-C reaches this process.
            if ray.wait([*by_answer], num_returns=1, timeout=min(1.0, left))[0]:
                for answer in ray.wait([*by_answer], num_returns=len(by_answer), timeout=0)[0]:
                    by_answer[answer]._take_part()
            elif not left:
                return set()

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def demand(self) -> str:  # type: ignore[override]
        engine = self._engine
        there = self._ray.cluster_resources()
        needs = {"CPU": engine.cpus, "GPU": engine.gpus, "memory": engine.memory}
        amounts = [f"{name} {need:g} of {there.get(name, 0):g}" for name, need in needs.items()]
        return f"each needs, of what the cluster has: {', '.join(amounts)}"

    def start(self) -> None:
        engine = self._engine
        engine.check_alive()
        actor = self._ray.remote(concurrency_groups=_THREADS)(LanesActor)
        options = {
            "num_cpus": engine.cpus,
            "num_gpus": engine.gpus,
            "memory": engine.memory,
            "scheduling_strategy": "SPREAD",
        }
        # Replacing a worker needs what only the driver knows, so Ray starts and repeats nothing by
        # itself.
        self._actor = actor.options(**options, max_restarts=0, max_task_retries=0).remote(
            engine.limit
        )
        self._batch = 0
        self._over = threading.Event()
        self._silent = False
        self._alive_at = self._broken = self._unreached = None
        self._call(
            "open",
            self.recipe,
            dict(engine.environment),
            SharedFolderProbe(str(engine.folder.absolute()), engine.sign, engine.checkpoints),
        )
        self._pulses = threading.Thread(
            target=self._take_pulses, args=(self._actor, self._over), daemon=True
        )
        self._pulses.start()

    def stop_early(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._actor.stop_early.options(concurrency_group="pulse").remote()

    def kill(self) -> None:
        if self._actor is not None:
            self._over.set()
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(self._actor)
            self._pulses.join(1.0)
            self._leave()
            self._actor = None
            self.owed = 0
            self.up = False
            self._answers.clear()
            self._messages.clear()

    def _post(self, command: str, arguments: tuple) -> None:
        self._call("work", command, pickle.dumps(arguments))

    def _call(self, method: str, *arguments: Any) -> None:
        options = {"concurrency_group": "lanes", "num_returns": "streaming"}
        self._answers.append(getattr(self._actor, method).options(**options).remote(*arguments))

    def _read(self) -> bytes:
        self.ready([self], None)
        if self._messages:
            return self._messages.popleft()
        assert self._broken is not None
        raise self._death(self._broken) from None

    @uninterrupted()
    def _take_part(self) -> None:
        """Take in the next part of an answer, which is there. Of an actor that has died, keep the
        error for `_read`.
        """
        self.torn = True  # an interrupt from here on loses the part
        try:
            part: Part = self._ray.get(next(self._answers[0]))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            self._broken = error
        else:
            if part.place is not None:
                self._come_to(part.place)
            for name, content in part.files.items():
                write_whole(self._engine.folder / name, partial(Path.write_bytes, data=content))
            self._messages += part.messages
            if part.last:
                self._answers.popleft()
        self.torn = False

    def _come_to(self, place: Place) -> None:
        self._place = place
        self.shares = place.shares
        self.node = place.host
        self.name = f"{self._title} on {place.host}"
        self.resumes = place.shares or self._engine.checkpoints
        if not place.shares:
            start = "their newest checkpoint" if self.resumes else "their start"
            warn_once(
                f"{place.host} does not see the folder {self._engine.folder}: results go over "
                "Ray, and trials that pause there, are stopped or lose their worker go on from "
                f"{start}."
            )

    def _take_pulses(self, actor: Any, over: threading.Event) -> None:
        """Hear from an actor until it is over; end it when it has been silent for too long."""
        limit = self._engine.limit
        try:
            # An actor that waits for a place to run has no pulse yet.
            self._ray.get(actor.pulse.options(concurrency_group="pulse").remote())
            heard = self._alive_at = time.monotonic()
            while not over.wait(limit / _PULSES):
                pulse = actor.pulse.options(concurrency_group="pulse").remote()
                batch = self._ray.get(pulse, timeout=max(0.0, heard + limit - time.monotonic()))
                if not over.is_set():
                    self._batch = batch
                    heard = time.monotonic()
                    self._alive_at = heard
        except self._ray.exceptions.GetTimeoutError:
            if not over.is_set():
                self._silent = True
                self._ray.kill(actor)
        except self._ray.exceptions.RayError:
            pass  # its death shows in the answer that it owes

    def _death(self, error: Exception) -> Lost:
        """Return why the actor is of no more use."""
        exceptions = self._ray.exceptions
        if isinstance(error, exceptions.RayTaskError):
            last_line = str(error).strip().splitlines()[-1]
            return Lost(Failure(kind="error", message=last_line), str(error))
        if not self._silent:
            error = self._verdict(error)
        kind: FailureKind = (
            "out_of_memory" if isinstance(error, exceptions.OutOfMemoryError) else "crashed"
        )
        gone = self._machine_is_gone(error)
        self._unreached = gone
        how = (
            f"gave no sign of life for {self._engine.limit:g} seconds"
            if self._silent
            else f"died: {_in_short(error)}"
        )
        detail = f"is lost with its machine ({how})" if gone else how
        return Lost(Failure(kind=kind, message=f"its process {how}"), detail, machine=gone)

    def _verdict(self, error: Exception) -> Exception:
        """Return Ray's last word on an actor that could not be reached."""
        exceptions = self._ray.exceptions
        deadline = time.monotonic() + _VERDICT_SECONDS
        while not isinstance(error, exceptions.ActorDiedError | exceptions.OutOfMemoryError):
            if time.monotonic() > deadline:
                break
            try:
                # No pulse, because a pulse would keep an unreachable actor alive.
                self._ray.get(
                    self._actor.__ray_ready__.options(concurrency_group="pulse").remote(),
                    timeout=1.0,
                )
                break  # it lives, but an answer is lost
            except exceptions.GetTimeoutError:
                continue
            except exceptions.RayError as newer:
                error = newer
                time.sleep(0.1)
        return error

    def _leave(self) -> None:
        """Find out when an actor that may be out of reach has surely left: its machine may only be
        cut off, and Ray may say so early.
        """
        now = time.monotonic()
        limit = self._engine.limit
        since = now if self._alive_at is None else self._alive_at
        overdue = self._unreached is None and now - since > 2 * limit / _PULSES
        if self.resumes and (self._unreached or overdue):
            self.gone_at = since + limit
            with suppress(OSError):  # of a full disk
                self._engine.remember(self.gone_at - now)

    def _machine_is_gone(self, error: Exception) -> bool:
        """Tell whether no process is to blame but a machine, or the network to it."""
        if isinstance(
            error, self._ray.exceptions.ActorUnavailableError
        ) or "its node has died" in str(error):
            return True
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return self._place is not None and self._place.node not in alive


def _in_short(error: Exception) -> str:
    """Return what Ray says about a death, without what it says about every death."""
    text = " ".join(str(error).split())
    for start in ("Worker exit detail: ", "The actor is dead because "):
        text = text.rpartition(start)[2]
    return text.partition(" Some common causes")[0]


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine", f"got ray, which is not installed. Try: {how_to_install('ray', 'ray')}."
        ) from None
    return ray
