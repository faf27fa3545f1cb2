"""Compiles programs of tensor operations to machine code for this processor, once, and keeps them
in the user's cache.
"""

import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from sweeps import UserError, heartbeats
from vaeexp.cache import build_once, cache_folder, read_facts, seal_folder

_OTHER_ERRORS = (
    AttributeError,
    ImportError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
)
COMPILER_ERRORS = (RuntimeError, *_OTHER_ERRORS)
"""PyTorch's compiler raises all of these."""

_SOUND = "2.13"
"""The oldest sound version. Before it, a row that does not fill a vector is stored as if it did
(pytorch/pytorch#183699).
"""
_FILE = "program.so"
_OPTIONS = {"memory_planning": True, "aot_inductor.allow_stack_allocation": True}
"""Options of Inductor that save allocations, because a small step has as many allocations as
operations.
"""
_FASTER = {"aot_inductor.precompile_headers": False, "cpp.vec_isa_ok": True}
"""Options of Inductor that shorten the compilation of the same program. A precompiled header pays
from the third program on. Inductor finds the processor's vector instructions by compiling a test of
each, which takes a third of the time."""
_log = logging.getLogger(__name__)


def why_not_compiled() -> str:
    """Return the reason why this machine cannot compile programs for its CPU, or "".

    A machine needs a PyTorch that makes sound programs, and a C++ compiler: that of `CXX`, else
    PyTorch's default.
    """
    if torch.__version__ < _SOUND:
        return (
            f"PyTorch {torch.__version__} may compile code that writes past the end of a tensor; "
            f"update it to {_SOUND} or newer"
        )
    usual = "clang++" if sys.platform == "darwin" else "g++"
    compiler = os.environ.get("CXX", usual)
    if shutil.which(compiler) is None:
        return "there is no C++ compiler: install g++ (clang++ on a Mac), or name one in CXX"
    return _compiler_problem(compiler)


@cache
def _compiler_problem(compiler: str) -> str:
    """Return the reason why a C++ compiler makes no library, found by making a small one, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text("#include <cmath>\n")
        command = [compiler, "-shared", "-fPIC", "-o", str(source.with_suffix(".so")), str(source)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode == 0:
        return ""
    return f"the C++ compiler {compiler} fails: {_first_error(done.stderr)}"


def _first_error(output: str) -> str:
    """Return the first error that a compiler printed, without the place of the source."""
    lines = output.strip().splitlines() or ["no message"]
    line = next((line for line in lines if "error" in line.lower()), lines[0])
    return re.sub(r"^\S*:\d+:\d+: ", "", line)


def has_convolutions(module: nn.Module) -> bool:
    """Return whether a layer is a convolution. Then compilation saves little, because the time is
    in the convolutions.
    """
    return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in module.modules())


def has_foreign_layers(module: nn.Module) -> bool:
    """Return whether a layer is neither PyTorch's nor ours. Such code may ask for more of a tensor
    than its values.
    """
    return not {type(layer).__module__.partition(".")[0] for layer in module.modules()} <= {
        "torch",
        "vaeexp",
    }


def open_program(
    traced: Callable[[], fx.GraphModule],
    arguments: tuple[Any, ...],
    *,
    what: str,
    made_from: str | None = None,
) -> Callable[[list[Tensor]], list[Tensor]]:
    """Load the program for tensors of these shapes. If the cache lacks it, compile it for this
    process's number of threads.

    The program takes the leaves of `arguments` as a list. Its name in the cache is a checksum of
    the operations, the shapes, the processor and PyTorch's version. One of several processes
    compiles a program, and the others wait for it. A program is loaded only if its file matches the
    SHA-256 that was written with it; a damaged program is compiled again.

    Args:
        traced: traces the operations; takes seconds.
        arguments: examples of the program's arguments.
        what: the program's name in messages.
        made_from: a text that differs for different operations. With it the cache is searched
            without tracing.

    Raises:
        RuntimeError: the program cannot be compiled here; the message has the reason.
    """
    program = traced() if made_from is None else None
    folder = cache_folder() / "compiled" / _fingerprint(program, made_from, arguments)

    def build(there: Path) -> None:
        _compile(program or traced(), arguments, there / _FILE, what)
        seal_folder(there, {"program": what})

    try:
        with heartbeats():  # to compile takes longer than many an epoch
            build_once(folder, read_facts, build)
        with suppress(OSError):  # another user may own the cache
            os.utime(folder / _FILE)
        # Not a package, because each process unpacks a package into a temporary folder, and a
        # killed process leaves it.
        return torch._C._aoti.AOTIModelContainerRunnerCpu(str(folder / _FILE), 1).run
    except UserError as error:
        raise RuntimeError(str(error)) from error
    except _OTHER_ERRORS as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _compile(program: fx.GraphModule, arguments: tuple[Any, ...], path: Path, what: str) -> None:
    if reason := why_not_compiled():
        raise RuntimeError(reason)
    import torch._inductor
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list
    from torch._inductor.exc import CppCompileError
    from torch._inductor.utils import fresh_cache

    _log.warning(f"Compiling {what} for this processor: 20 to 45 seconds, once.")
    # These loggers warn where CUDA is installed without a device, and of the cache after an error.
    for name in ("torch.utils.cpp_extension", "torch._inductor.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options = {**_OPTIONS, "cpp.threads": torch.get_num_threads()}
    package = path.with_suffix(".pt2")
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
        # Because Inductor keeps its cache after an error.
        tempfile.TemporaryDirectory() as temporary,
        fresh_cache(dir=temporary),
    ):
        warnings.simplefilter("ignore")
        exported = torch.export.export(program, arguments, strict=False)
        build = partial(
            torch._inductor.aoti_compile_and_package, exported, package_path=str(package)
        )
        try:
            build(inductor_configs=options | _FASTER)
        except RuntimeError as error:
            if not isinstance(getattr(error, "inner_exception", error), CppCompileError):
                raise
            # The compiler may be older than the processor, so Inductor tests what it can use.
            valid_vec_isa_list.cache_clear()
            try:
                build(inductor_configs=options)
            except RuntimeError as second:
                cause = getattr(second, "inner_exception", second)
                if isinstance(cause, CppCompileError):
                    raise RuntimeError(
                        f"the C++ compiler fails: {_first_error(cause.output)}"
                    ) from second
                raise
    with zipfile.ZipFile(package) as parts:
        [library] = [name for name in parts.namelist() if name.endswith(".so")]
        path.write_bytes(parts.read(library))
    package.unlink()


def _fingerprint(
    program: fx.GraphModule | None, made_from: str | None, arguments: tuple[Any, ...]
) -> str:
    constants = [*program.buffers(), *program.parameters()] if program else []
    tensors = [*tree_leaves(arguments), *constants]
    shapes = [(str(tensor.dtype), tuple(tensor.shape), tensor.stride()) for tensor in tensors]
    operations = program.code if program else made_from
    parts = (operations, shapes, _OPTIONS, torch.__version__, torch.get_num_threads(), _processor())
    digest = hashlib.sha256(repr(parts).encode())
    for constant in constants:
        digest.update(constant.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _processor() -> str:
    """Return text that differs for processors with different instructions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return (
        f"{platform.system()} {platform.machine()} {flags} "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )


_aten = torch.ops.aten
_KEEPING = (_aten._to_copy.default, _aten.view.default, _aten._unsafe_view.default)
"""Operations that keep a matrix as it is if its shape stays."""


def with_biases_apart(program: GraphModule) -> GraphModule:
    """Add the biases of bf16 products in float32 after the product, so that the compiler joins the
    addition to the next operation. `addmm` copies the bias into its result first: 14 µs for 128 ×
    512 on a CPU."""
    call = program.graph.call_function
    for node in program.graph.find_nodes(op="call_function", target=_aten.addmm.default):
        bias, left, right = _nodes(node)
        if node.kwargs or bias.target is not _aten._to_copy.default:
            continue
        with program.graph.inserting_before(node):
            product = call(_aten.mm.default, (left, right))
            wide = call(_aten._to_copy.default, (product,), {"dtype": torch.float32})
            total = call(_aten.add.Tensor, (wide, bias.args[0]))
            narrow = call(_aten._to_copy.default, (total,), {"dtype": torch.bfloat16})
        node.replace_all_uses_with(narrow)
        program.graph.erase_node(node)
    program.recompile()
    return program


def with_gradients_as_weights(program: GraphModule) -> GraphModule:
    """Compute the gradients of stacked weights in the memory order of the weights: (A·B)ᵀ as Bᵀ·Aᵀ.

    `vmap` computes xᵀ·g and transposes the result, so that the update, which moves most of a step's
    memory, would read the gradient across its rows.
    """
    call = program.graph.call_function
    for node in program.graph.find_nodes(op="call_function", target=_aten.transpose.int):
        chain = _product_behind(node)
        if not chain:
            continue
        left, right = _nodes(chain[-1])
        with program.graph.inserting_before(node):
            factors = [call(_aten.transpose.int, (factor, 1, 2)) for factor in (right, left)]
            gradient = call(_aten.bmm.default, tuple(factors))
            for cast in reversed(chain):
                if cast.target is _aten._to_copy.default:
                    gradient = call(_aten._to_copy.default, (gradient,), dict(cast.kwargs))
        node.replace_all_uses_with(gradient)
        for replaced in (node, *chain):
            program.graph.erase_node(replaced)
    program.recompile()
    return program


def _product_behind(transposed: Node) -> list[Node]:
    """Return the nodes from the input of `transposed` back to the product that made it; none if no
    product did.
    """
    node, *dims = _nodes(transposed)
    chain: list[Node] = []
    while len(node.users) == 1 and sorted(dims) in ([1, 2], [-2, -1]):
        chain.append(node)
        if node.target is _aten.bmm.default:
            return chain
        source = _nodes(node)[0]
        if node.target not in _KEEPING or node.meta["val"].shape != source.meta["val"].shape:
            break
        node = source
    return []


def _nodes(node: Node) -> tuple[Any, ...]:
    """Return the arguments of an operation. Their types depend on the operation, which the caller
    knows.
    """
    return node.args
