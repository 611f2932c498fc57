from __future__ import annotations

import numpy as np
from pyspark.sql import SparkSession

from churn_spark.model.features import TextVector, text_inputs
from churn_spark.spark.notes.vectors import Vectors, with_inputs

VECTORS = np.array([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]], np.float32)


def test_with_inputs_gives_rows_what_the_trees_read_of_their_vector(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("a", "v1"), ("b", None), ("c", "v2"), ("d", "v1")], "id string, note__vector string"
    )
    known = [(f"v{n + 1}", vector.tobytes()) for n, vector in enumerate(VECTORS)]
    vectors = {
        "note": Vectors(spark.createDataFrame(known, "note__vector string, note__embedding binary"), 2)
    }
    text = TextVector("note", 3, (0.1, 0.2, 0.3), ((1.0, 0.0, 0.5), (0.2, 0.3, 0.4)))
    first, second = (row.tobytes() for row in text_inputs(text, VECTORS, 2))
    found = with_inputs(rows, vectors, [text])
    assert found.columns == ["id", "note__inputs"]
    assert {r.id: r.note__inputs for r in found.collect()} == {"a": first, "b": None, "c": second, "d": first}
    whole = with_inputs(rows, vectors, [TextVector("note", 3)]).where("id = 'c'").first()
    assert whole is not None
    assert bytes(whole.note__inputs) == VECTORS[1].tobytes()


def test_with_inputs_leaves_no_id_of_a_text_that_the_model_does_not_read(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("a", "v1")], "id string, note__vector string")
    vectors = {"note": Vectors(spark.createDataFrame([], "note__vector string, note__embedding binary"), 0)}
    assert with_inputs(rows, vectors, []).columns == ["id"]
