"""What the trees read of a text vector: how it speaks for the label, then its principal components.

A few hundred numbers, each saying little, are what boosted trees are bad at and a linear model is good at. The first
input is therefore a ridge regression of the label (stacking: Wolpert 1992). Rows it was fitted on would see their own
label in it: they are given one that was fitted without their customer's fold.

All is learnt from sums over the rows of each fold, in whole numbers: exact, so the same in any order and by any
number of workers. That is why the ridge and the components are solved here and not by scikit-learn, which wants rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Columns, Floats, Ints, Matrix
from churn_spark.contract.folds import FOLDS
from churn_spark.model.features import FeatureSpec, TextVector, assemble, text_inputs

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # times the mean variance of a component
STEP = 2.0**-16  # vectors are rounded to it, so that products are whole numbers of 2**-32
NO_NOTES: Mapping[str, int] = {}
BLOCK = 8192  # rows whose products add up to less than 2**53, so exactly, for vectors up to a length of 16


class Moments(NamedTuple):
    """Sums over the rows of each fold that have a text, in steps of STEP; of shape (FOLDS, ...)."""

    rows: Ints
    label: Ints
    vector: Ints  # (FOLDS, dimension)
    towards: Ints  # of vector x label
    products: Ints  # of vector x vector, (FOLDS, dimension, dimension)

    @property
    def dimension(self) -> int:
        return int(self.vector.shape[1])

    def plus(self, other: Moments) -> Moments:
        """The sums over both."""
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))


def text_moments(vectors: Matrix, label: npt.ArrayLike, fold: npt.ArrayLike) -> Moments:
    """Sum up rows: `vectors` (n, dimension), NaN where there is no text; `label` 0/1; `fold` from 0 on."""
    label, fold, known = np.asarray(label), np.asarray(fold), ~np.isnan(vectors[:, 0])
    dimension = vectors.shape[1]
    shapes: list[tuple[int, ...]] = [(), (), (dimension,), (dimension,), (dimension, dimension)]
    total = Moments(*(np.zeros((FOLDS, *shape), np.int64) for shape in shapes))
    for number, start in product(range(FOLDS), range(0, len(vectors), BLOCK)):
        chosen = np.flatnonzero((known & (fold == number))[start : start + BLOCK]) + start
        steps, churned = np.rint(vectors[chosen].astype(np.float64) / STEP), label[chosen].astype(np.float64)
        sums = (len(chosen), churned.sum(), steps.sum(axis=0), churned @ steps, steps.T @ steps)
        for field, value in zip(total, sums, strict=True):
            field[number] += np.asarray(value, np.float64).astype(np.int64)
    return total


class Projected(NamedTuple):
    """A text column's projection, and for the rows of each fold one that did not see their labels."""

    text: TextVector
    unseen: tuple[TextVector, ...]


Unseen = Sequence[Sequence[TextVector]]  # by fold, then by text column


def fit_projections(
    moments: Mapping[str, Moments], *, width: int | None, folded: bool, notes: Mapping[str, int] = NO_NOTES
) -> tuple[list[TextVector], Unseen]:
    """The projection of each text column that learning rows have, and by fold those for the learning rows.

    `notes` says how many notes the columns hold that hold several; their moments are those of the mean vectors.
    """
    fitted = [
        fit_projection(name, sums, width=width, folded=folded, notes=notes.get(name, 1))
        for name, sums in moments.items()
        if sums.rows.any()
    ]
    return [p.text for p in fitted], tuple(zip(*[p.unseen for p in fitted], strict=True))


def fit_projection(
    name: str, moments: Moments, *, width: int | None, folded: bool, notes: int = 1
) -> Projected:
    """Fit the projection of the column `name` to `width` inputs for each booster.

    With `folded` there is a first input for each fold's booster, which did not see that fold; else one for all. For
    learning rows each is one that saw neither that fold nor theirs. The penalty is the one with the least squared
    error out of fold. With `width` None, or no less than the dimension or the number of texts, vectors stay whole.
    """
    dimension, count = moments.dimension, int(moments.rows.sum())
    if width is None or width >= min(dimension, count):
        whole = TextVector(name, dimension, notes=notes)
        return Projected(whole, (whole,) * FOLDS)
    penalty = _best_penalty(moments)
    every = _centred(moments, range(FOLDS))
    principal = _principal(every, width - 1)

    def text(unseen: int | None) -> TextVector:
        """What rows of the fold `unseen` are given; None: rows that nothing was learnt from."""
        own = range(FOLDS) if folded else [None]
        slopes = [_ridge(_centred(moments, _without(unseen, fold)), [penalty])[0] for fold in own]
        components = tuple(map(_plain, [*slopes, *principal]))
        return TextVector(name, dimension, _plain(every.mean), components, folded, notes)

    return Projected(text(None), tuple(map(text, range(FOLDS))))


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


class _Centred(NamedTuple):
    """Means, and sums of products of the deviations from them."""

    rows: int
    mean: Floats
    label: float
    towards: Floats
    products: Floats


def _without(*folds: int | None) -> list[int]:
    return [f for f in range(FOLDS) if f not in folds]


def _centred(moments: Moments, folds: Sequence[int]) -> _Centred:
    rows, label, vector, towards, products = (field[list(folds)].sum(axis=0) for field in moments)
    count = max(int(rows), 1)
    mean, rate = vector * (STEP / count), float(label) / count
    return _Centred(
        int(rows), mean, rate, towards * STEP - vector * (STEP * rate),
        products * STEP**2 - count * np.outer(mean, mean),
    )  # fmt: skip


def _ridge(sums: _Centred, penalties: Sequence[float]) -> Floats:
    """A row with the slopes of the label for each penalty; zeros where there is nothing to learn from."""
    unit = max(np.trace(sums.products) / len(sums.products), np.finfo(float).tiny)
    eye = np.eye(len(sums.products))
    return np.stack([np.linalg.solve(sums.products + p * unit * eye, sums.towards) for p in penalties])


def _best_penalty(moments: Moments) -> float:
    """The penalty with the least squared error on the folds that the slopes were not fitted on."""
    errors = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        seen, own = _centred(moments, _without(fold)), _centred(moments, [fold])
        slopes = _ridge(seen, PENALTIES)
        shift = own.rows * (own.label - seen.label - slopes @ (own.mean - seen.mean)) ** 2
        spread = own.rows * own.label * (1 - own.label) - 2 * slopes @ own.towards
        errors += shift + spread + np.einsum("pi,ij,pj->p", slopes, own.products, slopes)
    return PENALTIES[int(np.argmin(errors))]


def _principal(sums: _Centred, count: int) -> Floats:
    """The first principal components, each with its largest part positive."""
    if not count:
        return np.empty((0, len(sums.mean)))
    _, vectors = np.linalg.eigh(sums.products)
    components: Floats = vectors.T[::-1][:count]
    signs: Floats = np.sign(components[np.arange(count), np.abs(components).argmax(axis=1)])
    return components * signs[:, None]


def _plain(values: Floats) -> tuple[float, ...]:
    """Rounded to float32, since the last bits depend on the machine."""
    return tuple(values.astype(np.float32).tolist())
