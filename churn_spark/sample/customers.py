"""A made-up customer table whose truth is known: who churns, and with which probability.

Every row is a function of the seed and its row number alone. Customers are made in blocks of fixed row
numbers, so that neither the size of the table nor its partitioning changes a single one of them. Churn
depends on the table and on what a note is about; the wording of a note knows nothing of the outcome.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.arrays import Floats
from churn_spark.errors import ConfigError
from churn_spark.sample.wording import TOPICS, write_note

if TYPE_CHECKING:
    pass

Form = Literal["clean", "raw", "truth"]
Levels = npt.NDArray[np.int64]  # customers x topics: 0 not mentioned, 1 mild, 2 strong

BLOCK = 1_000
PEOPLE, SPOILING, MONTHS = 0, 1, 2  # streams of random numbers; one a month from MONTHS on
PANEL_START = dt.date(2024, 1, 1)
DRIFT_MONTH = 6  # the first snapshot under the new behaviour, the middle of a panel of 12

# With these, Spark writes the same bytes as `write_csv`.
CSV_OPTIONS = {
    "header": "true", "escape": '"', "emptyValue": "", "nullValue": "",
    "ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false",
}  # fmt: skip
TOPIC_SHARES = {
    "billing dispute": 0.15, "outage": 0.13, "slow support": 0.13, "competitor offer": 0.10,
    "price increase": 0.13, "moving house": 0.04, "feature question": 0.08, "praise": 0.13,
    "upgrade interest": 0.07, "account admin": 0.04,
}  # fmt: skip
COLUMNS = ("customer_id", "age", "tenure", "spend_rate", "plan_type", "churn", "ticket_notes")
PLANS = {  # plan: (share of customers, typical price)
    "monthly": (0.42, 45.0), "annual": (0.24, 38.0), "prepaid": (0.14, 20.0), "family": (0.12, 75.0),
    "business": (0.08, 140.0),
}  # fmt: skip


@dataclass(frozen=True)
class Effects:
    """What moves the log-odds of churn; what is missing moves nothing."""

    intercept: float
    plans: Mapping[str, float]
    topics: Mapping[str, tuple[float, float]]  # a mild case, a strong one
    new: float  # on a customer's first day, fading with tenure
    new_and_free: float = 0.6  # the same, in addition, on plans without a term
    fading_months: float = 8.0
    age: float = -0.1  # for each 20 years above 45
    spend: float = 0.3  # for each e-fold of spending above 45


CROSS_SECTION = Effects(
    intercept=-3.47,
    plans={"monthly": 0.6, "annual": -1.1, "prepaid": 0.6, "family": -1.1, "business": -1.1},
    topics={
        "billing dispute": (1.5, 1.9),
        "outage": (0.2, 0.5),
        "slow support": (0.2, 0.5),
        "competitor offer": (1.6, 2.0),
        "price increase": (1.5, 1.9),
        "moving house": (0.0, 0.0),
        "feature question": (-0.1, -0.1),
        "praise": (-0.4, -0.4),
        "upgrade interest": (-0.3, -0.3),
        "account admin": (0.0, 0.0),
    },
    new=2.7,
)
# A month's risk is lower than a cross-section's. In the middle of the panel a new kind of customer behaviour
# sets in: being new matters little, a term holds nobody, and it is outages and slow support that drive people off.
BEFORE_DRIFT = replace(CROSS_SECTION, intercept=-4.9)
AFTER_DRIFT = replace(
    BEFORE_DRIFT,
    intercept=-3.9,
    plans={"monthly": 0.2, "annual": -0.3, "prepaid": 0.2, "family": -0.3, "business": 0.3},
    topics={
        **CROSS_SECTION.topics,
        "billing dispute": (0.5, 0.8),
        "price increase": (0.5, 0.8),
        "outage": (0.8, 1.3),
        "slow support": (0.8, 1.3),
    },
    new=0.7,
    new_and_free=0.2,
)

# Rejected by the default contract, each for another reason. `{}` is the value that would have stood there.
BAD_VALUES = (
    ("age", "thirty"), ("spend_rate", "${}"), ("churn", "maybe"), ("customer_id", ""), ("age", "{}.5"),
    ("age", "-5"), ("tenure", "{} months"), ("spend_rate", "{}d"), ("age", "{}L"), ("churn", ""),
    ("customer_id", "   "), ("tenure", "-1"), ("age", "999"), ("spend_rate", "Infinity"), ("churn", "2"),
    ("spend_rate", "-9.99"),
)  # fmt: skip
# Unusual spellings that the contract accepts.
ODD_VALUES = (
    ("age", " {} "), ("ticket_notes", "N/A"), ("age", "{}.0"), ("spend_rate", "NaN"), ("ticket_notes", "-"),
    ("plan_type", "  "), ("spend_rate", "NULL"), ("age", "+{}"),
)  # fmt: skip
BAD_PER_BLOCK, ODD_PER_BLOCK = 8, 4


# -- tables --------------------------------------------------------------------------------------------


def customers(
    first: int, count: int, *, seed: int, months: int | None = None, form: Form = "clean"
) -> pd.DataFrame:
    """Make the customers with row numbers `first` to `first + count - 1`.

    Without `months` one row a customer: COLUMNS. With `months` a panel: one row a customer and month, with
    `snapshot_date`; `churn` says whether the customer leaves within 30 days after it, and who has left has no
    further rows; from snapshot DRIFT_MONTH on customers behave differently. Up to 12 months, a shorter panel is
    the beginning of a longer one. `form` is `clean` (typed),
    `raw` (all strings, about 1 % bad rows) or `truth` (the key and `true_probability`). Which rows of a
    raw panel are bad depends on `months`, too. Raises ConfigError.
    """
    check(count, seed, months)
    blocks = range(first // BLOCK, -(-(first + count) // BLOCK))
    table = pd.concat([_block(seed, block, months, form) for block in blocks])
    return table.loc[first : first + count - 1].reset_index(drop=True)


def write_csv(path: Path, rows: int, *, seed: int, months: int | None = None, form: Form = "raw") -> None:
    """Write `rows` customers into one CSV file (RFC 4180, UTF-8, header), without Spark."""
    check(rows, seed, months)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        for first in range(0, rows, BLOCK):
            table = customers(first, min(BLOCK, rows - first), seed=seed, months=months, form=form)
            table.to_csv(file, index=False, header=first == 0, lineterminator="\n")


def schema(*, months: int | None = None, form: Form = "clean") -> str:
    """The DDL schema of a table."""
    types = {"age": "bigint", "tenure": "bigint", "spend_rate": "double", "churn": "bigint",
             "snapshot_date": "date", "true_probability": "double"}  # fmt: skip
    typed = {} if form == "raw" else types
    return ", ".join(f"{name} {typed.get(name, 'string')}" for name in _names(months, form))


def check(rows: int, seed: int, months: int | None) -> None:
    given = (("rows", rows, 1), ("seed", seed, 0), ("panel", 1 if months is None else months, 1))
    for option, value, least in given:
        if value < least:
            raise ConfigError(f"{value} is below the minimum {least}", where=f"--{option}")


def _names(months: int | None, form: Form) -> list[str]:
    key = ["customer_id"] if months is None else ["customer_id", "snapshot_date"]
    return [*key, *(["true_probability"] if form == "truth" else COLUMNS[1:])]


# -- one block -----------------------------------------------------------------------------------------


def _block(seed: int, block: int, months: int | None, form: Form) -> pd.DataFrame:
    """All rows of one block of customers, indexed by row number."""
    people = _people(seed, block, months or 1)
    if months is None:
        people["joined"] = 0  # a cross-section shows everybody
    joined = people["joined"].to_numpy()
    staying = np.ones(BLOCK, dtype=bool)
    snapshots = []
    for month in range(months or 1):
        uniforms = _uniforms(seed, block, MONTHS + month, 9)
        snapshot = _snapshot(people, uniforms, month, _effects(months, month))
        present = staying & (joined <= month)
        snapshots.append(snapshot[present])
        staying &= ~(present & (snapshot["churn"].to_numpy() == 1))
    table = pd.concat(snapshots).sort_index(kind="stable")
    if form == "truth":
        return table[_names(months, form)]
    table["ticket_notes"] = [_note(*row) for row in zip(table["levels"], table["note_seed"], strict=True)]
    table = table[_names(months, form)]
    return _with_bad_rows(_as_strings(table), seed, block) if form == "raw" else table


def _uniforms(seed: int, block: int, stream: int, count: int) -> Floats:
    """`count` rows of BLOCK uniform numbers, counted from the seed, the block and the stream."""
    generator = np.random.Philox(np.random.SeedSequence((seed, block, stream)))
    return np.random.Generator(generator).random((count, BLOCK))


def _people(seed: int, block: int, months: int) -> pd.DataFrame:
    """What does not change from month to month, for a whole block. Customers join until a long panel ends."""
    age, tenure, plan, spend, no_spend, no_plan, new, joined = _uniforms(seed, block, PEOPLE, 8)
    number = np.arange(block * BLOCK, (block + 1) * BLOCK)
    shares, prices = np.array(list(PLANS.values())).T
    kind = np.searchsorted(np.cumsum(shares)[:-1], plan, side="right")
    return pd.DataFrame(
        {
            "customer_id": [f"C{n + 1:07d}" for n in number],
            "age": 18 + 72 * age**1.6,
            "tenure": np.minimum(22 * (-np.log1p(-tenure)) ** 1.3, 300),
            "spend_rate": np.where(no_spend < 0.03, np.nan, prices[kind] * np.exp(0.2 * _logit(spend))),
            "plan_type": np.where(no_plan < 0.02, None, np.array(list(PLANS), dtype=object)[kind]),
            "joined": np.where(new < 0.45, 1 + np.floor(max(11, months - 1) * joined), 0),
        },
        index=number,
    )


def _snapshot(people: pd.DataFrame, uniforms: Floats, month: int, effects: Effects) -> pd.DataFrame:
    """One month of a block, as if everybody were still there."""
    spend, note_seed, outcome = uniforms[:3]
    joined = people["joined"].to_numpy()
    tenure = np.where(joined > 0, month - joined, people["tenure"] + month)
    levels = _levels(uniforms[3:])
    snapshot = people.assign(
        age=np.floor(people["age"] + month / 12).astype(np.int64),
        tenure=np.floor(tenure).astype(np.int64),
        spend_rate=(people["spend_rate"] * np.exp(0.02 * _logit(spend))).round(2),
        levels=list(levels),
        note_seed=(note_seed * 2**53).astype(np.int64),
    )
    probability = 1 / (1 + np.exp(-_log_odds(snapshot, levels, effects)))
    date = dt.date(PANEL_START.year + month // 12, 1 + month % 12, 1)
    return snapshot.assign(
        snapshot_date=date, true_probability=probability, churn=(outcome < probability).astype(np.int64)
    )


def _levels(uniforms: Floats) -> Levels:
    """What notes are about: one topic, sometimes two, or no note. Drawn without looking at anything else."""
    silent, main, main_strong, two, other, other_strong = uniforms
    shares = [TOPIC_SHARES[topic.name] for topic in TOPICS]
    first = np.searchsorted(np.cumsum(shares)[:-1], main, side="right")
    second = (first + 1 + np.floor(other * (len(TOPICS) - 1)).astype(np.int64)) % len(TOPICS)
    levels = np.zeros((BLOCK, len(TOPICS)), dtype=np.int64)
    row = np.arange(BLOCK)
    levels[row, first] = 1 + (main_strong < 0.5)
    levels[row, second] = np.where(two < 0.12, 1 + (other_strong < 0.5), 0)
    levels[silent < 0.2] = 0
    return levels


def _log_odds(table: pd.DataFrame, levels: Levels, effects: Effects) -> Floats:
    plan = table["plan_type"]
    free = plan.isin(["monthly", "prepaid"]).to_numpy()
    fading = np.exp(-table["tenure"].to_numpy() / effects.fading_months)
    spend = np.nan_to_num(np.log(table["spend_rate"].to_numpy() / 45))
    topics = np.array([(0.0, *effects.topics[topic.name]) for topic in TOPICS])
    return (  # type: ignore[no-any-return]
        effects.intercept
        + (effects.new + effects.new_and_free * free) * fading
        + effects.age * (table["age"].to_numpy() - 45) / 20
        + effects.spend * spend
        + plan.map(effects.plans).fillna(0.0).to_numpy(dtype=float)
        + topics[np.arange(len(TOPICS)), levels].sum(axis=1)
    )


def _effects(months: int | None, month: int) -> Effects:
    if months is None:
        return CROSS_SECTION
    return BEFORE_DRIFT if month < DRIFT_MONTH else AFTER_DRIFT


def _note(levels: npt.NDArray[np.int64], seed: int) -> str | None:
    topics = [(topic, level == 2) for topic, level in enumerate(levels.tolist()) if level]
    return write_note(topics, seed) if topics else None


def _logit(uniform: Floats) -> Floats:
    return np.log(uniform + 1e-12) - np.log1p(1e-12 - uniform)


# -- bad rows ------------------------------------------------------------------------------------------


def _as_strings(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a CSV file shows it: a missing value is the empty string."""
    text = table.astype(object).assign(spend_rate=[f"{spend:.2f}" for spend in table["spend_rate"]])
    return text.astype(str).mask(table.isna(), "")


def _with_bad_rows(table: pd.DataFrame, seed: int, block: int) -> pd.DataFrame:
    """Spoil about 1 % of the rows, and spell some others in unusual ways.

    Only every other row is touched, so that the row before, which two of them repeat, is always good.
    """
    turns = _uniforms(seed, block, SPOILING, 1)[0]
    spots = 2 * np.argsort(turns[: len(table) // 2]) + 1
    values = table.to_numpy(dtype=object)
    column = {name: k for k, name in enumerate(table.columns)}
    key = len(table.columns) - len(COLUMNS) + 1

    def spell(row: int, name: str, spelling: str) -> None:
        values[row, column[name]] = spelling.format(values[row, column[name]])

    twin, conflict, *others = spots[: 2 + BAD_PER_BLOCK + ODD_PER_BLOCK].tolist()
    values[twin] = values[twin - 1]  # an identical duplicate
    values[conflict, :key] = values[conflict - 1, :key]  # the same key with other values
    for k, row in enumerate(others[:BAD_PER_BLOCK]):
        spell(row, *BAD_VALUES[(block * BAD_PER_BLOCK + k) % len(BAD_VALUES)])
    for k, row in enumerate(others[BAD_PER_BLOCK:]):
        spell(row, *ODD_VALUES[(block * ODD_PER_BLOCK + k) % len(ODD_VALUES)])
    return pd.DataFrame(values, columns=table.columns, index=table.index)
