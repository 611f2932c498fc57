"""Customers with a life: monthly snapshots, tickets and usage as three tables, and the true hazard of each snapshot.

Some customers go into decline: month by month they use less and complain more, until they recover or leave. December
is busy, a price rise drives people off, some who left come back, and in the middle of the panel usage comes to tell
less and tickets more. The hazard is a function of what the three tables had shown by the day of the snapshot, so
that a model could reach it; one snapshot alone does not show it. As in `customers`, every row is a function of the
seed and its customer's number, and a shorter panel is the beginning of a longer one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.arrays import Floats
from churn_spark.sample.customers import BLOCK, PANEL_START, PLANS, check
from churn_spark.sample.wording import TOPICS, write_note

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DRIFT_PERIOD = 12  # the first month under the new behaviour, the middle of a panel of 24
PRICE_RISES, RISE = (7, 16), 1.12  # of plans by the month
SEASON = (1.0, 0.95, 1.0, 1.0, 1.0, 0.9, 0.8, 0.85, 1.0, 1.05, 1.2, 1.5)  # usage, January first
ONSET, ONSET_AFTER_RISE, RECOVERY = 0.03, 0.12, 0.10  # of decline, a month
RETURN = 0.03  # of those who left, a month
GRUMBLES = ("billing dispute", "outage", "slow support", "competitor offer", "price increase")


class Lives(NamedTuple):
    """The tables of some customers.

    `customers`: customer_id, snapshot_date, age, tenure (months), spend_rate (price a month), usage (events in the
    month before), plan_type, churn (leaves within 30 days). `tickets`: ticket_id, customer_id, opened,
    first_response_hours, resolved, status, satisfaction (1 to 5), ticket_notes. `events`: customer_id, date, minutes.
    `truth`: customer_id, snapshot_date, true_probability of churn. Dates are ISO text, missing values empty.
    """

    customers: pd.DataFrame
    tickets: pd.DataFrame
    events: pd.DataFrame
    truth: pd.DataFrame


class _People(NamedTuple):
    """A block's customers: what stays as it is."""

    ids: npt.NDArray[np.object_]
    age: Integers
    plan: npt.NDArray[np.object_]
    price: Floats
    pace: Floats  # events in a usual month
    joined: Integers  # the month in which they are first seen, from 0


def lives(rows: int, *, seed: int, months: int) -> Lives:
    """Make the tables of the first `rows` customers over `months` snapshots. Raises ConfigError."""
    parts = list(_blocks(rows, seed, months))
    return Lives(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))


def write_tables(folder: Path, rows: int, *, seed: int, months: int) -> list[Path]:
    """Write customers.csv, tickets.csv, events.csv and truth.csv into `folder`; return where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.csv" for name in Lives._fields]
    for number, tables in enumerate(_blocks(rows, seed, months)):
        for path, table in zip(paths, tables, strict=True):
            with path.open("w" if number == 0 else "a", encoding="utf-8", newline="") as file:
                table.to_csv(file, index=False, header=number == 0, lineterminator="\n")
    return paths


def _blocks(rows: int, seed: int, months: int) -> Iterator[Lives]:
    check(rows, seed, months)
    for first in range(0, rows, BLOCK):
        tables, last = _block(seed, first // BLOCK, months), f"C{rows:07d}"
        yield Lives(*(table[table["customer_id"] <= last] for table in tables))


# -- one block -----------------------------------------------------------------------------------------


def _block(seed: int, block: int, months: int) -> Lives:
    """Month by month: who comes, what happens, what a snapshot at its end shows, and who leaves after it."""
    people = _people(seed, block)
    used, tickets = np.zeros((months, BLOCK), np.int64), np.zeros((months, BLOCK), np.int64)
    here, leaving, declining = (np.zeros(BLOCK, np.bool_) for _ in range(3))
    since, falling = np.full(BLOCK, -1), np.zeros(BLOCK, np.int64)
    parts: list[Lives] = []
    for month in range(months):
        rng = _random(seed, block, 1 + month)
        comes = (people.joined == month) | (~here & (since >= 0) & (rng.random(BLOCK) < RETURN))
        since, here = np.where(comes, month, since), here | comes
        declining = here & ~comes & _declines(rng, declining, _has_risen(people, month))
        falling = np.where(declining, falling + 1, 0)
        days = np.where(leaving, 1 + rng.integers(0, 27, BLOCK), 28)  # of this month with us
        pace = people.pace * SEASON[month % 12] * np.exp(-0.35 * np.minimum(falling, 4))
        used[month] = np.where(here, rng.poisson(pace * days / 28), 0)
        tickets[month] = np.where(here, rng.poisson(np.where(declining, 0.5, 0.1) * days / 28), 0)
        stays = here & ~leaving
        hazard = _hazard(people, month, used, tickets, since)
        leaving, here = stays & (rng.random(BLOCK) < hazard), stays
        parts.append(
            Lives(
                _snapshots(people, month, used[month], since, leaving, stays),
                _tickets(rng, people, month, tickets[month], days, declining),
                _events(rng, people, month, used[month], days),
                pd.DataFrame(
                    {"customer_id": people.ids, "snapshot_date": _end(month), "true_probability": hazard}
                )[stays],
            )
        )
    return Lives(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))


def _random(seed: int, block: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, block, stream, BLOCK))))


def _people(seed: int, block: int) -> _People:
    """A block's customers; six in ten are there from the start, others join over two years."""
    rng, first = _random(seed, block, 0), block * BLOCK
    shares, prices = np.array(list(PLANS.values())).T
    kind = rng.choice(len(PLANS), BLOCK, p=shares / shares.sum())
    return _People(
        ids=np.array([f"C{first + n + 1:07d}" for n in range(BLOCK)], dtype=object),
        age=18 + (72 * rng.random(BLOCK) ** 1.6).astype(np.int64),
        plan=np.array(list(PLANS), dtype=object)[kind],
        price=prices[kind] * np.exp(rng.normal(0, 0.2, BLOCK)),
        pace=np.exp(rng.normal(2.4, 0.6, BLOCK)),
        joined=np.where(rng.random(BLOCK) < 0.6, 0, rng.integers(1, 24, BLOCK)),
    )


def _declines(rng: np.random.Generator, declining: Flags, risen: Flags) -> Flags:
    turn = rng.random(BLOCK)
    return np.where(declining, turn >= RECOVERY, turn < np.where(risen, ONSET_AFTER_RISE, ONSET))


def _has_risen(people: _People, month: int) -> Flags:
    """Whose price rose this month or the last."""
    lately = any(month - rise in (0, 1) for rise in PRICE_RISES)
    return (people.plan == "monthly") & lately  # type: ignore[no-any-return]


def _hazard(people: _People, month: int, used: Integers, tickets: Integers, since: Integers) -> Floats:
    """The probability of leaving within 30 days after the month's end, from what was seen until then."""
    earlier = range(max(0, month - 3), month)
    known = np.array([since <= m for m in earlier]).reshape(len(earlier), BLOCK)
    usual = np.array([used[m] / SEASON[m % 12] for m in earlier]).reshape(len(earlier), BLOCK)
    now = used[month] / SEASON[month % 12]
    mean = (usual * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    fall = np.where(known.any(axis=0), np.clip(np.log((mean + 1) / (now + 1)), -1.5, 2.0), 0.0)
    lately = np.minimum(tickets[max(0, month - 2) : month + 1].sum(axis=0), 4)
    by_usage, by_tickets = (2.4, 0.4) if month < DRIFT_PERIOD else (1.7, 0.8)
    log_odds = (
        -4.6
        + by_usage * fall
        + by_tickets * lately
        + 0.8 * _has_risen(people, month)
        + 1.0 * np.exp(-(month - since) / 4)
        + 0.5 * np.isin(people.plan, ["monthly", "prepaid"])
    )
    return 1 / (1 + np.exp(-log_odds))  # type: ignore[no-any-return]


# -- the tables of a month -------------------------------------------------------------------------------


def _snapshots(
    people: _People, month: int, used: Integers, since: Integers, leaving: Flags, stays: Flags
) -> pd.DataFrame:
    rises = sum(month >= rise for rise in PRICE_RISES) * (people.plan == "monthly")
    return pd.DataFrame(
        {
            "customer_id": people.ids,
            "snapshot_date": _end(month),
            "age": people.age + month // 12,
            "tenure": month - since + 1,
            "spend_rate": (people.price * RISE**rises).round(2),
            "usage": used,
            "plan_type": people.plan,
            "churn": leaving.astype(np.int64),
        }
    )[stays]


def _events(
    rng: np.random.Generator, people: _People, month: int, used: Integers, days: Integers
) -> pd.DataFrame:
    who = np.repeat(np.arange(BLOCK), used)
    return pd.DataFrame(
        {
            "customer_id": people.ids[who],
            "date": _dates(rng, month, days[who]),
            "minutes": (1 + rng.gamma(2.0, 12.0, len(who))).round(1),
        }
    )


def _tickets(
    rng: np.random.Generator, people: _People, month: int, count: Integers, days: Integers, declining: Flags
) -> pd.DataFrame:
    """Who declines, complains of what drives people off, is answered late and is not content."""
    who = np.repeat(np.arange(BLOCK), count)
    upset = declining[who] & (rng.random(len(who)) < 0.8)
    names = [topic.name for topic in TOPICS]
    any_topic, grumble = rng.integers(0, len(TOPICS), len(who)), rng.integers(0, len(GRUMBLES), len(who))
    topics = np.where(upset, [names.index(GRUMBLES[g]) for g in grumble], any_topic)
    seeds = rng.integers(0, 2**53, len(who))
    opened = _dates(rng, month, days[who])
    took, pending = 1 + rng.poisson(np.where(upset, 9, 3)), rng.random(len(who)) < np.where(upset, 0.3, 0.05)
    content = np.clip(1 + rng.poisson(np.where(upset, 1.2, 3.2)), 1, 5)
    closed = [
        (dt.date.fromisoformat(d) + dt.timedelta(int(n))).isoformat()
        for d, n in zip(opened, took, strict=True)
    ]
    return pd.DataFrame(
        {
            "ticket_id": [f"T{s:016d}" for s in seeds],
            "customer_id": people.ids[who],
            "opened": opened,
            "first_response_hours": rng.gamma(2.0, np.where(upset, 14.0, 4.0)).round(1),
            "resolved": pd.Series(closed, dtype=object).mask(pending),
            "status": np.where(pending, "open", np.where(rng.random(len(who)) < 0.1, "reopened", "closed")),
            "satisfaction": pd.Series(content, dtype="Int64").mask(pending),
            "ticket_notes": [
                write_note([(int(topic), bool(strong))], int(seed))
                for topic, strong, seed in zip(topics, upset, seeds, strict=True)
            ],
        }
    )


def _dates(rng: np.random.Generator, month: int, days: Integers) -> list[str]:
    first = _month(month)
    return [(first + dt.timedelta(int(d))).isoformat() for d in np.floor(rng.random(len(days)) * days)]


def _end(month: int) -> str:
    """The day of a month's snapshot: its last."""
    return (_month(month + 1) - dt.timedelta(1)).isoformat()


def _month(month: int) -> dt.date:
    return dt.date(PANEL_START.year + month // 12, 1 + month % 12, 1)
