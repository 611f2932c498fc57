"""What each source column adds to a score, exactly and by table look-up.

Path-dependent TreeSHAP (Lundberg et al. 2018), as xgboost's `pred_contribs` computes it, at many times its
speed. A leaf's share in a Shapley value depends on nothing but which of the conditions on its path a row
misses, so it is tabulated once per leaf and pattern (Fast TreeSHAP v2, Yang 2021). Tables hold fixed-point
integers: their sums are the same to the bit whatever the order, so for one row and for a million.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from churn_spark.arrays import Matrix
from churn_spark.errors import ResourceError

SCALE = 2.0**40  # of the fixed-point numbers: steps of 1e-12 in log-odds
BLOCK_BYTES = 1 << 22  # a block of rows whose look-ups fit into a core's cache
MAX_ENTRIES = 1 << 23  # beyond 64 MB of tables xgboost's own algorithm has to do
MAX_INPUTS = 12  # on one path
CHUNK = 1 << 20  # numbers tabulated at once
TOLERANCE = 1e-3  # between a row's margin and its effects added up, in log-odds; float32 leaves some 1e-5

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Values = npt.NDArray[np.float64]


class Level(NamedTuple):
    """The nodes of one depth in all trees: the parent's place in the level above, and the condition to get here."""

    parent: Places
    condition: Places
    is_left: npt.NDArray[np.bool_]
    bit: npt.NDArray[
        np.uint16
    ]  # of the pattern of conditions missed; a path has one per input, however often used


class Entries(NamedTuple):
    """One source's share in the leaves: the leaf, where its table of patterns begins."""

    leaf: Places
    start: Places


class Leaf(NamedTuple):
    """A leaf on the way into the tables; `shares` tells per input on its path how many of the rows go there."""

    place: int
    value: float
    inputs: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Tables:
    """A booster's trees, laid out for look-up. `groups` are the distinct sources, `baseline` the mean score."""

    groups: tuple[str, ...]
    baseline: float
    trees: int
    feature: Places
    threshold: npt.NDArray[np.float32]
    default_left: npt.NDArray[np.bool_]
    categorical: Places  # the conditions on categories, and per condition and category whether it goes left
    category_left: npt.NDArray[np.bool_]
    levels: tuple[Level, ...]
    entries: tuple[Entries, ...]
    table: Ints

    def effects(self, matrix: Matrix) -> Matrix:
        """Effects by group in log-odds and the baseline, float32 (n, groups + 1), of model inputs (n, inputs)."""
        found = np.empty((len(matrix), len(self.groups) + 1), np.float32)
        found[:, -1] = self.baseline
        widest = max((len(e.leaf) for e in self.entries), default=0)
        block = max(1, BLOCK_BYTES // (8 * max(widest, 1)))
        for start in range(0, len(matrix), block):
            missed = self._missed(np.ascontiguousarray(matrix[start : start + block].T))
            for place, (leaf, first) in enumerate(self.entries):
                sums = self.table[missed[leaf] + first[:, None]].sum(axis=0)
                found[start : start + block, place] = sums / SCALE
        return found

    def _missed(self, inputs: Matrix) -> npt.NDArray[np.uint16]:
        """The pattern of conditions missed on the way to each node, of shape (nodes, n)."""
        left = self._goes_left(inputs)
        state = np.zeros((self.trees, inputs.shape[1]), np.uint16)
        states = [state]
        for parent, condition, is_left, bit in self.levels:
            misses = left[condition] != is_left[:, None]
            state = state[parent] | misses * bit[:, None]
            states.append(state)
        return np.concatenate(states)

    def _goes_left(self, inputs: Matrix) -> npt.NDArray[np.bool_]:
        values = inputs[self.feature]
        left = values < self.threshold[:, None]
        if len(self.categorical):
            last = self.category_left.shape[1] - 1
            codes = np.fmin(values[self.categorical], last).astype(np.intp)  # missing ones are decided below
            left[self.categorical] = np.take_along_axis(self.category_left, codes, axis=1)
        return np.where(np.isnan(values), self.default_left[:, None], left)


def tabulate(booster: xgb.Booster, sources: Sequence[str]) -> Tables | None:
    """Lay out a booster's trees; `sources` names the source of each input. None: no splits, or too deep for tables."""
    groups = tuple(dict.fromkeys(sources))
    group_of = np.array([groups.index(s) for s in sources], np.intp)
    trees = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    layout = _laid_out(trees)
    widths = [len(leaf.inputs) for leaf in layout.leaves]
    if not 0 < max(widths, default=0) <= MAX_INPUTS or sum(w << w for w in widths) > MAX_ENTRIES:
        return None
    entries, table = _tables(layout.leaves, group_of, len(groups))
    return Tables(
        groups=groups,
        baseline=_baseline(booster),
        trees=len(trees),
        feature=np.array([c.feature for c in layout.conditions], np.intp),
        threshold=np.array([c.threshold for c in layout.conditions], np.float32),
        default_left=np.array([c.default_left for c in layout.conditions], bool),
        categorical=np.flatnonzero([c.right is not None for c in layout.conditions]),
        category_left=_category_left([c.right for c in layout.conditions if c.right is not None]),
        levels=tuple(layout.levels),
        entries=entries,
        table=table,
    )


def check_sums(effects: Matrix, margin: Matrix) -> None:
    """Raise ResourceError where a row's effects and baseline do not add up to its margin."""
    gap = np.abs(effects.sum(axis=1, dtype=np.float64) - margin)
    wrong = int((~(gap <= TOLERANCE * (1 + np.abs(margin)))).sum())
    if wrong:
        raise ResourceError(
            f"reasons do not add up to the score in {wrong:,} of {len(margin):,} rows",
            where="churn_spark.model.contributions",
            fix="nothing wrong was published; this is a fault of churn_spark: report it with the model package",
        )


def _baseline(booster: xgb.Booster) -> float:
    """The mean score over the training rows: the same for every row, so asked of one."""
    data = xgb.DMatrix(
        np.full((1, booster.num_features()), np.nan, np.float32), feature_names=booster.feature_names,
        feature_types=booster.feature_types, nthread=1, enable_categorical=True,
    )  # fmt: skip
    return float(booster.predict(data, pred_contribs=True)[0, -1])


def _category_left(right: Sequence[Sequence[int]]) -> npt.NDArray[np.bool_]:
    """Listed categories go right, others left; the last column stands for all beyond."""
    width = max((max(codes) for codes in right), default=-1) + 2
    left = np.ones((len(right), width), bool)
    for row, codes in enumerate(right):
        left[row, codes] = False
    return left


class Condition(NamedTuple):
    """A split: the input it reads, where it cuts, where missing values go, and the categories that go right."""

    feature: int
    threshold: float
    default_left: bool
    right: Sequence[int] | None


class Reached(NamedTuple):
    """A node on the way down: its tree, and per input on the path how many of the rows go there."""

    tree: int
    node: int
    shares: dict[int, float]


class Edge(NamedTuple):
    """The step from a node to a child, the fields of `Level` for one node."""

    parent: int
    condition: int
    is_left: bool
    bit: int


class Layout(NamedTuple):
    """All trees' conditions and leaves, and their nodes level by level."""

    conditions: list[Condition]
    levels: list[Level]
    leaves: list[Leaf]


def _laid_out(trees: Sequence[dict[str, Any]]) -> Layout:
    """Walk the trees level by level; a leaf's place counts all nodes before it."""
    layout = Layout([], [], [])
    categories = [_category_sets(t) for t in trees]
    level, placed = [Reached(t, 0, {}) for t in range(len(trees))], 0
    while level:
        edges: list[Edge] = []
        below: list[Reached] = []
        for place, (number, node, shares) in enumerate(level):
            tree = trees[number]
            if tree["left_children"][node] < 0:
                value = float(tree["split_conditions"][node])
                layout.leaves.append(Leaf(placed + place, value, tuple(shares), tuple(shares.values())))
                continue
            feature = tree["split_indices"][node]
            layout.conditions.append(
                Condition(
                    feature,
                    tree["split_conditions"][node],
                    bool(tree["default_left"][node]),
                    categories[number].get(node),
                )
            )
            for side in ("left_children", "right_children"):
                child = tree[side][node]
                share = tree["sum_hessian"][child] / tree["sum_hessian"][node]
                path = {**shares, feature: shares.get(feature, 1.0) * share}
                bit = 1 << min(list(path).index(feature), 15)
                edges.append(Edge(place, len(layout.conditions) - 1, side == "left_children", bit))
                below.append(Reached(number, child, path))
        if edges:
            parent, condition, is_left, bits = zip(*edges, strict=True)
            layout.levels.append(
                Level(np.array(parent), np.array(condition), np.array(is_left), np.array(bits, np.uint16))
            )
        placed, level = placed + len(level), below
    return layout


def _category_sets(tree: dict[str, Any]) -> dict[int, list[int]]:
    """The categories that go right, by node."""
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {node: tree["categories"][start : start + size] for node, start, size in spans}


def _tables(leaves: Sequence[Leaf], group_of: Places, groups: int) -> tuple[tuple[Entries, ...], Ints]:
    """One table per leaf and group on its path: the group's share for each pattern of conditions missed."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(groups)]
    parts: list[Ints] = []
    size = 0
    for leaf, shares in _shapley(leaves):
        of = group_of[list(leaf.inputs)]
        for group in dict.fromkeys(of.tolist()):
            part = np.rint(shares[:, of == group].sum(axis=1) * SCALE).astype(np.int64)
            found[group].append((leaf.place, size))
            parts.append(part)
            size += len(part)
    entries = tuple(Entries(*np.array(f, np.intp).reshape(-1, 2).T) for f in found)
    return entries, np.concatenate(parts) if parts else np.empty(0, np.int64)


def _shapley(leaves: Sequence[Leaf]) -> Iterator[tuple[Leaf, Values]]:
    """Each leaf with inputs on its path, and their Shapley values per pattern, of shape (2^inputs, inputs).

    Input i of d gets value x (met_i - share_i) x sum_S |S|! (d - |S| - 1)! / d! prod_S met prod_others share,
    over subsets S of the other inputs; the sum by size of S is a product of polynomials (share + met x t).
    """
    for count in sorted({len(leaf.inputs) for leaf in leaves} - {0}):
        chosen = [leaf for leaf in leaves if len(leaf.inputs) == count]
        step = max(1, CHUNK // (count << count))
        for chunk in (chosen[i : i + step] for i in range(0, len(chosen), step)):
            yield from zip(chunk, _shapley_values(chunk, count), strict=True)


def _shapley_values(leaves: Sequence[Leaf], count: int) -> Values:
    """`_shapley` for leaves with `count` inputs, of shape (leaves, 2^count, count)."""
    missed = np.arange(1 << count)[:, None] >> np.arange(count) & 1
    met = np.broadcast_to(1.0 - missed, (len(leaves), 1 << count, count))
    share = np.array([leaf.shares for leaf in leaves])[:, None, :]
    weights = [factorial(k) * factorial(count - 1 - k) / factorial(count) for k in range(count)]
    values = np.empty(met.shape)
    for i in range(count):
        sizes = np.zeros(met.shape)
        sizes[..., 0] = 1.0
        for j in (j for j in range(count) if j != i):
            larger = np.concatenate([np.zeros_like(sizes[..., :1]), sizes[..., :-1]], axis=-1)
            sizes = sizes * share[..., j, None] + larger * met[..., j, None]
        values[..., i] = (met[..., i] - share[..., i]) * (sizes @ weights)
    scaled: Values = values * np.array([leaf.value for leaf in leaves])[:, None, None]
    return scaled
