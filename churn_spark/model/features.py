"""From typed columns and text vectors to model inputs. `assemble` is the only code that does so.

Training, scoring in Spark and prediction in a service all call it, so they cannot come to differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_spark.arrays import Columns, Matrix, arrow_array
from churn_spark.contract.folds import FOLDS


@dataclass(frozen=True)
class Numeric:
    """A numeric column, used as (x - mean) / scale; mean 0 and scale 1 leave it as it is.

    `history_of` names the column, or the table of events, that a column of history tells of.
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    history_of: str = ""


@dataclass(frozen=True)
class Categorical:
    """A categorical column and its known values; any other value becomes the code `len(categories)`."""

    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True)
class TextVector:
    """A text column's embedding of `dimension` floats, projected to len(components) where there are any.

    Where it is `folded` the first FOLDS components are one for each fold's booster, and the others are for all.
    """

    name: str
    dimension: int
    mean: tuple[float, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    folded: bool = False

    @property
    def width(self) -> int:
        return len(self.components) or self.dimension


@dataclass(frozen=True)
class FeatureSpec:
    """What was learnt about the features from the training rows, in the order of the model's inputs."""

    numeric: tuple[Numeric, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    texts: tuple[TextVector, ...] = ()

    @property
    def names(self) -> list[str]:
        """One name per model input, as xgboost takes it."""
        names = [
            *(n.name for n in self.numeric),
            *(c.name for c in self.categorical),
            *(f"{t.name}_{i}" for t in self.texts for i in range(t.width)),
        ]
        return [re.sub(r"[\[\]<%]", lambda odd: f"%{ord(odd[0]):X}", name) for name in names]

    @property
    def types(self) -> list[str]:
        """xgboost's type per model input: q (quantity) or c (category)."""
        width = sum(t.width for t in self.texts)
        return ["q"] * len(self.numeric) + ["c"] * len(self.categorical) + ["q"] * width

    @property
    def sources(self) -> list[str]:
        """The source column per model input: all inputs of one text, and a column and its history, share a name."""
        return [
            *(n.history_of or n.name for n in self.numeric),
            *(c.name for c in self.categorical),
            *(t.name for t in self.texts for _ in range(t.width)),
        ]

    def inputs_of(self, fold: int) -> list[int]:
        """The places of the inputs that the booster of a fold reads: no text projections of the others."""
        owners = [
            *([fold] * (len(self.numeric) + len(self.categorical))),
            *(i if t.folded and i < FOLDS else fold for t in self.texts for i in range(t.width)),
        ]
        return [place for place, owner in enumerate(owners) if owner == fold]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FeatureSpec:
        return cls(
            numeric=tuple(Numeric(**n) for n in value["numeric"]),
            categorical=tuple(Categorical(c["name"], tuple(c["categories"])) for c in value["categorical"]),
            texts=tuple(
                TextVector(
                    **{**t, "mean": tuple(t["mean"]), "components": tuple(map(tuple, t["components"]))}
                )
                for t in value["texts"]
            ),
        )


def assemble(spec: FeatureSpec, frame: Columns, *, vectors: Mapping[str, Matrix]) -> Matrix:
    """Make the model inputs, float32 of shape (rows, len(spec.names)); NaN is missing.

    `frame` holds the numeric and categorical columns by name: a DataFrame, an Arrow batch or a dict of lists.
    `vectors` holds for each text column a matrix (rows, dimension), rows of NaN where there is no text. Raises
    ValueError on another shape.
    """
    parts = [_numeric(n, frame) for n in spec.numeric]
    parts += [_codes(c, frame) for c in spec.categorical]
    rows = len(parts[0] if parts else next(iter(vectors.values())))
    table = np.column_stack(parts) if parts else np.empty((rows, 0), np.float32)
    return np.ascontiguousarray(
        np.hstack([table, *(text_inputs(t, vectors[t.name], rows) for t in spec.texts)])
    )


def _numeric(feature: Numeric, frame: Columns) -> Matrix:
    values = arrow_array(frame[feature.name], pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray((values - feature.mean) / feature.scale, np.float32)


def _codes(feature: Categorical, frame: Columns) -> Matrix:
    column = arrow_array(frame[feature.name], pa.string())
    known = pc.index_in(column, value_set=pa.array(feature.categories, pa.string()), skip_nulls=True)
    codes = np.array(pc.fill_null(known, len(feature.categories)), np.float32)
    codes[np.asarray(column.is_null())] = np.nan
    return codes


def text_inputs(feature: TextVector, vectors: Matrix, rows: int) -> Matrix:
    """A text column's part of the model inputs, from its vectors."""
    if vectors.shape != (rows, feature.dimension):
        raise ValueError(
            f"{feature.name}: vectors of shape {vectors.shape}, expected {(rows, feature.dimension)}"
        )
    if not feature.components:
        return vectors
    # A component at a time, in float64: the rounding of a matrix product may depend on how many rows it has.
    exact = np.ascontiguousarray(vectors, np.float64)
    mean = np.asarray(feature.mean)
    projected = [(exact * c).sum(axis=1) - (mean * c).sum() for c in np.asarray(feature.components)]
    return np.column_stack(projected).astype(np.float32)
