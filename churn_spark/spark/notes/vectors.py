"""A note is a number: each distinct vector is projected once, and rows are given what the trees read of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame

from churn_spark.arrays import Matrix, vector_array, vector_matrix, vectors_matrix
from churn_spark.contract.columns import embedding_column, inputs_column, vector_column
from churn_spark.model.features import TextInputs, TextVector, text_inputs
from churn_spark.spark.session import broadcast_if_small

ROW_BYTES = 100  # of an id, and around it


class Vectors(NamedTuple):
    """The distinct vectors of a text column: `<column>__vector` (their id), `<column>__embedding`.

    How many there are is not known of lists of vectors.
    """

    df: DataFrame
    distinct: int | None

    def small(self, df: DataFrame, width: int) -> DataFrame:
        """Rows of an id and `width` floats, to be broadcast if they are few."""
        if self.distinct is None:
            return df
        return broadcast_if_small(df, self.distinct * (ROW_BYTES + 4 * width))


def with_inputs(df: DataFrame, vectors: Mapping[str, Vectors], texts: Sequence[TextVector]) -> DataFrame:
    """Put `<column>__inputs`, what the trees read of a text (float32 as binary), in the place of its vector's id."""
    for text in texts:
        of_text = vectors[text.name]
        width = text.width if _is_projected(text) else text.notes * text.dimension
        inputs = of_text.small(_projected(of_text.df, text), width)
        df = df.join(inputs, vector_column(text.name), "left")
    return df.drop(*map(vector_column, vectors))


def read_inputs(column: pa.Array, text: TextVector) -> Matrix | TextInputs:
    """A batch of what `with_inputs` added."""
    if _is_projected(text):
        return TextInputs(vector_matrix(column, text.width))
    return vectors_matrix(column, text.dimension, text.notes)


def _is_projected(text: TextVector) -> bool:
    """Not where the trees read whole vectors, and where which of several notes speaks loudest is told by theirs."""
    return bool(text.components) and text.notes == 1


def _projected(vectors: DataFrame, text: TextVector) -> DataFrame:
    """The id of each vector and the inputs made of it, or the vector as it is."""
    key, inputs = vector_column(text.name), inputs_column(text.name)
    given = vectors.select(key, embedding_column(text.name))
    if not _is_projected(text):
        return given.withColumnRenamed(embedding_column(text.name), inputs)

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            matrix = text_inputs(text, vector_matrix(batch.column(1), text.dimension), batch.num_rows)
            yield pa.RecordBatch.from_arrays([batch.column(0), vector_array(matrix)], names=[key, inputs])

    return given.mapInArrow(project, f"`{key}` string, `{inputs}` binary")
