"""Parquet files of data sets as the Hugging Face Hub has them, and a Hub on this machine."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from file_server import FileServer
from image_files import noise
from named_files import png
from pyarrow import parquet

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def class_label(column: str, names: Sequence[str]) -> dict[bytes, bytes]:
    """The metadata of a schema in which a column has names of classes."""
    features = {column: {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def shard(columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None = None) -> bytes:
    """A parquet file of columns of pyarrow, in row groups of 7 rows."""
    table = pa.table(dict(columns)).replace_schema_metadata(metadata)
    stream = io.BytesIO()
    parquet.write_table(table, stream, row_group_size=7)
    return stream.getvalue()


def image_column(images: Sequence[np.ndarray]) -> pa.Array:
    """Images [H, W] or [H, W, 3] as the Hub stores them."""
    rows = [{"bytes": png(image), "path": f"{place}.png"} for place, image in enumerate(images)]
    return pa.array(rows, IMAGE)


def image_shard(
    count: int, seed: int, names: Sequence[str] = ("cat", "dog", "eel")
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A shard with `image` and `label`, its images uint8 [N, 8, 6, 3] and its labels."""
    images = noise(count, 8, 6, 3, seed=seed)
    labels = np.arange(count) % len(names)
    columns = {"image": image_column(images), "label": pa.array(labels, pa.int64())}
    return shard(columns, class_label("label", names)), images, labels


def publish(
    server: FileServer, title: str, splits: Mapping[str, Sequence[bytes]], config: str = "default"
) -> None:
    """Serve a data set: the listing of its parquet files, and the files."""
    address = f"/api/datasets/{title}/parquet"
    listed = json.loads(server.files.get(address, b"{}"))
    listed[config] = {}
    for split, shards in splits.items():
        paths = [f"{address}/{config}/{split}/{place}.parquet" for place in range(len(shards))]
        server.files |= dict(zip(paths, shards, strict=True))
        listed[config][split] = [f"{server.address}{path}" for path in paths]
    server.files[address] = json.dumps(listed).encode()
