"""One training step of all rows of a stacked group, on tensors that stay where they are.

Shapes: R rows, B batch, P parameters and L latent dimensions of the padded model.

On CUDA a step is captured once as a CUDA graph and then replayed: launching its hundreds of small kernels one by one takes
longer than running them. All that differs between lanes and between epochs is written into the same tensors, so a
refilled lane needs no new graph. What is captured is compiled, if it can be: the whole step, or its update of the weights.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from vaeexp.compiler import COMPILER_ERRORS
from vaeexp.console import warn_once
from vaeexp.models.vae import VAE
from vaeexp.training.device import is_out_of_memory, wide_dtype
from vaeexp.training.lane import Lane
from vaeexp.training.loss import lane_loss
from vaeexp.training.optimizers import corrected, move_all
from vaeexp.training.steps.functional import Numbers, agree, step_of
from vaeexp.training.steps.fx_passes import with_gradients_as_weights

Rows = dict[str, dict[str, Tensor]]
"""name, as in `vaeexp.training.lane.State` → parameter or buffer → [R, *its shape], each a tensor of its own."""

_TRAINED = ("weights", "first", "second", "average")
_WARM = 3  # steps before a capture, in which libraries set themselves up


class FusedStep:
    """Moves rows in place: `begin`, then a call for each batch of an epoch."""

    def __init__(self, template: VAE, rows: Rows, precision: str, *, compiled: bool) -> None:
        """
        Args:
            template: the model that rows are embedded in, on the device.
            rows: what is moved.
            precision: `float32` or `bf16`.
            compiled: whether so many steps are to come that on CUDA all of a step is compiled, which takes half a minute.
        """
        some = next(iter(rows["weights"].values()))
        self.template, self.precision, self.compiled = template, precision, compiled
        self.device, count = some.device, len(some)
        wide = wide_dtype(self.device)
        self.sums = torch.zeros(count, 3, device=self.device, dtype=wide)
        """Of (loss, distortion, rate) over the steps since `begin`."""
        self.moments = torch.zeros(count, 2, len(template.latent_mask), device=self.device, dtype=wide)
        """Of μ and μ², summed over images."""
        self._vectors = {name: torch.zeros(count, device=self.device) for name in _VECTORS}
        self._state = {name: list(rows[name].values()) for name in (*_TRAINED, "buffers") if name in rows}
        self._state["totals"] = [self.sums, self.moments]
        self._names = list(rows["weights"]), list(rows["buffers"])
        self._step = self._step_with(move_all)
        self._batch: tuple[Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None

    def begin(self, lanes: Sequence[Lane | None]) -> None:
        """Take the rows as they are now, with the settings of their lanes; rows without a lane take a neighbour's."""
        neighbour = next(lane for lane in lanes if lane is not None)
        rows = [_vector_entries(lane or neighbour) for lane in lanes]
        for name, vector in self._vectors.items():
            vector.copy_(torch.tensor([entries[name] for entries in rows]))
        self.sums.zero_()
        self.moments.zero_()
        self.template.train()

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """One step on targets x [R, B, C, H, W] and noise e [R, B, L]."""
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
        """The step launched kernel by kernel."""
        move = step_of(vmap(lane_loss(self.template)), *self._names, self.device, self.precision, update=update)

        def step(state: Mapping[str, list[Tensor]], vectors: Mapping[str, Tensor], e: Tensor, x: Tensor) -> None:
            move(state, _numbers(vectors), e, x)
            vectors["step"].add_(1)

        return step

    def whole(self) -> Callable[..., None]:
        """The step compiled from its first to its last operation. Raises what the compiler does."""
        from torch.fx.experimental.proxy_tensor import make_fx  # PyTorch's tracer takes a while to import

        leaves, form = tree_flatten((self._state, self._vectors, *self._batch))
        copies = [leaf.clone() for leaf in leaves]  # tracing takes a step, too
        traced = make_fx(lambda *flat: self._step(*tree_unflatten(list(flat), form)))(*copies)
        run = torch.compile(with_gradients_as_weights(traced), dynamic=False)
        return lambda *arguments: run(*tree_leaves(arguments))

    def _ways(self) -> Iterator[Callable[[], Callable[..., None]]]:
        """How to compute a step, the fastest first."""
        if self.compiled:
            yield self.whole
        yield lambda: self._step_with(torch.compile(move_all, dynamic=False))
        yield lambda: self._step

    def _captured(self) -> Callable[[], None]:
        """A step as a graph, with nothing moved; launched kernel by kernel, with a warning, where none can be captured or
        those that can compute something else."""
        moved = [*tree_leaves(self._state), self._vectors["step"]]
        before = [tensor.clone() for tensor in moved]
        problem = ""
        for way in self._ways():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the compiler gives advice, such as to use TF32
                    graph = self._recorded(way(), moved, before)
            except COMPILER_ERRORS as error:
                if is_out_of_memory(error):
                    raise
                problem = " ".join(str(error).split())[:200]
            else:
                problem = "" if self._repeats(graph, moved, before) else "it computes something else"
            torch._foreach_copy_(moved, before)
            if not problem:
                return graph.replay
            warn_once(f"A faster way to train fused lanes is left out: {problem}")
        warn_once("Fused lanes train without CUDA graphs, several times slower.")
        return lambda: self._take(self._step)

    def _take(self, step: Callable[..., None]) -> None:
        """A step computed this way, on the batch that is there."""
        step(self._state, self._vectors, *self._batch)

    def _recorded(self, step: Callable[..., None], moved: list[Tensor], before: list[Tensor]) -> "torch.cuda.CUDAGraph":
        """As PyTorch's notes on CUDA graphs have it: warm up on a stream of its own, then capture."""
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

    def _repeats(self, graph: "torch.cuda.CUDAGraph", moved: list[Tensor], before: list[Tensor]) -> bool:
        """Whether a replay gives the losses and the first moments of the step launched kernel by kernel.

        Not the weights: where a gradient is all but 0, rounding decides which way Adam goes.
        """
        results = []
        for run in (lambda: self._take(self._step), graph.replay):
            torch._foreach_copy_(moved, before)
            run()
            results.append([[self.sums.clone()], [moment.clone() for moment in self._state["first"]]])
        return agree(results[1], results[0], self.precision)


_VECTORS = ("beta", "rate", "cosine", "decay", "total", "warmup", "free_nats", "adamax", "step")
"""What differs between lanes, as tensors [R] that stay where they are; `step` counts the steps taken."""


def _vector_entries(lane: Lane) -> Mapping[str, float]:
    """A lane's entries of the vectors, where it stands now."""
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


def _numbers(vectors: Mapping[str, Tensor]) -> Numbers:
    """Of the step that comes next; as `vaeexp.training.lane` has them for one lane."""
    step, adamax = vectors["step"], vectors["adamax"]
    falling = 0.5 * (1 + torch.cos(torch.pi * step / vectors["total"]))
    learning_rate = vectors["rate"] * torch.where(vectors["cosine"].bool(), falling, 1.0)
    size, epsilon = corrected(step + 1, learning_rate, adamax)
    return Numbers(
        beta=vectors["beta"] * ((step + 1) / vectors["warmup"]).clamp(max=1),
        free_nats=vectors["free_nats"],
        size=size,
        epsilon=epsilon,
        adamax=adamax,
        share=1 - torch.minimum(vectors["decay"], (1 + step) / (10 + step)),
    )
