"""Ordinary inputs: files as people have them, drawn from a seed, about which nothing is to be said.

Each maker writes one input below a folder and returns where it lies, and the settings that its
owner would choose besides those that `init` proposes.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import zarr
from PIL import Image
from plausible_inputs import bytes_of, pictures

Draw = np.random.Generator


class Ordinary(NamedTuple):
    """An input that was written.

    path: given as `--data`.
    settings: of the data, besides those that `init` proposes for the file.
    """

    path: Path
    settings: dict[str, Any]


def _rows(path: Path, header: Sequence[str] | None, rows: np.ndarray | list) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header] if header else [])
        writer.writerows(rows.tolist() if isinstance(rows, np.ndarray) else rows)
    return path


def _saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def _pictures(draw: Draw, count: int, *, colour: bool = False) -> np.ndarray:
    """Soft pictures uint8 [count, 16, 16(, 3)] of the whole range, all different."""
    return bytes_of(pictures(draw, count, colour=colour, side=16))


def _folders(folder: Path, images: np.ndarray, classes: Sequence[str]) -> Path:
    for number, image in enumerate(images):
        inner = folder / classes[number % len(classes)]
        inner.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(inner / f"{number:03}.png")
    return folder


# ---- images ----


def grey_classes(folder: Path, draw: Draw) -> Ordinary:
    return Ordinary(_folders(folder / "mine", _pictures(draw, 60), ("cat", "dog", "owl")), {})


def colour_classes(folder: Path, draw: Draw) -> Ordinary:
    return Ordinary(_folders(folder / "mine", _pictures(draw, 60, colour=True), ("cat", "dog")), {})


def classes_named_as_splits(folder: Path, draw: Draw) -> Ordinary:
    names = ("test_tube", "trained", "beaker")
    return Ordinary(_folders(folder / "mine", _pictures(draw, 60), names), {})


def labelled_archive(folder: Path, draw: Draw) -> Ordinary:
    path = folder / "digits.npz"
    np.savez(path, images=_pictures(draw, 200), labels=draw.integers(0, 10, 200))
    return Ordinary(path, {})


def bright_digits(folder: Path, draw: Draw) -> Ordinary:
    """Strokes from 0 to 255 on black, and edges between."""
    images = np.clip(_pictures(draw, 200).astype(int) * 3 - 300, 0, 255).astype(np.uint8)
    return Ordinary(_saved(folder / "digits.npy", images), {})


def masks(folder: Path, draw: Draw) -> Ordinary:
    return Ordinary(_saved(folder / "masks.npy", _pictures(draw, 100) // 64), {})


def zeros_and_ones(folder: Path, draw: Draw) -> Ordinary:
    images = (_pictures(draw, 100) > 128).astype(np.uint8)
    return Ordinary(_saved(folder / "masks.npy", images), {})


def masks_of_255(folder: Path, draw: Draw) -> Ordinary:
    images = 255 * (_pictures(draw, 100) > 128).astype(np.uint8)
    return Ordinary(_saved(folder / "masks.npy", images), {})


def dark_and_bright(folder: Path, draw: Draw) -> Ordinary:
    """A sequence whose exposure falls from full to a hundredth."""
    images = _pictures(draw, 200) * np.geomspace(1, 0.01, 200)[:, None, None]
    return Ordinary(_saved(folder / "fading.npy", np.rint(images).astype(np.uint8)), {})


def _stars(draw: Draw, count: int, most: int, noise: float) -> np.ndarray:
    """Dark images [count, 32, 32] of few stars, each of a brightness of its own."""
    images = draw.poisson(noise, (count, 32, 32)).astype(float)
    spread = np.array([[0.05, 0.2, 0.05], [0.2, 1, 0.2], [0.05, 0.2, 0.05]])
    for image in images:
        for _ in range(draw.integers(1, 3)):
            y, x = draw.integers(1, 30, 2)
            bright = most * min(1.0, 0.02 * (1 + draw.pareto(0.7)))
            image[y - 1 : y + 2, x - 1 : x + 2] += bright * spread
    return np.clip(images, 0, most)


def star_field(folder: Path, draw: Draw) -> Ordinary:
    images = np.rint(_stars(draw, 200, 255, 2)).astype(np.uint8)
    return Ordinary(_saved(folder / "stars.npy", images), {})


def deep_star_field(folder: Path, draw: Draw) -> Ordinary:
    images = np.rint(_stars(draw, 200, 65_535, 300)).astype(np.uint16)
    return Ordinary(_saved(folder / "stars.npy", images), {})


def star_field_of_floats(folder: Path, draw: Draw) -> Ordinary:
    images = _stars(draw, 200, 40_000, 100).astype(np.float32)
    return Ordinary(_saved(folder / "stars.npy", images), {})


def twelve_bits(folder: Path, draw: Draw) -> Ordinary:
    images = _pictures(draw, 100).astype(np.uint16) * 16
    return Ordinary(_saved(folder / "deep.npy", images), {})


def bytes_in_zarr(folder: Path, draw: Draw) -> Ordinary:
    """Every array of zarr has a fill value; 0 is black here, and no code for nothing."""
    path = folder / "bytes.zarr"
    images = _pictures(draw, 100)
    array = zarr.create_array(path, shape=images.shape, dtype="uint8", fill_value=0)
    array[...] = images
    return Ordinary(path, {})


def rain_maps(folder: Path, draw: Draw) -> Ordinary:
    wet = draw.random((200, 16, 16)) < 0.08
    rain = np.where(wet, draw.gamma(0.7, 6, wet.shape), 0)
    return Ordinary(_saved(folder / "rain.npy", rain.astype(np.float32)), {})


# ---- signals ----


def signals(folder: Path, draw: Draw) -> Ordinary:
    places = np.linspace(0, 2, 128)
    waves = np.sin(2 * np.pi * (places + draw.random((300, 1)))) * draw.uniform(0.5, 2, (300, 1))
    waves += 0.05 * draw.normal(size=waves.shape)
    return Ordinary(_saved(folder / "signals.npy", waves.astype(np.float32)), {})


def spectra(folder: Path, draw: Draw) -> Ordinary:
    """Peaks a thousand times above the baseline, always at the same places."""
    places = np.arange(256)
    centres = draw.integers(20, 236, 6)
    heights = draw.gamma(4, 250, (300, 6))
    peaks = np.exp(-((places - centres[:, None]) ** 2) / 18)
    baseline = draw.uniform(0.5, 1, (300, 1)) + 0.02 * draw.normal(size=(300, 256))
    return Ordinary(_saved(folder / "spectra.npy", heights @ peaks + baseline), {})


def windows(folder: Path, draw: Draw) -> Ordinary:
    """Pieces of one recording that do not overlap."""
    steps = draw.normal(size=300 * 96) - 0.002
    recording = np.convolve(steps, np.exp(-np.arange(400) / 60))[: 300 * 96]
    return Ordinary(_saved(folder / "windows.npy", recording.reshape(300, 96)), {})


# ---- tables ----


def measurements(folder: Path, draw: Draw) -> Ordinary:
    """Columns of any unit, as people have them; ages and heights are whole numbers."""
    count = 300
    table = pd.DataFrame(
        {
            "age": draw.integers(18, 91, count),
            "height": draw.normal(170, 9, count).round(),
            "weight": draw.normal(75, 12, count).round(1),
            "income": draw.lognormal(10, 0.6, count).round(2),
            "temperature": draw.normal(-2, 8, count).round(1),
            "smoker": draw.integers(0, 2, count),
        }
    )
    table.to_csv(folder / "measurements.csv", index=False)
    return Ordinary(folder / "measurements.csv", {})


def heavy_tails(folder: Path, draw: Draw) -> Ordinary:
    names = [f"c{column}" for column in range(8)]
    rows = draw.lognormal(draw.uniform(-1, 3, 8), 1.2, (400, 8))
    return Ordinary(_rows(folder / "tails.csv", names, rows), {})


def rainfall(folder: Path, draw: Draw) -> Ordinary:
    rain = np.where(draw.random((400, 6)) < 0.15, draw.gamma(0.7, 6, (400, 6)), 0).round(1)
    names = [f"station_{column}" for column in range(6)]
    return Ordinary(_rows(folder / "rain.csv", names, rain), {})


def rare_flag(folder: Path, draw: Draw) -> Ordinary:
    rows = draw.normal(size=(400, 5)).round(3)
    rows[:, 4] = 0
    rows[draw.choice(400, int(draw.integers(1, 6)), replace=False), 4] = 1
    return Ordinary(_rows(folder / "alarms.csv", ["a", "b", "c", "d", "alarm"], rows), {})


def counts(folder: Path, draw: Draw) -> Ordinary:
    rows = draw.poisson(draw.gamma(0.6, 8, 30), (300, 30))
    rows[:, rows.max(axis=0) == 0] = 1
    names = [f"gene_{column}" for column in range(30)]
    return Ordinary(_rows(folder / "counts.csv", names, rows), {})


def log_counts(folder: Path, draw: Draw) -> Ordinary:
    """Counts as most people normalise them: to 10,000 in each cell, then log(1 + x)."""
    rates = draw.gamma(0.4, 1, 200) * draw.gamma(8, 0.2, (400, 1))
    rows = draw.poisson(rates)
    rows[:, :2] += 1
    shares = 1e4 * rows / rows.sum(axis=1, keepdims=True)
    table = pd.DataFrame(np.log1p(shares)).add_prefix("gene_")
    table.to_parquet(folder / "cells.parquet")
    return Ordinary(folder / "cells.parquet", {})


def many_genes(folder: Path, draw: Draw) -> Ordinary:
    rows = draw.lognormal(draw.normal(1, 1, 20_000), 0.4, (60, 20_000)).round(2)
    table = pd.DataFrame(rows, columns=[f"G{column:05}" for column in range(20_000)])
    table.to_parquet(folder / "genes.parquet")
    return Ordinary(folder / "genes.parquet", {})


def new_cells(folder: Path, draw: Draw) -> Ordinary:
    """Cells of a test file with genes that no training cell had."""
    folder = folder / "cells"
    folder.mkdir()
    rates = draw.gamma(0.6, 8, 40)
    names = [f"gene_{column}" for column in range(40)]
    train = draw.poisson(rates, (300, 40))
    train[:, 30:] = 0
    _rows(folder / "train.csv", names, train)
    _rows(folder / "test.csv", names, draw.poisson(rates, (60, 40)))
    return Ordinary(folder, {})


def _visits(draw: Draw, *, descending: bool = False) -> pd.DataFrame:
    """Visits of 60 patients, sorted by patient and within each by date."""
    rows = []
    for patient in range(60):
        day = int(draw.integers(0, 300))
        level = draw.normal(0, 2, 3)
        for _ in range(draw.integers(3, 9)):
            day += int(draw.integers(7, 60))
            date = (pd.Timestamp("2019-01-01") + pd.Timedelta(days=day)).strftime("%Y-%m-%d")
            rows.append([f"P{patient:03}", date, *(level + draw.normal(size=3)).round(2)])
    table = pd.DataFrame(rows, columns=["patient", "date", "a", "b", "c"])
    return table.sort_values("date", ascending=False) if descending else table


def visits_by_patient(folder: Path, draw: Draw) -> Ordinary:
    _visits(draw).drop(columns="date").to_csv(folder / "visits.csv", index=False)
    return Ordinary(folder / "visits.csv", {"split_by": "patient"})


def visits_by_date(folder: Path, draw: Draw) -> Ordinary:
    """In the order of patients, so that dates start again with each."""
    _visits(draw).drop(columns="patient").to_csv(folder / "visits.csv", index=False)
    return Ordinary(folder / "visits.csv", {"split_by": "date", "split": "time"})


def descending_dates(folder: Path, draw: Draw) -> Ordinary:
    table = _visits(draw, descending=True).drop(columns="patient")
    table.to_csv(folder / "visits.csv", index=False)
    return Ordinary(folder / "visits.csv", {"split_by": "date", "split": "time"})


def milliseconds(folder: Path, draw: Draw) -> Ordinary:
    """A counter of milliseconds since a start, of seven digits and more, as times."""
    start = int(draw.integers(1_000_000, 9_000_000))
    ticks = start + draw.integers(90, 110, 400).cumsum()
    rows = [[tick, *draw.normal(size=4).round(3).tolist()] for tick in ticks.tolist()]
    path = _rows(folder / "log.csv", ["ms", "a", "b", "c", "d"], rows)
    return Ordinary(path, {"split_by": "ms", "split": "time"})


ORDINARY: dict[str, Callable[[Path, Draw], Ordinary]] = {
    make.__name__: make
    for make in (
        grey_classes,
        colour_classes,
        classes_named_as_splits,
        labelled_archive,
        bright_digits,
        masks,
        zeros_and_ones,
        masks_of_255,
        dark_and_bright,
        star_field,
        deep_star_field,
        star_field_of_floats,
        twelve_bits,
        bytes_in_zarr,
        rain_maps,
        signals,
        spectra,
        windows,
        measurements,
        heavy_tails,
        rainfall,
        rare_flag,
        counts,
        log_counts,
        many_genes,
        new_cells,
        visits_by_patient,
        visits_by_date,
        descending_dates,
        milliseconds,
    )
}
"""What opens without a warning and without a refusal."""


def iris_without_names(folder: Path, draw: Draw) -> Path:
    """Write a table whose first line is a row: no names, and text in the last column."""
    kinds = ("setosa", "versicolor", "virginica")
    rows = []
    for row in range(150):
        kind = row // 50
        numbers = draw.normal([5 + kind, 3.4, 1.5 + 2 * kind, 0.2 + kind], 0.3).round(1)
        rows.append([*np.abs(numbers).tolist(), f"Iris-{kinds[kind]}"])
    return _rows(folder / "iris.data.csv", None, rows)
