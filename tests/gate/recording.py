"""Record a part of the gate in one checkout, the first in PYTHONPATH: `python -P recording.py PART
FOLDER [--quick]`.

`compare.py` starts this once for each checkout, in the same environment.
"""

import argparse
import importlib
from pathlib import Path

PARTS = {
    "tables": "toy_recording:record_tables",
    "shown": "toy_recording:record_shown",
    "trained": "command_recording:record_trained",
    "stores": "store_recording:record_stores",
    "strings": "seed_recording:record_strings",
    "costs": "cost_recording:record_costs",
}
"""Part → the function that records it in a folder."""
GIVEN = {"stores": "store_recording:make_stores", "costs": "cost_recording:make_large_study"}
"""Part → the function that makes, in the former checkout, a folder that both are given."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkout", type=Path, required=True, help="whose code must be imported")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--given", type=Path, help="what the former checkout has made for both")
    parser.add_argument("--make-given", action="store_true", help="make that folder")
    options = parser.parse_args()
    for package in ("sweeps", "vaeexp"):
        file = Path(str(importlib.import_module(package).__file__)).resolve()
        assert file.is_relative_to(options.checkout.resolve()), (
            f"{file} is not of {options.checkout}"
        )
    module, function = (GIVEN if options.make_given else PARTS)[options.part].split(":")
    more = {"given": options.given} if options.given else {}
    getattr(importlib.import_module(module), function)(options.folder, options.quick, **more)


if __name__ == "__main__":
    main()
