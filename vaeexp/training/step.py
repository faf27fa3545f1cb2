"""One training step of all rows of a stacked group, on tensors that stay where they are.

Shapes: R rows, B batch, P parameters and L latent dimensions of the padded model.

On CUDA a step is captured once as a CUDA graph and then replayed: launching its hundreds of small kernels one by one takes
longer than running them. All that differs between lanes and between epochs is written into the same tensors, so a
refilled lane needs no new graph.
"""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, vmap

from vaeexp.training.lane import Lane, State
from vaeexp.training.layout import Layout
from vaeexp.training.memory import is_out_of_memory
from vaeexp.training.objective import lane_loss
from vaeexp.training.optim import update_rows
from vaeexp.training.precision import training_precision, wide_dtype
from vaeexp.vae import VAE

__all__ = ["FusedStep"]

_WARM = 3  # steps before a capture, in which libraries set themselves up
_TOLERANCE = 1e-3  # relative to the largest, between a replayed step and the same step launched kernel by kernel
_log = logging.getLogger(__name__)


class FusedStep:
    """Moves the rows of `tensors` in place. Between `begin` and `end` it is called once for each batch."""

    def __init__(self, template: VAE, layout: Layout, buffer_layout: Layout, tensors: State, precision: str) -> None:
        """
        Args:
            template: the model that rows are embedded in, on the device.
            layout: of its parameters in a row; `buffer_layout` of its buffers.
            tensors: name → rows, as `vaeexp.training.lane.State` has them for one lane.
            precision: `float32` or `bf16`.
        """
        weights = tensors["weights"]
        self.template, self.tensors, self.precision, self.buffer_layout = template, tensors, precision, buffer_layout
        self.device, rows = weights.device, len(weights)
        wide = wide_dtype(self.device)
        self.sums = torch.zeros(rows, 3, device=self.device, dtype=wide)
        """Of (loss, distortion, rate) over the steps since `begin`."""
        self.moments = torch.zeros(rows, 2, len(template.latent_mask), device=self.device, dtype=wide)
        """Of μ and μ², summed over images."""
        self._vectors = _LaneVectors(rows, self.device)
        self._leaves = {name: view.detach().requires_grad_() for name, view in layout.views(weights).items()}
        self._buffers = buffer_layout.read(tensors["buffers"])
        self._grads = torch.zeros_like(weights)
        self._grad_views = list(layout.views(self._grads).values())
        self._loss_of, self._update = vmap(lane_loss(template)), update_rows
        self._batch: tuple[Tensor, Tensor] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def begin(self, lanes: Sequence[Lane | None]) -> None:
        """Take the rows as they are now, with the settings of their lanes; rows without a lane take a neighbour's."""
        self._vectors.fill(lanes)
        self.buffer_layout.load(self.tensors["buffers"], self._buffers)
        self.sums.zero_()
        self.moments.zero_()
        self.template.train()

    def end(self) -> None:
        """Put the running statistics back into the rows."""
        self.buffer_layout.write(self.tensors["buffers"], self._buffers)

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """One step on targets x [R, B, C, H, W] and noise e [R, B, L]."""
        if self.device.type != "cuda":
            self._compute(x, e)
            return
        if self._batch is None:
            self._batch = x.clone(), e.clone()
            self._graph = self._capture()
        for here, new in zip(self._batch, (x, e), strict=True):
            here.copy_(new)
        if self._graph is None:
            self._compute(*self._batch)
        else:
            self._graph.replay()

    def _compute(self, x: Tensor, e: Tensor) -> None:
        tensors, vectors = self.tensors, self._vectors
        with training_precision(self.device, self.precision):
            loss = self._loss_of(self._leaves, self._buffers, x, e, vectors.beta(), vectors.free_nats)
        # Copying into the flat layout also undoes the transposed strides of gradients that come out of vmap.
        torch._foreach_copy_(self._grad_views, torch.autograd.grad(loss.loss.sum(), list(self._leaves.values())))
        self._update(
            tensors["weights"], self._grads, tensors["first"], tensors["second"],
            step=vectors.step + 1, learning_rate=vectors.learning_rate(), adamax=vectors.adamax,
        )  # fmt: skip
        if "average" in tensors:
            share = (1 - vectors.average_decay())[:, None]
            tensors["average"].add_(share * (tensors["weights"] - tensors["average"]))
        self.sums += torch.stack([loss.loss.detach(), loss.distortion, loss.rate], dim=1)
        self.moments += torch.stack([loss.mean_sum, loss.mean_square_sum], dim=1)
        vectors.step += 1

    def _capture(self) -> "torch.cuda.CUDAGraph | None":
        """The step as a graph, with nothing moved; None, and a warning, where it cannot be captured or computes otherwise.

        The update is compiled into one kernel where there is a compiler.
        """
        moved = [*self.tensors.values(), *self._buffers.values(), self.sums, self.moments, self._vectors.step]
        before = [tensor.clone() for tensor in moved]
        problem = ""
        for self._update in (torch.compile(update_rows, dynamic=False), update_rows):
            try:
                graph = self._recorded(moved, before)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                problem = " ".join(str(error).split())[:200]
            else:
                problem = "" if self._repeats(graph, moved, before) else "the graph computes something else"
            torch._foreach_copy_(moved, before)
            if not problem:
                return graph
        _log.warning("Training without CUDA graphs, several times slower: %s", problem)
        return None

    def _recorded(self, moved: list[Tensor], before: list[Tensor]) -> "torch.cuda.CUDAGraph":
        """As PyTorch's notes on CUDA graphs have it: warm up on a stream of its own, then capture."""
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                torch._foreach_copy_(moved, before)
                self._compute(*self._batch)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute(*self._batch)
        return graph

    def _repeats(self, graph: "torch.cuda.CUDAGraph", moved: list[Tensor], before: list[Tensor]) -> bool:
        """Whether a replay gives the loss and the first moments of the step launched kernel by kernel.

        Not the weights: where a gradient is all but 0, rounding decides which way Adam goes.
        """
        found = []
        for run in (lambda: self._compute(*self._batch), graph.replay):
            torch._foreach_copy_(moved, before)
            run()
            found.append((self.sums.clone(), self.tensors["first"].clone()))
        return all(
            torch.allclose(
                mine, theirs, rtol=_TOLERANCE, atol=_TOLERANCE * float(theirs.nan_to_num().abs().max()), equal_nan=True
            )
            for theirs, mine in zip(*found, strict=True)
        )


class _LaneVectors:
    """What differs between lanes, as tensors [R] that stay where they are; `step` counts the steps taken."""

    def __init__(self, rows: int, device: torch.device) -> None:
        names = ("beta", "rate", "cosine", "decay", "total", "warmup", "free_nats", "adamax", "step")
        self._vectors = {name: torch.zeros(rows, device=device) for name in names}
        self.free_nats, self.adamax, self.step = (self._vectors[name] for name in ("free_nats", "adamax", "step"))

    def fill(self, lanes: Sequence[Lane | None]) -> None:
        """Write the settings of these lanes, and where they stand; an empty row takes those of the first lane."""
        known = next(lane for lane in lanes if lane is not None)
        values = [_numbers(lane or known) for lane in lanes]
        for name, vector in self._vectors.items():
            vector.copy_(torch.tensor([each[name] for each in values]))

    def beta(self) -> Tensor:
        return self._vectors["beta"] * ((self.step + 1) / self._vectors["warmup"]).clamp(max=1)

    def learning_rate(self) -> Tensor:
        falling = 0.5 * (1 + torch.cos(torch.pi * self.step / self._vectors["total"]))
        return self._vectors["rate"] * torch.where(self._vectors["cosine"].bool(), falling, 1.0)

    def average_decay(self) -> Tensor:
        return torch.minimum(self._vectors["decay"], (1 + self.step) / (10 + self.step))


def _numbers(lane: Lane) -> Mapping[str, float]:
    """A lane's entries of the vectors."""
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
