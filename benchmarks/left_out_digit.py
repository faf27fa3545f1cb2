"""How well the score of a model finds a digit that it has never seen, beside size alone.

    VAEEXP_DATA=FOLDER python benchmarks/left_out_digit.py [--epochs 20] [--digits 0 1 …]

For each digit a model trains on the other nine of MNIST (grey levels, discretised logistic), and
scores MNIST's test images: the digit left out is the anomaly. The table has AUROC by −ELBO and by
the size of the image as PNG, with the 95 % intervals of `vaeexp score --against-class`. Without
MNIST in VAEEXP_DATA the bundled digits stand in, and the first line says so.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from table import describe_machine, in_words, markdown

from vaeexp.data import Dataset, open_dataset
from vaeexp.settings import DataSettings

STUDY = """\
question: What does a model make of a digit that it has never seen?
data: {{dataset: arrays, binarisation: none, validation_size: 3000}}
model: {{network: mlp, hidden: [512, 512], latent_size: 20, likelihood: discretised_logistic}}
train: {{epochs: {epochs}, batch_size: 128, schedule: cosine}}
evaluation: {{importance_samples: 10}}
search: {{learning_rate: {{values: [0.001]}}}}
seed: 0
sampler: grid
pruner: none
budget: {{trials: 1}}
confirm: {{top: 1, seeds: 1}}
"""


def images_of(digits: "np.ndarray", labels: "np.ndarray", folder: Path, name: str) -> Path:
    """Write images [N, H, W] and their labels as an .npz; return its path."""
    path = folder / f"{name}.npz"
    np.savez(path, images=digits[:, 0], labels=labels)
    return path


def run(folder: Path, *arguments: str) -> str:
    """Return what the command says. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-P", "-m", "vaeexp", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def row_of(data: Dataset, digit: int, epochs: int, folder: Path) -> list[str]:
    """Train without a digit and score the test images; return the cells of its row."""
    kept = data.train.labels != digit
    train = images_of(data.train.images[kept], data.train.labels[kept], folder, "train")
    test = images_of(data.test.images, data.test.labels, folder, "test")
    (folder / "study.yaml").write_text(STUDY.format(epochs=epochs), encoding="utf-8")
    run(folder, "sweep", "study.yaml", "--data", str(train), "--name", "digits")
    asked = ["--against-class", str(digit), "--data", str(train), "--to", "scores.parquet"]
    said = run(folder, "score", "digits", str(test), *asked)
    found = re.findall(r"AUROC (\d\.\d+ \[[^\]]+\])", said)
    return [str(digit), found[-2] if len(found) > 2 else found[0], found[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--digits", type=int, nargs="*", default=list(range(10)))
    options = parser.parse_args()
    print(in_words(describe_machine("cpu")))
    root = os.environ.get("VAEEXP_DATA")
    data = open_dataset(DataSettings(binarisation="none"), root=Path(root) if root else None)
    print(data.title)
    rows = []
    for digit in options.digits:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(data, digit, options.epochs, Path(folder)))
        print(rows[-1], flush=True)
    print(markdown(("digit left out", "AUROC by −ELBO", "AUROC by size"), rows, texts=3))


if __name__ == "__main__":
    main()
