"""From typed columns and text vectors to model inputs. `assemble` is the only code that does so.

Training, scoring in Spark and prediction in a service all call it, so they cannot come to differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_spark.arrays import Columns, Floats, Ints, Matrix, arrow_array
from churn_spark.contract.folds import FOLDS

POOLED = 3  # inputs for each component of a column of several notes


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
    A column that holds several `notes`, the newest first, is read as their mean, their greatest, and how much the
    newest one exceeds the mean, of each component; without components as the mean.
    """

    name: str
    dimension: int
    mean: tuple[float, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    folded: bool = False
    notes: int = 1

    @property
    def width(self) -> int:
        return len(self.owners)

    @property
    def owners(self) -> list[int | None]:
        """For each of its inputs the fold whose booster alone reads it; None: all do."""
        own = [i if self.folded and i < FOLDS else None for i in range(len(self.components))]
        return own * (POOLED if self.notes > 1 else 1) or [None] * self.dimension


class TextInputs(NamedTuple):
    """What the trees read of vectors, made before: (rows, width)."""

    matrix: Matrix


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
            *([None] * (len(self.numeric) + len(self.categorical))),
            *(owner for t in self.texts for owner in t.owners),
        ]
        return [place for place, owner in enumerate(owners) if owner in (None, fold)]

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


def assemble(spec: FeatureSpec, frame: Columns, *, vectors: Mapping[str, Matrix | TextInputs]) -> Matrix:
    """Make the model inputs, float32 of shape (rows, len(spec.names)); NaN is missing.

    `frame` holds the numeric and categorical columns by name: a DataFrame, an Arrow batch or a dict of lists.
    `vectors` holds for each text column a matrix (rows, dimension), rows of NaN where there is no text, or what
    `text_inputs` made of it. Raises ValueError on another shape.
    """
    parts = [_numeric(n, frame) for n in spec.numeric]
    parts += [_codes(c, frame) for c in spec.categorical]
    rows = len(parts[0] if parts else matrix_of(next(iter(vectors.values()))))
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


def text_inputs(feature: TextVector, vectors: Matrix | TextInputs, rows: int) -> Matrix:
    """A text column's part of the model inputs, from its vectors; those of several notes stand side by side."""
    if isinstance(vectors, TextInputs):
        return _of_shape(vectors.matrix, (rows, feature.width), feature)
    _of_shape(vectors, (rows, feature.notes * feature.dimension), feature)
    if not feature.components:
        return mean_vectors(vectors, feature.notes)
    if feature.notes == 1:
        return np.column_stack(_projected(feature, vectors)).astype(np.float32)
    each = [
        spoken.reshape(rows, -1) for spoken in _projected(feature, vectors.reshape(-1, feature.dimension))
    ]
    means = [mean_of_known(spoken) for spoken in each]
    worst = [np.where(np.isnan(spoken), -np.inf, spoken).max(axis=1) for spoken in each]
    inputs = [*means, *worst, *(spoken[:, 0] - mean for spoken, mean in zip(each, means, strict=True))]
    told = np.column_stack(inputs).astype(np.float32)
    told[np.isnan(vectors[:, 0])] = np.nan
    return told


def matrix_of(vectors: Matrix | TextInputs) -> Matrix:
    """The numbers themselves."""
    return vectors.matrix if isinstance(vectors, TextInputs) else vectors


def _of_shape(matrix: Matrix, shape: tuple[int, int], feature: TextVector) -> Matrix:
    if matrix.shape != shape:
        raise ValueError(f"{feature.name}: vectors of shape {matrix.shape}, expected {shape}")
    return matrix


def _projected(feature: TextVector, vectors: Matrix) -> list[Floats]:
    """Each component of each vector: one at a time, since how a matrix product rounds may depend on its rows."""
    exact = np.ascontiguousarray(vectors, np.float64)
    mean = np.asarray(feature.mean)
    return [(exact * c).sum(axis=1) - (mean * c).sum() for c in np.asarray(feature.components)]


def mean_of_known(values: Floats) -> Floats:
    """The mean along the second axis of what is not NaN, added up in order; NaN where nothing is."""
    known = ~np.isnan(values)
    total, count = np.zeros(values[:, 0].shape), known.sum(axis=1)
    for place in range(values.shape[1]):
        total += np.where(known[:, place], values[:, place], 0.0)
    return np.asarray(total / np.where(count > 0, count, np.nan), np.float64)


def mean_vectors(vectors: Matrix, notes: int) -> Matrix:
    """The mean vector of the notes of each row, whose vectors stand side by side."""
    if notes == 1:
        return vectors
    return mean_of_known(vectors.reshape(len(vectors), notes, -1).astype(np.float64)).astype(np.float32)


def loudest(feature: TextVector, vectors: Matrix, sign: Matrix) -> Ints:
    """Which of the notes of each row speaks most for the label, or with a negative sign most against it."""
    if not feature.components:
        return np.zeros(len(vectors), np.int64)
    first = len(feature.components) if not feature.folded else FOLDS
    spoken = sum(_projected(feature, vectors.reshape(-1, feature.dimension))[: min(first, FOLDS)])
    signed = np.reshape(spoken, (len(vectors), -1)) * np.where(sign < 0, -1, 1)[:, None]
    return np.asarray(np.where(np.isnan(signed), -np.inf, signed).argmax(axis=1), np.int64)
