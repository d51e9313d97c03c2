"""Small Parquet files of embeddings as pyarrow, pandas, Polars and Hugging Face's datasets write them, next to this script.

All hold the same five vectors of three numbers as the files of ../make.py, and the same labels.
"""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
VECTORS = np.array(
    [[1.0, -2.0, 0.5], [0.0, 3.0, 4.0], [-0.25, 8.0, 1.5], [2.0, 2.0, -16.0], [0.125, -1.0, 6.0]]
)
TEXTS = ["pear", "apple", "pear", "plum", "äpfel"]
NUMBERS = [7, -3, 7, 2**40, 0]
CAMERAS = [0, 1, 0, 1, 2]


def lists(dtype, fixed=False):
    flat = pa.array(VECTORS.astype(dtype).ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, 3)
    return pa.ListArray.from_arrays(pa.array(range(0, 16, 3), pa.int32()), flat)


def table(vectors, **columns):
    return pa.table({"name": [f"{i}.png" for i in range(5)], "label": TEXTS, "embedding": vectors, **columns})


def write(name, table, **options):
    pq.write_table(table, HERE / f"{name}.parquet", **{"compression": "none", "store_schema": False, **options})


def main():
    cameras = pa.array(CAMERAS, pa.uint8())
    everything = table(lists("float32"), camera=cameras)
    # Every way to pack pages, over several groups of rows and both kinds of pages.
    for codec in ["snappy", "gzip", "brotli", "lz4", "zstd"]:
        write(codec, everything, compression=codec, row_group_size=2)
    write("pages2", everything, compression="zstd", data_page_version="2.0")
    write("checksums", everything, write_page_checksum=True)
    write("split", everything, column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT"}, use_dictionary=False)
    # Every kind of number and list.
    for name, dtype in [("f16", "float16"), ("f64", "float64")]:
        write(name, table(lists(dtype)))
        write(f"{name}_fixed", table(lists(dtype, fixed=True)))
    numbered = {f"e{i}": VECTORS[:, i].astype("float64" if i else "float32") for i in range(3)}
    write("numbered", pa.table({"label": NUMBERS, **numbered, "camera": cameras}))
    flags = pa.array([True, False, True, None, False])
    unsigned = pa.array([2**64 - 1, 0, None, 1, 2], pa.uint64())
    pictures = pa.array([{"bytes": b"x", "path": "x.png"}] * 5)
    score = pa.array([0.5] * 5)
    odd = pa.table({"features": lists("float32"), "flag": flags, "unsigned": unsigned, "image": pictures, "score": score})
    write("odd", odd.replace_schema_metadata({"similarity": "dot"}), store_schema=True)
    # What cannot be used.
    def rows(values):
        return pa.array(values, pa.list_(pa.float32()))

    write("null_row", pa.table({"embedding": rows([[1, 2], [3, 4], None])}))
    write("empty_row", pa.table({"embedding": rows([[1, 2], [], [3, 4]])}))
    write("null_value", pa.table({"embedding": rows([[1, 2], [3, None]])}))
    write("ragged", pa.table({"embedding": rows([[1, 2], [3, 4], [5, 6, 7]])}))
    write("nan", pa.table({"id": ["a", "b"], "embedding": rows([[1, 2], [3, float("nan")]])}))
    write("two_lists", pa.table({"a": rows([[1, 2]]), "b": rows([[1, 2]])}))
    write("integers", pa.table({"embedding": pa.array([[1, 2]]), "label": [1.0]}))
    write("float_label", pa.table({"embedding": rows([[1, 2]]), "label": [1.0]}))
    write("no_rows", everything.slice(0, 0))
    write("null_number", pa.table({"e0": [1.0, 2.0], "e1": [3.0, None]}))
    # Labels alone.
    write("labels", pa.table({"kind": pa.array(TEXTS).dictionary_encode()}))
    write("null_label", pa.table({"label": ["pear", None]}))
    write("long_text", pa.table({"label": ["x" * 300_000] * 1000}), compression="zstd")
    # Columns as pandas calls an index that has no name.
    index, names = "__index_level_0__", [f"{i}.png" for i in range(5)]
    write("index_numbers", pa.table({"kind": TEXTS, "embedding": lists("float32"), index: [3, 1, 4, 5, 9]}))
    write("index_names", pa.table({"kind": TEXTS, "embedding": lists("float32"), index: names}))
    write("index_and_names", pa.table({"name": names, "embedding": lists("float32"), index: TEXTS}))

    # As other libraries write them by default.
    frame = {"name": [f"{i}.png" for i in range(5)], "label": TEXTS, "embedding": VECTORS.astype("float32").tolist()}
    array = pl.Array(pl.Float32, 3)
    pl.DataFrame(frame, schema_overrides={"embedding": array}).write_parquet(HERE / "polars.parquet")
    data = pd.DataFrame(frame)
    data["embedding"] = list(VECTORS.astype("float32"))
    data["label"] = data["label"].astype("category")
    data.index = [3, 1, 4, 5, 9]
    data.to_parquet(HERE / "pandas.parquet")
    features = datasets.Features(
        {"name": datasets.Value("string"), "label": datasets.Value("string"), "embedding": datasets.List(datasets.Value("float32"), 3)}
    )
    datasets.Dataset.from_dict(frame, features).to_parquet(HERE / "datasets.parquet")


main()
