"""How good are the probabilities? One sorted table of counts answers every question.

A `Counts` table holds, per distinct score from best to worst, how many customers churned and stayed. Ranking,
calibration and money are all sums over it, so rows, rows with weights, counts binned in Spark and bootstrap
resamples (as leading axes) go through the same few lines, and ties are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import xlogy

from churn_spark.model.policy import (
    Floats,
    Policy,
    campaign_profit,
    capacity_cutoff,
    expected_maximum_profit,
    expected_value,
    maximum_profit,
)

Ints = NDArray[np.intp]

PERCENTS = (1, 5, 10, 20)
CALIBRATION_BINS = 10  # of equally many customers: equal widths leave most bins empty at churn's base rates
INTERVAL_BINS = 1000  # scores are binned for the intervals alone; the values themselves are exact
RESAMPLED_UNITS = 10_000
CURVE_POINTS = 200
HISTOGRAM_BINS = 50
MIN_SLICE = 100  # customers
MAX_SLICES = 20  # a column, the largest first
LOWER_IS_BETTER = ("log_loss", "brier", "ece")


@dataclass(frozen=True)
class Counts:
    """Customers by distinct score, highest first; leading axes of the counts are resamples.

    `value` is the summed customer value of the churners, None where every customer is worth the same.
    """

    score: Floats
    churned: Floats
    stayed: Floats
    value: Floats | None = None

    @classmethod
    def of(
        cls, label: ArrayLike, score: ArrayLike, *, weight: ArrayLike = 1.0, value: ArrayLike | None = None
    ) -> Counts:
        """Count rows by score; `weight` is how many customers a row stands for, e.g. in a binned table."""
        label = np.asarray(label, np.float64)
        distinct, index = np.unique(-np.asarray(score, np.float64), return_inverse=True)
        size = max(1, len(distinct))

        def total(amount: Floats) -> Floats:
            return _sums(index, np.broadcast_to(amount, label.shape), size)

        weight = np.asarray(weight, np.float64)
        churned = label * weight
        worth = None if value is None else total(churned * np.asarray(value, np.float64))
        return cls(-np.resize(distinct, size), total(churned), total(weight - churned), worth)

    @property
    def customers(self) -> Floats:
        return self.churned + self.stayed

    def each(self, change: Callable[[Floats], Floats]) -> Counts:
        """The table with every column of counts changed in the same way."""
        value = None if self.value is None else change(self.value)
        return Counts(self.score, change(self.churned), change(self.stayed), value)

    def cumulative(self) -> Counts:
        """Counts of the customers at or above each score."""
        return self.each(lambda column: np.cumsum(column, axis=-1))


def ranking_metrics(counts: Counts) -> dict[str, Floats]:
    """Return roc_auc, pr_auc (average precision), ks, and lift and capture at the best 1, 5, 10 and 20 %."""
    above = counts.cumulative()
    churners, stayers = above.churned[..., -1:], above.stayed[..., -1:]
    recall, fallout = _ratio(above.churned, churners), _ratio(above.stayed, stayers)
    precision = _ratio(above.churned, above.customers, undefined=0.0)
    ranked_right = (counts.stayed * (above.churned - counts.churned / 2)).sum(-1)
    metrics = {
        "roc_auc": _ratio(ranked_right, (churners * stayers)[..., 0]),
        "pr_auc": _ratio((counts.churned * precision).sum(-1), churners[..., 0]),
        "ks": np.abs(recall - fallout).max(-1),
    }
    captures = {percent: capture(counts, share=percent / 100) for percent in PERCENTS}
    metrics |= {f"lift_{percent}": captured * 100 / percent for percent, captured in captures.items()}
    return metrics | {f"capture_{percent}": captured for percent, captured in captures.items()}


def capture(counts: Counts, *, share: float) -> Floats:
    """Return the share of all churners among this best share of customers; ties count in proportion."""
    above = counts.cumulative()
    goal = share * above.customers[..., -1:]
    cell = np.minimum((above.customers < goal).sum(-1, keepdims=True), len(counts.score) - 1)
    reached, churned, customers, found = (
        np.take_along_axis(x, cell, -1)
        for x in (above.customers, counts.churned, counts.customers, above.churned)
    )
    excess = _ratio((reached - goal) * churned, customers, undefined=0.0)
    return _ratio(found - excess, above.churned[..., -1:])[..., 0]


def probability_metrics(counts: Counts) -> dict[str, Floats]:
    """Return log_loss, brier, brier_skill (against the base rate), ece, base_rate and mean_probability."""
    p, customers = counts.score, counts.customers.sum(-1)
    base_rate = _ratio(counts.churned.sum(-1), customers)
    loss = -(xlogy(counts.churned, np.maximum(p, 1e-15)) + xlogy(counts.stayed, np.maximum(1 - p, 1e-15)))
    brier = _ratio((counts.churned * (1 - p) ** 2 + counts.stayed * p**2).sum(-1), customers)
    bins = reliability(counts)
    gaps = np.abs(bins.churned - bins.score * bins.customers)
    return {
        "log_loss": _ratio(loss.sum(-1), customers),
        "brier": brier,
        "brier_skill": 1 - _ratio(brier, base_rate * (1 - base_rate)),
        "ece": _ratio(gaps.sum(-1), customers),
        "base_rate": base_rate,
        "mean_probability": _ratio((p * counts.customers).sum(-1), customers),
    }


def reliability(counts: Counts) -> Counts:
    """Pool the table into CALIBRATION_BINS of about equally many customers; scores become their mean."""
    group = _equal_groups(counts.customers.reshape(-1, len(counts.score)).sum(0), CALIBRATION_BINS)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    pooled = counts.each(lambda column: np.add.reduceat(column, starts, axis=-1))
    total = np.add.reduceat(counts.score * counts.customers, starts, axis=-1)
    return replace(pooled, score=_ratio(total, pooled.customers, undefined=0.0))


def threshold_metrics(counts: Counts, *, threshold: float) -> dict[str, Floats]:
    """Return precision, recall, f1 and the confusion counts, where score >= threshold predicts churn."""
    predicted = counts.score >= threshold
    tp, fp = counts.churned[..., predicted].sum(-1), counts.stayed[..., predicted].sum(-1)
    fn, tn = counts.churned.sum(-1) - tp, counts.stayed.sum(-1) - fp
    return {
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "true_positive": tp,
        "false_positive": fp,
        "true_negative": tn,
        "false_negative": fn,
    }


def money_metrics(counts: Counts, policy: Policy, *, cutoff: float) -> dict[str, Floats]:
    """Return profit, mpc, mpc_share, empc and empc_share; money is per customer, contacted or not.

    `profit` is that of contacting everyone at or above the cut-off; the others are the most that any cut-off
    of this ranking could have earned (Verbraken, Verbeke & Baesens 2013).
    """
    above, chosen = counts.cumulative(), counts.score >= cutoff
    reached = counts.each(lambda column: column[..., chosen].sum(-1))
    profit = campaign_profit(reached.churned, reached.stayed, policy, value=reached.value)
    mpc, mpc_share = maximum_profit(above.churned, above.stayed, policy, value=above.value)
    empc, empc_share = expected_maximum_profit(above.churned, above.stayed, policy, value=above.value)
    return {
        "profit": _ratio(profit, above.customers[..., -1]),
        "mpc": mpc,
        "mpc_share": mpc_share,
        "empc": empc,
        "empc_share": empc_share,
    }


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    policy: Policy,
    split: str,
    customer: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    value: ArrayLike | None = None,
    slices: pd.DataFrame | None = None,
    slice_name: str = "all",
    cutoff: float | None = None,
    min_slice: int = MIN_SLICE,
    resamples: int = 300,
    seed: int = 42,
) -> pd.DataFrame:
    """Return every metric with its 95 % interval: columns split, slice, metric, value, ci_low, ci_high, n.

    All arrays have one entry a row; rows without label or probability are left out, and `n` counts the rest.
    The percentile bootstrap draws whole customers (`customer`, else each row is one), so several snapshots
    of a customer stay together. Rows of a binned table carry `weight`, the customers counted. `value` is each
    customer's own value: the money metrics then rank by expected value. Each column of `slices` adds one
    slice a value or quartile, where it holds `min_slice` customers. Where the rows are themselves a slice,
    `slice_name` names it and `cutoff` is the whole table's `contact_cutoff`. What one class leaves undefined is
    NaN.
    """
    rows = _rows(label, probability, policy=policy, customer=customer, weight=weight, value=value)
    draws = _draws(rows, resamples=resamples, seed=seed)
    cutoff = _contact_cutoff(rows, policy) if cutoff is None else cutoff
    masks = {slice_name: np.ones(len(rows), dtype=bool)}
    if slices is not None:
        masks |= _slice_masks(slices.iloc[rows.index], rows["weight"], min_slice)
    tables = []
    for name, mask in masks.items():
        values, spread = _with_resamples(rows[mask], draws, policy, cutoff)
        n = round(rows["weight"][mask].sum())
        tables.append(_interval(values, spread).assign(split=split, slice=name, n=n))
    columns = ["split", "slice", "metric", "value", "ci_low", "ci_high", "n"]
    return pd.concat(tables, ignore_index=True)[columns]


def compare(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    baseline: ArrayLike,
    policy: Policy,
    customer: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    resamples: int = 300,
    seed: int = 42,
) -> pd.DataFrame:
    """Return by how much each metric exceeds the baseline's on the same rows: metric, value, ci_low, ci_high.

    Both are resampled with the same draws, so what they share cancels out of the interval.
    """
    both = ~np.isnan(np.asarray(probability, np.float64) + np.asarray(baseline, np.float64))
    results = []
    for scores in (baseline, probability):
        rows = _rows(label, np.where(both, scores, np.nan), policy=policy, customer=customer, weight=weight)
        draws = _draws(rows, resamples=resamples, seed=seed)
        results.append(_with_resamples(rows, draws, policy, policy.threshold))
    (old, old_spread), (new, new_spread) = results
    return _interval(new - old, new_spread - old_spread)


def agreement(new: ArrayLike, old: ArrayLike, *, weight: ArrayLike = 1.0) -> dict[str, float]:
    """Return how alike two scores of the same rows are: rank_correlation (Spearman) and top_decile_overlap.

    The overlap is the share of the new score's best tenth that is in the old one's, too; ties share ranks.
    """
    new, old = np.asarray(new, np.float64), np.asarray(old, np.float64)
    weight = np.broadcast_to(np.asarray(weight, np.float64), new.shape)
    ranks = np.array([_shares_above(score, weight) for score in (new, old)])
    covariance = np.cov(ranks, aweights=weight) if len(new) > 1 else np.zeros((2, 2))
    spread = np.sqrt(covariance[0, 0] * covariance[1, 1])
    top = ranks < 0.1
    both = _ratio((weight * top.all(axis=0)).sum(), (weight * top[0]).sum())
    return {"rank_correlation": float(_ratio(covariance[0, 1], spread)), "top_decile_overlap": float(both)}


def _shares_above(score: Floats, weight: Floats) -> Floats:
    """The share of customers that rank above each one; of those tied with it, half do."""
    _, place = np.unique(-score, return_inverse=True)
    size = _sums(place, weight, len(score))
    above: Floats = (np.cumsum(size) - size / 2) / size.sum()
    return above[place]


def curves(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    policy: Policy,
    split: str,
    weight: ArrayLike | None = None,
    value: ArrayLike | None = None,
) -> pd.DataFrame:
    """Return the points of every figure: columns split, curve, bin, x, y, n; an undefined curve has none.

    roc: x false and y true positive rate. pr: recall, precision. gains: share contacted, share of churners
    found. profit: share contacted, money per customer. calibration: mean probability, share that churned.
    score_churned, score_stayed: probability, share of that class. `n` is how many customers a point rests on.
    """
    rows = _rows(label, probability, policy=policy, weight=weight, value=value)
    counts, money = _counts(rows)
    above, contacted = _thinned(counts), _thinned(money)
    recall, everybody = _ratio(above.churned, above.churned[-1]), above.customers[-1]
    profit = campaign_profit(contacted.churned, contacted.stayed, policy, value=contacted.value)
    pooled = reliability(counts)
    points = {
        "roc": (_ratio(above.stayed, above.stayed[-1]), recall, above.customers),
        "pr": (recall, _ratio(above.churned, above.customers), above.customers),
        "gains": (_ratio(above.customers, everybody), recall, above.customers),
        "profit": (_ratio(contacted.customers, everybody), _ratio(profit, everybody), contacted.customers),
        "calibration": (pooled.score, _ratio(pooled.churned, pooled.customers), pooled.customers),
        "score_churned": _histogram(counts.score, counts.churned),
        "score_stayed": _histogram(counts.score, counts.stayed),
    }
    return pd.concat([_curve(name, *xyn, split=split) for name, xyn in points.items()], ignore_index=True)


def learning_curve(loss: ArrayLike, *, split: str, n: int) -> pd.DataFrame:
    """Return the loss after each tree as rows of `curves`; `n` is how many customers it was measured on."""
    y = np.asarray(loss, np.float64)
    shown = np.unique(np.linspace(0, len(y) - 1, min(len(y), CURVE_POINTS)).round().astype(int))
    return _curve("learning", shown + 1.0, y[shown], np.full(len(shown), float(n)), split=split)


def slice_names(column: pd.Series) -> pd.Series:
    """Name the slice of each value: q1 to q4 for numbers of many values, yes/no, else the value as text."""
    if pd.api.types.is_bool_dtype(column):
        names = column.map({True: "yes", False: "no"})
    elif pd.api.types.is_numeric_dtype(column) and column.nunique() > 4:
        quartile = pd.qcut(column, 4, labels=False, duplicates="drop")
        names = quartile.map(lambda number: f"q{number + 1:.0f}", na_action="ignore")
    else:
        names = column.map("{}".format, na_action="ignore")
    return names.astype(object).where(column.notna(), "missing")


def _rows(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    policy: Policy,
    customer: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    value: ArrayLike | None = None,
) -> pd.DataFrame:
    """Line the arrays up, one row each, with its place among the bootstrap's units.

    A unit is drawn with equal `chance`, and `brings` all customers of its rows; but a row of a binned table
    is drawn once for each customer it stands for.
    """
    rows = pd.DataFrame({"label": np.asarray(label, float), "probability": np.asarray(probability, float)})
    rows["weight"] = 1.0 if weight is None else np.asarray(weight, float)
    if value is not None:
        rows["value"] = np.asarray(value, float)
        rows["value"] = rows["value"].fillna(policy.customer_value)
        rows["contact"] = expected_value(rows["probability"], policy, value=rows["value"])
    known = rows[["label", "probability"]].notna().all(axis=1).to_numpy()
    rows = rows[known]
    if weight is not None and customer is None:
        return rows.assign(unit=np.arange(len(rows)), chance=rows["weight"], brings=1.0)
    keys = np.arange(len(known)) if customer is None else np.asarray(customer)
    return rows.assign(unit=_units(keys[known]), chance=1.0, brings=rows["weight"])


def _units(keys: NDArray[Any]) -> Ints:
    """Number the customers in an order of their own, at most RESAMPLED_UNITS of them.

    More customers share units by chance: that bounds the work and leaves the variance unbiased.
    """
    code, distinct = pd.factorize(keys)
    shuffled = pd.util.hash_array(distinct).argsort().argsort()
    return (shuffled % RESAMPLED_UNITS)[code]


def _counts(rows: pd.DataFrame) -> tuple[Counts, Counts]:
    """Count by probability, and by the score by which customers are contacted; mostly the same table."""
    counts = Counts.of(rows["label"], rows["probability"], weight=rows["weight"])
    if "value" not in rows:
        return counts, counts
    return counts, Counts.of(rows["label"], rows["contact"], weight=rows["weight"], value=rows["value"])


def contact_cutoff(
    policy: Policy,
    *,
    label: ArrayLike,
    probability: ArrayLike,
    weight: ArrayLike | None = None,
    value: ArrayLike | None = None,
) -> float:
    """Return the score from which customers are contacted: the threshold or, with own values, their gain."""
    return _contact_cutoff(_rows(label, probability, policy=policy, weight=weight, value=value), policy)


def _contact_cutoff(rows: pd.DataFrame, policy: Policy) -> float:
    """The policy's threshold or, with own values, the expected value at which gain or capacity ends."""
    if "value" not in rows:
        return policy.threshold
    return max(0.0, capacity_cutoff(rows["contact"], share=policy.capacity_share, weight=rows["weight"]))


def _metrics(counts: Counts, contacted: Counts, policy: Policy, cutoff: float) -> dict[str, Floats]:
    return {
        **ranking_metrics(counts),
        **probability_metrics(counts),
        **threshold_metrics(counts, threshold=policy.threshold),
        **money_metrics(contacted, policy, cutoff=cutoff),
    }


def _draws(rows: pd.DataFrame, *, resamples: int, seed: int) -> Floats:
    """How often the bootstrap draws each unit, units x resamples."""
    chance = rows.groupby("unit")["chance"].first().to_numpy()
    if not len(chance):
        return np.zeros((0, resamples))
    drawn = np.random.default_rng(seed).multinomial(
        round(chance.sum()), chance / chance.sum(), size=resamples
    )
    return np.ascontiguousarray(drawn.T, dtype=np.float64)


def _with_resamples(
    rows: pd.DataFrame, draws: Floats, policy: Policy, cutoff: float
) -> tuple[pd.Series, pd.DataFrame]:
    """Every metric on the rows, exactly, and on each resample of them, binned."""
    values = _metrics(*_counts(rows), policy, cutoff)
    binned = _resampled(rows, draws, "probability", policy.threshold)
    contacted = _resampled(rows, draws, "contact", cutoff) if "value" in rows else binned
    return pd.Series(values, dtype=float), pd.DataFrame(_metrics(binned, contacted, policy, cutoff))


def _resampled(rows: pd.DataFrame, draws: Floats, score: str, cutoff: float) -> Counts:
    """Count each resample in about INTERVAL_BINS bins of equally many customers, none astride the cut-off."""
    scores, weight = rows[score].to_numpy(), rows["weight"].to_numpy()
    distinct, place = np.unique(-scores, return_inverse=True)
    group = _equal_groups(_sums(place, weight, len(distinct)), INTERVAL_BINS)
    _, cell = np.unique(2 * group + (-distinct < cutoff), return_inverse=True)
    index = cell[place]
    size = int(index.max(initial=0)) + 1

    def drawn(amount: Floats) -> Floats:
        matrix = sparse.csr_matrix((amount, (index, rows["unit"])), shape=(size, len(draws)))
        return np.ascontiguousarray((matrix @ draws).T)

    mean = _ratio(_sums(index, weight * scores, size), _sums(index, weight, size), undefined=0.0)
    brings = rows["brings"].to_numpy()
    churned = brings * rows["label"].to_numpy()
    worth = drawn(churned * rows["value"].to_numpy()) if "value" in rows else None
    return Counts(mean, drawn(churned), drawn(brings - churned), worth)


def _interval(values: pd.Series, spread: pd.DataFrame) -> pd.DataFrame:
    """The 95 % percentile interval, widened to the value: resampling adds noise to ece, ks and maxima."""
    low, high = spread.quantile(0.025), spread.quantile(0.975)
    table = pd.DataFrame(
        {"value": values, "ci_low": low.clip(upper=values), "ci_high": high.clip(lower=values)}
    )
    return table.rename_axis("metric").reset_index()


def _slice_masks(slices: pd.DataFrame, weight: pd.Series, min_slice: int) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for column in slices:
        names = slice_names(slices[column]).to_numpy()
        sizes = weight.groupby(names).sum()
        kept = sizes[sizes >= min_slice].nlargest(MAX_SLICES).index.sort_values()
        masks |= {f"{column}={name}": names == name for name in kept}
    return masks


def _thinned(counts: Counts) -> Counts:
    """Cumulative counts from nobody to everybody, at no more than CURVE_POINTS equally spaced shares."""
    above = counts.cumulative()
    goals = np.linspace(0, above.customers[-1], CURVE_POINTS - 1)
    shown = np.unique(np.searchsorted(above.customers, goals).clip(max=len(counts.score) - 1))
    return above.each(lambda column: np.r_[0.0, column[shown]])


def _histogram(score: Floats, customers: Floats) -> tuple[Floats, Floats, Floats]:
    height, edges = np.histogram(score, bins=HISTOGRAM_BINS, range=(0, 1), weights=customers)
    return (edges[:-1] + edges[1:]) / 2, _ratio(height, customers.sum()), height


def _curve(name: str, x: Floats, y: Floats, n: Floats, *, split: str) -> pd.DataFrame:
    points = pd.DataFrame({"split": split, "curve": name, "bin": np.arange(len(x)), "x": x, "y": y, "n": n})
    return points.astype({"n": np.int64}).dropna(subset=["x", "y"])


def _equal_groups(customers: Floats, groups: int) -> Ints:
    """Put consecutive cells into about equally large groups, by where the middle of each cell falls."""
    middle = np.cumsum(customers) - customers / 2
    return (groups * _ratio(middle, customers.sum(), undefined=0.0)).astype(np.intp)


def _sums(index: Ints, amount: Floats, size: int) -> Floats:
    return np.bincount(index, amount, size).astype(np.float64)


def _ratio(part: ArrayLike, whole: ArrayLike, *, undefined: float = np.nan) -> Floats:
    """Divide, with `undefined` where the whole is nothing."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result = np.full(part.shape, undefined)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def chance_gap(base_rate: float, n: int) -> float:
    """The ECE that chance alone gives perfect probabilities: mean |normal| over the calibration bins."""
    return math.sqrt(2 / math.pi * base_rate * (1 - base_rate) * CALIBRATION_BINS / n)
