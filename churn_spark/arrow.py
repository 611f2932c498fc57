"""Float matrices in and out of Arrow columns, without a Python object per row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Matrix = npt.NDArray[np.float32]


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
