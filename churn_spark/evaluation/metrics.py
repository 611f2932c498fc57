"""Every metric of scored rows with its interval, and the difference of two scores on the same rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import ndtr, stdtrit

from churn_spark.arrays import Floats
from churn_spark.evaluation.counts import (
    Counts,
    Ints,
    equal_groups,
    money_metrics,
    probability_metrics,
    ranking_metrics,
    ratio,
    saved_and_spent,
    sums,
    threshold_metrics,
)
from churn_spark.model.offers import Terms
from churn_spark.model.policy import Policy, capacity_cutoff

INTERVAL_BINS = 1000  # scores are binned for the intervals alone; the values themselves are exact
RESAMPLED_UNITS = 10_000
MIN_SLICE = 100  # customers
MAX_SLICES = 20  # a column, the largest first
# Distances and maxima grow with noise: no resampling of a sample covers their truth (measured: 8 and 72 % of the time).
WITHOUT_INTERVAL = ("ece", "ks")
BY_CUTOFF = ("precision", "recall", "f1", "profit")  # they rest on the churners above the cut-off
FEWEST = 10  # of these: with fewer, resampling knows nothing of those who were not met
LOWER_IS_BETTER = ("log_loss", "brier", "ece")


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    policy: Policy,
    split: str,
    customer: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    terms: Terms | None = None,
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
    of a customer stay together. Rows of a binned table carry `weight`, the customers counted. `terms` are what
    contacting each row means, where rows differ in it: the money metrics then rank by expected value. Each column of
    `slices` adds one slice a value or quartile, where it holds `min_slice` customers. Where the rows are themselves a
    slice, `slice_name` names it and `cutoff` is the whole table's `contact_cutoff`. What one class leaves undefined
    is NaN.
    """
    rows = line_up(label, probability, customer=customer, weight=weight, terms=terms)
    draws = _draws(rows, resamples=resamples, seed=seed)
    cutoff = _contact_cutoff(rows, policy) if cutoff is None else cutoff
    masks = {slice_name: np.ones(len(rows), dtype=bool)}
    if slices is not None:
        masks |= _slice_masks(slices.iloc[rows.index], rows["weight"], min_slice)
    tables = []
    for name, mask in masks.items():
        values, spread = _with_resamples(rows[mask], draws, policy, cutoff)
        n = round(rows["weight"][mask].sum())
        found = _interval(values, spread, _drawn(rows[mask], policy), caught=values["true_positive"])
        tables.append(found.assign(split=split, slice=name, n=n))
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
        rows = line_up(label, np.where(both, scores, np.nan), customer=customer, weight=weight)
        draws = _draws(rows, resamples=resamples, seed=seed)
        results.append(_with_resamples(rows, draws, policy, policy.threshold))
    (old, old_spread), (new, new_spread) = results
    caught = min(old["true_positive"], new["true_positive"])
    return _interval(new - old, new_spread - old_spread, _drawn(rows, policy), caught=caught)


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
    both = ratio((weight * top.all(axis=0)).sum(), (weight * top[0]).sum())
    return {"rank_correlation": float(ratio(covariance[0, 1], spread)), "top_decile_overlap": float(both)}


def _shares_above(score: Floats, weight: Floats) -> Floats:
    """The share of customers that rank above each one; of those tied with it, half do."""
    _, place = np.unique(-score, return_inverse=True)
    size = sums(place, weight, len(score))
    above: Floats = (np.cumsum(size) - size / 2) / size.sum()
    return above[place]


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


def contact_cutoff(
    policy: Policy,
    *,
    label: ArrayLike,
    probability: ArrayLike,
    weight: ArrayLike | None = None,
    terms: Terms | None = None,
) -> float:
    """Return the score from which customers are contacted: the threshold or, with own terms, their gain."""
    return _contact_cutoff(line_up(label, probability, weight=weight, terms=terms), policy)


def line_up(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    customer: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    terms: Terms | None = None,
) -> pd.DataFrame:
    """Line the arrays up, one row each, with its place among the bootstrap's units.

    A unit is drawn with equal `chance`, and `brings` all customers of its rows; but a row of a binned table
    is drawn once for each customer it stands for.
    """
    rows = pd.DataFrame({"label": np.asarray(label, float), "probability": np.asarray(probability, float)})
    rows["weight"] = 1.0 if weight is None else np.asarray(weight, float)
    if terms is not None:
        rows = rows.assign(**terms._asdict(), expected=terms.expected(rows["probability"].to_numpy()))
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


def count_rows(rows: pd.DataFrame) -> tuple[Counts, Counts]:
    """Count by probability, and by the score by which customers are contacted; mostly the same table."""
    counts = Counts.of(rows["label"], rows["probability"], weight=rows["weight"])
    terms = _own_terms(rows)
    if terms is None:
        return counts, counts
    return counts, Counts.of(rows["label"], rows["expected"], weight=rows["weight"], terms=terms)


def _own_terms(rows: pd.DataFrame) -> Terms | None:
    return Terms(*(rows[part].to_numpy() for part in Terms._fields)) if "expected" in rows else None


def _contact_cutoff(rows: pd.DataFrame, policy: Policy) -> float:
    """The policy's threshold or, with own terms, the expected value at which gain or capacity ends."""
    if "expected" not in rows:
        return policy.threshold
    return max(0.0, capacity_cutoff(rows["expected"], share=policy.capacity_share, weight=rows["weight"]))


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
    values = _metrics(*count_rows(rows), policy, cutoff)
    binned = _resampled(rows, draws, "probability", policy.threshold)
    contacted = _resampled(rows, draws, "expected", cutoff) if "expected" in rows else binned
    return pd.Series(values, dtype=float), pd.DataFrame(_metrics(binned, contacted, policy, cutoff))


def _resampled(rows: pd.DataFrame, draws: Floats, score: str, cutoff: float) -> Counts:
    """Count each resample in about INTERVAL_BINS bins of equally many customers, none astride the cut-off."""
    scores, weight = rows[score].to_numpy(), rows["weight"].to_numpy()
    distinct, place = np.unique(-scores, return_inverse=True)
    group = equal_groups(sums(place, weight, len(distinct)), INTERVAL_BINS)
    _, cell = np.unique(2 * group + (-distinct < cutoff), return_inverse=True)
    index = cell[place]
    size = int(index.max(initial=0)) + 1

    def drawn(amount: Floats) -> Floats:
        matrix = sparse.csr_matrix((amount, (index, rows["unit"])), shape=(size, len(draws)))
        return np.ascontiguousarray((matrix @ draws).T)

    mean = ratio(sums(index, weight * scores, size), sums(index, weight, size), undefined=0.0)
    brings = rows["brings"].to_numpy()
    churned, terms = brings * rows["label"].to_numpy(), _own_terms(rows)
    money = () if terms is None else map(drawn, saved_and_spent(terms, churned, brings - churned))
    return Counts(mean, drawn(churned), drawn(brings - churned), *money)


class Drawn(NamedTuple):
    """How many units are drawn that metrics rest on: of the rarer kind, and of churners above the threshold."""

    rarer: float
    caught: float


def _drawn(rows: pd.DataFrame, policy: Policy) -> Drawn:
    churned, above = rows["label"] == 1, rows["probability"] >= policy.threshold
    counts = [rows[of].groupby("unit")["chance"].first().sum() for of in (churned, ~churned, churned & above)]
    return Drawn(min(counts[:2]), counts[2])


def _interval(values: pd.Series, spread: pd.DataFrame, drawn: Drawn, *, caught: float) -> pd.DataFrame:
    """The 95 % percentile interval, widened to the value; NaN where resampling cannot give one.

    Resamples of few units vary too little: the percentiles are as far out as Student's t is beyond the normal
    (Hesterberg 2015).
    """
    table = pd.DataFrame({"value": values, "ci_low": np.nan, "ci_high": np.nan})
    for units, names in (
        (drawn.rarer, [m for m in values.index if m not in BY_CUTOFF]),
        (drawn.caught, list(BY_CUTOFF)),
    ):
        ends = spread[names].quantile([_tail(units), 1 - _tail(units)])
        table.loc[names, ["ci_low", "ci_high"]] = ends.to_numpy().T
    table["ci_low"], table["ci_high"] = (
        table["ci_low"].clip(upper=values),
        table["ci_high"].clip(lower=values),
    )
    unknown = [*WITHOUT_INTERVAL, *(BY_CUTOFF if caught < FEWEST else ())]
    table.loc[unknown, ["ci_low", "ci_high"]] = np.nan
    return table.rename_axis("metric").reset_index()


def _tail(units: float) -> float:
    """The share of resamples beyond either end of the interval, for a metric that rests on so many units."""
    others = max(units - 1, 1.0)
    return float(ndtr(stdtrit(others, 0.025) * np.sqrt(max(units, 2.0) / others)))


def _slice_masks(slices: pd.DataFrame, weight: pd.Series, min_slice: int) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for column in slices:
        names = slice_names(slices[column]).to_numpy()
        sizes = weight.groupby(names).sum()
        kept = sizes[sizes >= min_slice].nlargest(MAX_SLICES).index.sort_values()
        masks |= {f"{column}={name}": names == name for name in kept}
    return masks
