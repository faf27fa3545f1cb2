"""Images to model: where they come from, how they are split and binarised, and arrays that open in
milliseconds.

Two environment variables matter here: `VAEEXP_CACHE` is the folder for downloads and prepared
arrays (else the user's cache folder), and `VAEEXP_OFFLINE=1` forbids the download. Importing this
package needs numpy alone.
"""

from vaeexp.data.dataset import Dataset, Split, check_data, describe_plan, examples, open_dataset
from vaeexp.data.datasets import DATASETS

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "check_data",
    "describe_plan",
    "examples",
    "open_dataset",
]
