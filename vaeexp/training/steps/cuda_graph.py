"""Takes one training step of all rows of a vectorised group, on tensors at fixed addresses.

Shapes: R rows, B batch, C channels, H × W pixels, L latent dimensions of the padded model.

On CUDA a step is captured once as a CUDA graph and then replayed, because launching its hundreds of
small kernels one by one takes longer than running them. The numbers that differ between lanes and
between epochs are written into the same tensors, so a refilled lane needs no new graph. The
captured step is compiled if possible, whole or in its update alone.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from sweeps import warn_once
from vaeexp.compiler import COMPILER_ERRORS, with_gradients_as_weights
from vaeexp.models.vae import VAE
from vaeexp.training import Lane
from vaeexp.training.device import is_out_of_memory, wide_dtype
from vaeexp.training.losses import Objective
from vaeexp.training.optimizers import (
    check_parts,
    corrected,
    move_all,
    move_names,
    moves_of,
    rule_of,
)
from vaeexp.training.steps import Numbers, StepState, lane_loss, same_step, step_of

Rows = dict[str, dict[str, Tensor]]
"""Name, as in `vaeexp.training.State` → parameter or buffer → tensor [R, *its shape]."""

_TRAINED = ("weights", "first", "second", "average")
_WARM = 3  # steps before a capture, because libraries initialise themselves in the first steps


class FusedStep:
    """Trains rows in place: `begin`, then one call for each batch of an epoch."""

    def __init__(
        self,
        template: VAE,
        rows: Rows,
        precision: str,
        *,
        compiled: bool,
        parts: Collection[str],
        objective: Objective,
    ) -> None:
        """`template`: the padded model in which `rows` are embedded, on the device. `compiled`:
        whether to compile the whole step on CUDA, which takes half a minute, so it pays for many
        steps only. `parts`: those of the updates of all lanes (`parts_of`)."""
        some = next(iter(rows["weights"].values()))
        self.template = template
        self.precision = precision
        self.compiled = compiled
        self._objective = objective
        self.device, count, wide = some.device, len(some), wide_dtype(some.device)
        self.sums = torch.zeros(count, 3, device=self.device, dtype=wide)
        """Sums of (loss, distortion, rate) over the steps since `begin`; [R, 3]."""
        self.moments = torch.zeros(
            count, 2, len(template.latent_mask), device=self.device, dtype=wide
        )
        """Sums of μ and μ² over images since `begin`; [R, 2, L]."""
        self._vectors = {name: torch.zeros(count, device=self.device) for name in _VECTORS}
        self._parts = parts
        self._moves = torch.zeros(len(move_names(parts)), count, device=self.device)
        if parts:
            self._vectors["moves"] = self._moves
        self._course: Iterator[Tensor] = iter(())
        """The numbers [K, R] of the updates of the epoch's steps, if lanes have other rules than
        plain Adam and Adamax.
        """
        self._state = {
            name: list(rows[name].values()) for name in (*_TRAINED, "buffers") if name in rows
        }
        self._state["totals"] = [self.sums, self.moments]
        self._names = list(rows["weights"]), list(rows["buffers"])
        self._step = self._step_with(move_all)
        self._batch: tuple[Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None

    def begin(self, lanes: Sequence[Lane | None]) -> None:
        """Start an epoch with the settings of the rows' lanes; a row without a lane (None) takes a
        neighbour's settings.
        """
        neighbour = next(lane for lane in lanes if lane is not None)
        rows = [_vector_entries(lane or neighbour) for lane in lanes]
        for name in _VECTORS:
            self._vectors[name].copy_(torch.tensor([entries[name] for entries in rows]))
        for lane in filter(None, lanes):
            check_parts(lane.settings.train, self._parts)
        if self._parts:
            courses = [_course(lane or neighbour, self._parts) for lane in lanes]
            self._course = iter(torch.from_numpy(np.stack(courses, axis=-1)).to(self.device))
        self.sums.zero_()
        self.moments.zero_()
        self.template.train()

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """Take one step on targets x [R, B, C, H, W] and noise e [R, B, L] or [R, B, S, L]."""
        if self._parts:
            self._moves.copy_(next(self._course))
        if self.device.type != "cuda":
            self._step(self._state, self._vectors, e, x)
            return
        if self._replay is None:
            self._batch = e.clone(), x.clone()
            self._replay = self._captured()
        for static, new in zip(self._batch, (e, x), strict=True):
            static.copy_(new)
        self._replay()

    def _step_with(self, update: Callable[..., None]) -> Callable[..., None]:
        """Return the step with this update of the weights, launched kernel by kernel."""
        move = step_of(
            vmap(lane_loss(self.template, self._objective)),
            *self._names,
            self.device,
            self.precision,
            update=update,
        )

        def step(state: StepState, vectors: Mapping[str, Tensor], e: Tensor, x: Tensor) -> None:
            move(state, _numbers(vectors, self._parts), e, x)
            vectors["step"].add_(1)

        return step

    def whole(self) -> Callable[..., None]:
        """Compile the whole step and return it. Raises one of `COMPILER_ERRORS` if that fails."""
        # Late, because PyTorch's tracer imports slowly.
        from torch.fx.experimental.proxy_tensor import make_fx

        leaves, form = tree_flatten((self._state, self._vectors, *self._batch))
        copies = [leaf.clone() for leaf in leaves]  # copies, because tracing takes a step
        traced = make_fx(lambda *flat: self._step(*tree_unflatten(list(flat), form)))(*copies)
        run = torch.compile(with_gradients_as_weights(traced), dynamic=False)
        return lambda *arguments: run(*tree_leaves(arguments))

    def _ways(self) -> Iterator[Callable[[], Callable[..., None]]]:
        """Yield ways to build the step, the fastest first."""
        if self.compiled:
            yield self.whole
        yield lambda: self._step_with(torch.compile(move_all, dynamic=False))
        yield lambda: self._step

    def _captured(self) -> Callable[[], None]:
        """Capture the step as a graph and return its replay; the rows stay as they are. If no
        capture works and computes the same, warn and return the step launched kernel by kernel."""
        moved = [*tree_leaves(self._state), self._vectors["step"]]
        before = [tensor.clone() for tensor in moved]
        problem = ""
        for way in self._ways():
            try:
                with warnings.catch_warnings():
                    # The compiler's advice, for example to use TF32.
                    warnings.simplefilter("ignore")
                    graph = self._recorded(way(), moved, before)
            except COMPILER_ERRORS as error:
                if is_out_of_memory(error):
                    raise
                problem = " ".join(str(error).split())[:200]
            else:
                runs = (lambda: self._take(self._step), graph.replay)
                same = same_step(runs, self._state, moved, before, self.precision)
                problem = "" if same else "it computes something else"
            torch._foreach_copy_(moved, before)
            if not problem:
                return graph.replay
            warn_once(f"A faster way to train fused lanes is left out: {problem}")
        warn_once("Fused lanes train without CUDA graphs, several times slower.")
        return lambda: self._take(self._step)

    def _take(self, step: Callable[..., None]) -> None:
        """Run this step on the present batch."""
        step(self._state, self._vectors, *self._batch)

    def _recorded(
        self, step: Callable[..., None], moved: list[Tensor], before: list[Tensor]
    ) -> "torch.cuda.CUDAGraph":
        """Warm up on a separate stream, then capture the step, as PyTorch's notes on CUDA graphs
        advise.
        """
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                torch._foreach_copy_(moved, before)
                self._take(step)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._take(step)
        return graph


_VECTORS = ("beta", "rate", "cosine", "decay", "total", "warmup", "free_nats", "adamax", "step")
"""Names of the numbers that differ between lanes, kept in tensors [R] at fixed addresses; `step`
counts the steps taken.
"""


def _vector_entries(lane: Lane) -> Mapping[str, float]:
    """Return a lane's entries of the vectors at its present epoch."""
    train = lane.settings.train
    return {
        "beta": train.beta,
        "rate": train.learning_rate,
        "cosine": float(train.schedule == "cosine"),
        "decay": train.ema_decay,
        "total": float(lane.total_steps),
        "warmup": max(train.warmup_epochs * lane.steps_per_epoch, 1e-9),
        "free_nats": train.free_nats,
        "adamax": float(train.optimizer == "adamax"),
        "step": float(lane.epoch * lane.steps_per_epoch),
    }


def _numbers(vectors: Mapping[str, Tensor], parts: Collection[str]) -> Numbers:
    """Return the numbers [R] of the next step, by the formulas that `vaeexp.training` has for one
    lane.
    """
    step = vectors["step"]
    beta = vectors["beta"] * ((step + 1) / vectors["warmup"]).clamp(max=1)
    progress = step / vectors["total"]
    share = 1 - torch.minimum(vectors["decay"], (1 + step) / (10 + step))
    if parts:
        moves = dict(zip(move_names(parts), vectors["moves"].unbind(), strict=True))
    else:
        falling = 0.5 * (1 + torch.cos(torch.pi * step / vectors["total"]))
        learning_rate = vectors["rate"] * torch.where(vectors["cosine"].bool(), falling, 1.0)
        size, epsilon = corrected(step + 1, learning_rate, vectors["adamax"])
        moves = {"size": size, "epsilon": epsilon, "adamax": vectors["adamax"]}
    return Numbers(beta, vectors["free_nats"], progress, share, moves)


def _course(lane: Lane, parts: Collection[str]) -> np.ndarray:
    """Return the numbers of the lane's updates in its next epoch, float32 [S steps, K numbers].

    Computed here in float64 and not on the device, because the corrections of RAdam and NAdam lose
    their digits in float32.
    """
    first = lane.epoch * lane.steps_per_epoch
    steps = np.arange(first, first + lane.steps_per_epoch)
    learning_rates = np.array([lane.learning_rate(step) for step in steps.tolist()])
    moves = moves_of(rule_of(lane.settings.train), steps + 1, learning_rates)
    columns = [np.broadcast_to(moves[name], steps.shape) for name in move_names(parts)]
    return np.stack(columns, axis=-1).astype(np.float32)
