"""Note each text that becomes a seed, in every process that has this folder in PYTHONPATH, workers
too.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

if "GATE_SEEDS" in os.environ:
    inner = hashlib.sha256

    def sha256(content: bytes = b"", **options: Any) -> Any:
        if sys._getframe(1).f_globals.get("__name__") == "sweeps.seeds":
            with (Path(os.environ["GATE_SEEDS"]) / f"{os.getpid()}.txt").open("ab") as file:
                file.write(content + b"\n")
        return inner(content, **options)

    hashlib.sha256 = sha256  # type: ignore[assignment]
