"""Record a part of the gate in one checkout, the first in PYTHONPATH: `python -P recording.py PART FOLDER [--quick]`.

`compare.py` starts this once for each checkout, in the same environment.
"""

import argparse
import importlib
from pathlib import Path

PARTS = {
    "tables": "toy_recording:record_tables",
    "shown": "toy_recording:record_shown",
}
"""Part → the function that records it in a folder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkout", type=Path, required=True, help="whose code must be imported")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for package in ("sweeps", "vaeexp"):
        file = Path(str(importlib.import_module(package).__file__)).resolve()
        assert file.is_relative_to(options.checkout.resolve()), f"{file} is not of {options.checkout}"
    module, function = PARTS[options.part].split(":")
    getattr(importlib.import_module(module), function)(options.folder, options.quick)


if __name__ == "__main__":
    main()
