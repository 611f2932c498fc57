"""Columns and float matrices in and out of Arrow, without a Python object per row."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Columns(Protocol):
    """Columns by name, all of one length: a DataFrame, an Arrow batch or table, a dict of lists."""

    def __getitem__(self, name: str, /) -> Any: ...


def arrow_array(values: Any, kind: pa.DataType) -> pa.Array:
    """A column of any kind as an Arrow array of type `kind`; NaN and None are null."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    array = values if isinstance(values, pa.Array) else pa.array(values, kind, from_pandas=True)
    return array if array.type == kind else array.cast(kind)


def python_values(column: Any) -> list[Any]:
    """A column of any kind as Python values."""
    if isinstance(column, list):
        return column
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column.tolist())


def vector_matrix(column: pa.ChunkedArray, dimension: int) -> Matrix:
    """An Arrow column of vectors (bytes of float32, or list<float>) as a float32 matrix, rows of NaN for nulls."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    known = array.drop_null()
    if pa.types.is_list(known.type):
        numbers = known.flatten().to_numpy(zero_copy_only=False)
    else:
        fixed = known.cast(pa.binary(4 * dimension))
        start = fixed.offset * dimension
        numbers = np.frombuffer(fixed.buffers()[1], np.float32)[start : start + len(fixed) * dimension]
    rows: Matrix = numbers.reshape(-1, dimension)
    if len(known) == len(array):
        return rows
    matrix = np.full((len(array), dimension), np.nan, np.float32)
    matrix[np.asarray(array.is_valid())] = rows
    return matrix


def vectors_matrix(column: pa.ChunkedArray, dimension: int, most: int) -> Matrix:
    """An Arrow column of lists of vectors, at most so many, side by side; NaN where there are fewer."""
    if most == 1:
        return vector_matrix(column, dimension)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    counts = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
    matrix = np.full((len(array), most, dimension), np.nan, np.float32)
    row = np.repeat(np.arange(len(array)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    matrix[row, place] = vector_matrix(pc.list_flatten(array), dimension)
    return matrix.reshape(len(array), most * dimension)


def vector_array(matrix: Matrix) -> pa.BinaryArray:
    """A float32 matrix as an Arrow column of bytes, null for rows that begin with NaN.

    Spark moves bytes at once, a list<float> number by number.
    """
    rows, width = matrix.shape
    data = pa.py_buffer(np.ascontiguousarray(matrix, np.float32))
    vectors = pa.Array.from_buffers(pa.binary(4 * width), rows, [None, data]).cast(pa.binary())
    return pc.if_else(~np.isnan(matrix[:, 0]), vectors, pa.scalar(None, vectors.type))


def list_array(matrix: Matrix) -> pa.ListArray:
    """A float32 matrix as an Arrow list<float> array, without making Python objects."""
    rows, width = matrix.shape
    offsets = np.arange(0, rows * width + 1, max(width, 1), dtype=np.int32)[: rows + 1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))
