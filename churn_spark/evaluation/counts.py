"""How good are the probabilities? One sorted table of counts answers every question.

A `Counts` table holds, per distinct score from best to worst, how many customers churned and stayed. Ranking,
calibration and money are all sums over it, so rows, rows with weights, counts binned in Spark and bootstrap
resamples (as leading axes) go through the same few lines, and ties are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from churn_spark.arrays import Floats
from churn_spark.model.offers import Terms
from churn_spark.model.policy import Campaign, Policy, expected_maximum_profit, maximum_profit

Ints = NDArray[np.intp]

PERCENTS = (1, 5, 10, 20)
CALIBRATION_BINS = 10  # of equally many customers: equal widths leave most bins empty at churn's base rates


@dataclass(frozen=True)
class Counts:
    """Customers by distinct score, highest first; leading axes of the counts are resamples.

    `saved` and `spent` sum up what contacting them brings and costs (`policy.Campaign`), None where all are of typical
    terms.
    """

    score: Floats
    churned: Floats
    stayed: Floats
    saved: Floats | None = None
    spent: Floats | None = None

    @classmethod
    def of(
        cls, label: ArrayLike, score: ArrayLike, *, weight: ArrayLike = 1.0, terms: Terms | None = None
    ) -> Counts:
        """Count rows by score; `weight` is how many customers a row stands for, e.g. in a binned table.

        `terms` are those of the rows, where they have terms of their own.
        """
        label = np.asarray(label, np.float64)
        distinct, index = np.unique(-np.asarray(score, np.float64), return_inverse=True)
        size = max(1, len(distinct))

        def total(amount: Floats) -> Floats:
            return sums(index, np.broadcast_to(amount, label.shape), size)

        weight = np.asarray(weight, np.float64)
        churned = label * weight
        money = () if terms is None else map(total, saved_and_spent(terms, churned, weight - churned))
        return cls(-np.resize(distinct, size), total(churned), total(weight - churned), *money)

    @property
    def customers(self) -> Floats:
        return self.churned + self.stayed

    def each(self, change: Callable[[Floats], Floats]) -> Counts:
        """The table with every column of counts changed in the same way."""
        saved, spent = (None if money is None else change(money) for money in (self.saved, self.spent))
        return Counts(self.score, change(self.churned), change(self.stayed), saved, spent)

    def campaign(self, policy: Policy) -> Campaign:
        """What contacting them brings."""
        if self.saved is None or self.spent is None:
            return Campaign.typical(self.churned, self.stayed, policy)
        return Campaign(self.saved, self.spent, self.customers)

    def cumulative(self) -> Counts:
        """Counts of the customers at or above each score."""
        return self.each(lambda column: np.cumsum(column, axis=-1))


def saved_and_spent(terms: Terms, churned: Floats, stayed: Floats) -> tuple[Floats, Floats]:
    """What contacting these rows brings and costs, row by row, given how many churned and stayed."""
    return churned * terms.saved, stayed * terms.given + (churned + stayed) * terms.contact


def ranking_metrics(counts: Counts) -> dict[str, Floats]:
    """Return roc_auc, pr_auc (average precision), ks, and lift and capture at the best 1, 5, 10 and 20 %."""
    above = counts.cumulative()
    churners, stayers = above.churned[..., -1:], above.stayed[..., -1:]
    recall, fallout = ratio(above.churned, churners), ratio(above.stayed, stayers)
    precision = ratio(above.churned, above.customers, undefined=0.0)
    ranked_right = (counts.stayed * (above.churned - counts.churned / 2)).sum(-1)
    metrics = {
        "roc_auc": ratio(ranked_right, (churners * stayers)[..., 0]),
        "pr_auc": ratio((counts.churned * precision).sum(-1), churners[..., 0]),
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
    excess = ratio((reached - goal) * churned, customers, undefined=0.0)
    return ratio(found - excess, above.churned[..., -1:])[..., 0]


def probability_metrics(counts: Counts) -> dict[str, Floats]:
    """Return log_loss, brier, brier_skill (against the base rate), ece, base_rate, mean_probability and
    expected_observed: churners expected by the probabilities for each that there was.
    """
    p, customers = counts.score, counts.customers.sum(-1)
    base_rate = ratio(counts.churned.sum(-1), customers)
    loss = -(xlogy(counts.churned, np.maximum(p, 1e-15)) + xlogy(counts.stayed, np.maximum(1 - p, 1e-15)))
    brier = ratio((counts.churned * (1 - p) ** 2 + counts.stayed * p**2).sum(-1), customers)
    bins = reliability(counts)
    gaps = np.abs(bins.churned - bins.score * bins.customers)
    return {
        "log_loss": ratio(loss.sum(-1), customers),
        "brier": brier,
        "brier_skill": 1 - ratio(brier, base_rate * (1 - base_rate)),
        "ece": ratio(gaps.sum(-1), customers),
        "base_rate": base_rate,
        "mean_probability": ratio((p * counts.customers).sum(-1), customers),
        "expected_observed": ratio((p * counts.customers).sum(-1), counts.churned.sum(-1)),
    }


def reliability(counts: Counts) -> Counts:
    """Pool the table into CALIBRATION_BINS of about equally many customers; scores become their mean."""
    group = equal_groups(counts.customers.reshape(-1, len(counts.score)).sum(0), CALIBRATION_BINS)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    pooled = counts.each(lambda column: np.add.reduceat(column, starts, axis=-1))
    total = np.add.reduceat(counts.score * counts.customers, starts, axis=-1)
    return replace(pooled, score=ratio(total, pooled.customers, undefined=0.0))


def threshold_metrics(counts: Counts, *, threshold: float) -> dict[str, Floats]:
    """Return precision, recall, f1 and the confusion counts, where score >= threshold predicts churn."""
    predicted = counts.score >= threshold
    tp, fp = counts.churned[..., predicted].sum(-1), counts.stayed[..., predicted].sum(-1)
    fn, tn = counts.churned.sum(-1) - tp, counts.stayed.sum(-1) - fp
    return {
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
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
    mpc, mpc_share = maximum_profit(above.campaign(policy))
    empc, empc_share = expected_maximum_profit(above.campaign(policy), accept_rate=policy.accept_rate)
    return {
        "profit": ratio(reached.campaign(policy).profit, above.customers[..., -1]),
        "mpc": mpc,
        "mpc_share": mpc_share,
        "empc": empc,
        "empc_share": empc_share,
    }


def chance_gap(base_rate: float, n: int) -> float:
    """The ECE that chance alone gives perfect probabilities: mean |normal| over the calibration bins."""
    return math.sqrt(2 / math.pi * base_rate * (1 - base_rate) * CALIBRATION_BINS / n)


def equal_groups(customers: Floats, groups: int) -> Ints:
    """Put consecutive cells into about equally large groups, by where the middle of each cell falls."""
    middle = np.cumsum(customers) - customers / 2
    return (groups * ratio(middle, customers.sum(), undefined=0.0)).astype(np.intp)


def sums(index: Ints, amount: Floats, size: int) -> Floats:
    return np.bincount(index, amount, size).astype(np.float64)


def ratio(part: ArrayLike, whole: ArrayLike, *, undefined: float = np.nan) -> Floats:
    """Divide, with `undefined` where the whole is nothing."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result = np.full(part.shape, undefined)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
