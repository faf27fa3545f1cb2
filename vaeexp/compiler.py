"""Programs of tensor operations as machine code for this processor, compiled once and kept in the user's cache."""

import hashlib
import logging
import os
import platform
import shutil
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from sweeps.errors import UserError
from vaeexp.cache import build_once, cache_folder

_OTHER_ERRORS = (AttributeError, ImportError, OSError, LookupError, TypeError, ValueError, AssertionError)
COMPILER_ERRORS = (RuntimeError, *_OTHER_ERRORS)
"""PyTorch's compiler raises all of these, each in its own corner."""

_SOUND = "2.13"
"""Older versions store the last sums of a row that fills no vector as if it did (pytorch/pytorch#183699)."""
_FILE = "program.so"
_UNUSED_DAYS = 90
_OPTIONS = {"memory_planning": True, "aot_inductor.allow_stack_allocation": True}
"""Of Inductor: fewer allocations, of which a small step has as many as operations."""
_FASTER = {"aot_inductor.precompile_headers": False, "cpp.vec_isa_ok": True}
"""Of Inductor, for a shorter compilation of the same program. A precompiled header pays from the third program on. Inductor
finds the processor's vector instructions by compiling a test of each, which takes a third of the whole time."""
_log = logging.getLogger(__name__)


def why_not_compiled() -> str:
    """In words, of programs for the CPU. Empty where there is a C++ compiler, that of `CXX` or else the one that PyTorch
    looks for, and a PyTorch that makes sound programs."""
    if torch.__version__ < _SOUND:
        return f"PyTorch {torch.__version__} may compile code that writes past the end of a tensor; update it to {_SOUND} or newer"
    usual = "clang++" if sys.platform == "darwin" else "g++"
    if sys.platform not in ("linux", "darwin") or shutil.which(os.environ.get("CXX", usual)) is None:
        return "there is no C++ compiler: install g++ (clang++ on a Mac), or name one in CXX"
    return ""


def has_convolutions(module: nn.Module) -> bool:
    """Whether its time is in convolutions, compiled or not."""
    return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in module.modules())


def has_foreign_layers(module: nn.Module) -> bool:
    """Whether code that is neither PyTorch's nor ours takes part: it may ask for more of a tensor than its values."""
    return not {type(layer).__module__.partition(".")[0] for layer in module.modules()} <= {"torch", "vaeexp"}


def open_program(
    traced: Callable[[], fx.GraphModule], arguments: tuple[Any, ...], *, what: str, made_from: str | None = None
) -> Callable[[list[Tensor]], list[Tensor]]:
    """Load the program for tensors of these shapes; compile it first, with as many threads as this process has, if need be.

    The program takes the leaves of `arguments` as a list. Its name in the cache is a checksum of the operations, the shapes,
    the processor and PyTorch's version. Of several processes one compiles a program and the others wait for it.

    Args:
        traced: traces the operations, in seconds.
        arguments: what the program is called with.
        what: the program's name in messages.
        made_from: a text that differs for different operations. With it a program is found without tracing.

    Raises:
        RuntimeError: the program cannot be compiled here; the message has the reason.
    """
    operations = traced() if made_from is None else made_from
    folder = cache_folder() / "compiled" / _fingerprint(operations, arguments)

    def build(there: Path) -> None:
        program = traced() if isinstance(operations, str) else operations
        _compile(program, arguments, there / _FILE, what)
        _remove_unused(folder.parent)

    try:
        build_once(folder, lambda there: (there / _FILE).exists(), build)
        with suppress(OSError):  # of a cache that others keep
            os.utime(folder / _FILE)
        # Not a package: that is unpacked for each process into a temporary folder, which stays behind when one is killed.
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

    _log.warning(f"Compiling {what} for this processor: about 20 seconds, once.")
    # This logger warns of a CUDA that is installed and has no device.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    options = {**_OPTIONS, "cpp.threads": torch.get_num_threads()}
    package = path.with_suffix(".pt2")
    with torch.no_grad(), warnings.catch_warnings(), fresh_cache():
        warnings.simplefilter("ignore")
        exported = torch.export.export(_Program(program), arguments, strict=False)
        try:
            build = partial(torch._inductor.aoti_compile_and_package, exported, package_path=str(package))
            build(inductor_configs=options | _FASTER)
        except CppCompileError:  # the compiler may be older than the processor: Inductor tests what it can use
            valid_vec_isa_list.cache_clear()
            build(inductor_configs=options)
    with zipfile.ZipFile(package) as parts:
        [library] = [name for name in parts.namelist() if name.endswith(".so")]
        path.write_bytes(parts.read(library))
    package.unlink()


def _remove_unused(libraries: Path) -> None:
    """Libraries that nobody has loaded for long: each release of ours or of PyTorch leaves its own behind."""
    oldest = time.time() - _UNUSED_DAYS * 86_400
    for library in libraries.glob(f"*/{_FILE}"):
        with suppress(OSError):  # another process removes it, too
            if library.stat().st_mtime < oldest:
                shutil.rmtree(library.parent)
                library.parent.with_name(f"{library.parent.name}.lock").unlink(missing_ok=True)


class _Program(nn.Module):
    """What `torch.export` takes."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, *given: Any) -> Any:
        return self.program(*given)


def _fingerprint(program: fx.GraphModule | str, arguments: tuple[Any, ...]) -> str:
    constants = [] if isinstance(program, str) else [*program.buffers(), *program.parameters()]
    tensors = [*tree_leaves(arguments), *constants]
    shapes = [(str(tensor.dtype), tuple(tensor.shape), tensor.stride()) for tensor in tensors]
    operations = program if isinstance(program, str) else program.code
    parts = (operations, shapes, _OPTIONS, torch.__version__, torch.get_num_threads(), _processor())
    digest = hashlib.sha256(repr(parts).encode())
    for constant in constants:
        digest.update(constant.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _processor() -> str:
    """What a library for one processor may use that another has not."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.system()} {platform.machine()} {flags} {torch.backends.cpu.get_cpu_capability()}"
