"""What the trees read of a text vector: how it speaks for the label, then its principal components.

A few hundred numbers, each saying little, are what boosted trees are bad at and a linear model is good at. The
first component is therefore a ridge regression of the label (stacking: Wolpert 1992). Rows it was fitted on would
see their own label in it: they are given one that was fitted without their customer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Columns, Floats, Matrix
from churn_spark.contract.columns import FOLDS
from churn_spark.model.features import FeatureSpec, TextVector, assemble, text_inputs
from churn_spark.model.rows import Rows

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # times the mean variance of a component


class Projected(NamedTuple):
    """A text column's projection, and for each fold one that did not see the labels of that fold."""

    text: TextVector
    unseen: tuple[TextVector, ...]


Unseen = Sequence[Sequence[TextVector]]  # by fold, then by text column


def fit_projections(rows: Rows, *, width: int | None) -> list[Projected]:
    """Fit the projection of each text column that training rows have; `rows` are those, with `_fold`."""
    fold = rows.frame["_fold"].to_numpy(np.int64)
    return [
        fit_projection(name, vectors, rows.label, fold, width=width)
        for name, vectors in rows.vectors.items()
        if not np.isnan(vectors[:, 0]).all()
    ]


def assemble_unseen(
    spec: FeatureSpec,
    unseen: Unseen,
    frame: Columns,
    *,
    vectors: Mapping[str, Matrix],
    fold: npt.NDArray[np.int64],
) -> Matrix:
    """Make the model inputs as `assemble` does; those of rows with a `fold` from 0 on by what did not see them."""
    matrix = assemble(spec, frame, vectors=vectors)
    for number, texts in enumerate(unseen):
        rows = fold == number
        if rows.any():
            inputs = [text_inputs(t, vectors[t.name][rows], rows.sum()) for t in texts]
            matrix[rows, -sum(t.width for t in texts) :] = np.hstack(inputs)
    return matrix


def fit_projection(
    name: str,
    vectors: Matrix,
    label: Floats,
    fold: npt.NDArray[np.int64],
    *,
    width: int | None,
) -> Projected:
    """Fit the projection of the column `name` to `width` inputs on training rows.

    `vectors` is float32 of shape (n, dimension), rows of NaN where there is no text; `label` is 0/1, `fold` from 0
    to FOLDS - 1, the same for all rows of a customer. The penalty is the one with the least squared error out of
    fold. With `width` None, or no less than the dimension or the number of texts, vectors stay as they are.
    """
    known = ~np.isnan(vectors[:, 0])
    dimension = vectors.shape[1]
    if width is None or width >= min(dimension, known.sum()):
        whole = TextVector(name, dimension)
        return Projected(whole, (whole,) * FOLDS)
    vectors, label, fold = vectors[known].astype(np.float64), label[known], fold[known]
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    held = [fold == f for f in range(FOLDS)]
    slopes = [_ridge(centred[~out], label[~out], PENALTIES) for out in held]
    errors = [
        (((label[out] - label[~out].mean())[:, None] - centred[out] @ found.T) ** 2).sum(axis=0)
        for out, found in zip(held, slopes, strict=True)
    ]
    best = int(np.argmin(np.sum(errors, axis=0)))
    chosen = _ridge(centred, label, PENALTIES[best : best + 1])[0]
    principal = _principal(centred, width - 1)

    def text(slope: Floats) -> TextVector:
        return TextVector(name, dimension, _plain(mean), tuple(map(_plain, [slope, *principal])))

    return Projected(text(chosen), tuple(text(found[best]) for found in slopes))


def _ridge(centred: Floats, label: Floats, penalties: Sequence[float]) -> Floats:
    """A row with the slopes of the label for each penalty; zeros where there is nothing to learn from."""
    if not len(label):
        return np.zeros((len(penalties), centred.shape[1]))
    centred = centred - centred.mean(axis=0)
    products = centred.T @ centred
    towards = centred.T @ (label - label.mean())
    unit = max(np.trace(products) / len(products), np.finfo(float).tiny)
    eye = np.eye(len(products))
    return np.stack([np.linalg.solve(products + penalty * unit * eye, towards) for penalty in penalties])


def _principal(centred: Floats, count: int) -> Floats:
    """The first principal components, each with its largest part positive."""
    if not count:
        return np.empty((0, centred.shape[1]))
    _, vectors = np.linalg.eigh(np.cov(centred, rowvar=False))
    components: Floats = vectors.T[::-1][:count]
    signs: Floats = np.sign(components[np.arange(count), np.abs(components).argmax(axis=1)])
    return components * signs[:, None]


def _plain(values: Floats) -> tuple[float, ...]:
    """Rounded to float32, since the last bits depend on the machine."""
    return tuple(values.astype(np.float32).tolist())
