"""Columns and float matrices in and out of Arrow, without a Python object per row."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Matrix = npt.NDArray[np.float32]


class Columns(Protocol):
    """Columns by name, all of one length: a DataFrame, an Arrow batch or table, a dict of lists."""

    def __getitem__(self, name: str, /) -> Any: ...


def arrow_array(values: Any, kind: pa.DataType) -> pa.Array:
    """A column of any kind as an Arrow array of type `kind`; NaN and None are null."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    array = values if isinstance(values, pa.Array) else pa.array(values, kind, from_pandas=True)
    return array if array.type == kind else array.cast(kind)


def vector_matrix(column: pa.ChunkedArray, dimension: int) -> Matrix:
    """An Arrow list<float> column as a float32 matrix, without making Python objects."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    matrix = np.full((len(array), dimension), np.nan, np.float32)
    present = np.asarray(array.is_valid())
    if present.any():
        matrix[present] = array.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)
    return matrix


def list_array(matrix: Matrix) -> pa.ListArray:
    """A float32 matrix as an Arrow list<float> array, without making Python objects."""
    rows, width = matrix.shape
    offsets = np.arange(0, rows * width + 1, max(width, 1), dtype=np.int32)[: rows + 1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))
