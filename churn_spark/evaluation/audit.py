"""Is anything giving the answer away? Suspicions about columns, notes and customers; each a `Finding`.

Messages name columns and counts, never a value: they are logged. What notes say goes into `Finding.phrases`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from churn_spark.contract.columns import Column, Contract
from churn_spark.evaluation.ablations import Ablations
from churn_spark.evaluation.findings import SHARED_BY, Finding
from churn_spark.evaluation.words import number, percent
from churn_spark.settings.sections import Leakage

# Words of a name that only make sense once a customer has left, by how they begin.
LEFT = ("attrit", "cancel", "ceas", "churn", "deactivat", "defect", "disconnect", "inactivat", "leaver", "offboard",
        "resign", "terminat", "unsubscrib", "winback", "withdrew", "withdrawn")  # fmt: skip
# Words that do so beside a day, a flag, a reason or whom it happened to.
MAYBE_LEFT = {"closed", "closing", "closure", "departed", "departure", "ended", "exit", "exited", "expired", "final",
              "lapsed", "leave", "leaving", "left", "lost", "quit", "stopped"}  # fmt: skip
BESIDE = {"account", "at", "bill", "code", "contract", "customer", "date", "day", "flag", "has", "interview", "invoice",
          "is", "label", "month", "on", "policy", "reason", "service", "since", "status", "subscription", "survey",
          "time", "timestamp", "ts", "user", "was", "year"}  # fmt: skip
# Words of things that customers do while they stay, however often; and of what was known before.
BEFORE = {"appointments", "before", "bookings", "calls", "cases", "claims", "complaints", "count", "earlier",
          "flights", "free", "history", "meetings", "num", "number", "opportunities", "orders",
          "packets", "past", "previous", "previously", "prior", "rate", "remaining", "reservations", "rides",
          "tasks", "tickets", "times", "trips", "visits"}  # fmt: skip
STILL_LEFT = re.compile(
    r"(days?|weeks?|months?|years?|hours?|minutes?|credits?|payments?|installments?)_left"
)
TABLE_RANKS = 0.5  # ROC-AUC: a table not shown to rank at all is beaten by any note
TELLS_ALL = 0.98  # ROC-AUC of notes alone: they give the answer, whatever the table is worth
MISSING_TELLS, ALONE, ABOVE_NEXT = 0.7, 0.8, 0.1  # ROC-AUC
FOLDS = 5
BINS = 20  # of a numeric column, so that a curve that turns is seen too
TELLING_ODDS = 8.0  # times the usual odds of leaving: a note with such a phrase knows the answer
SURE = 0.999  # one-sided confidence, since thousands of phrases are looked at
FEW = 10  # equal rows or notes that cannot be chance
SAME_CUSTOMER, SAME_STORY = 0.8, 0.6  # agreement of outcomes beyond chance (Cohen's kappa)
REPEATED = 0.05  # of the different notes of test customers


# -- columns --------------------------------------------------------------------------------------------


def column_findings(aucs: Mapping[str, float], leakage: Leakage) -> list[Finding]:
    """Columns that all but are the label (`fail`) or come close to it (`warn`), by single-column ROC-AUC.

    One that is far above all others is a question (`ask`).
    """
    findings = []
    best = sorted(aucs.values(), reverse=True)
    far = len(best) > 1 and best[0] > ALONE and best[0] > best[1] + ABOVE_NEXT
    for name, auc in aucs.items():
        says = f"{name} alone separates churners from the others with ROC-AUC {number(auc)}"
        if auc > leakage.max_auc:
            findings.append(Finding("fail", "column_is_the_label", says, name))
        elif auc > leakage.warn_auc:
            findings.append(Finding("warn", "column_is_almost_the_label", says, name))
        elif far and auc == best[0]:
            asks = f"{says}, the next best {number(best[1])}: was it known on the day of scoring?"
            findings.append(Finding("ask", "column_stands_apart", asks, name))
    return findings


def missing_findings(frame: pd.DataFrame, label: npt.ArrayLike, *, columns: Sequence[str]) -> list[Finding]:
    """Columns that are filled, or empty, above all for those who left: often written when they did."""
    y = np.asarray(label, dtype=float)
    findings = []
    for name in columns if len(set(y)) == 2 else ():
        auc = float(roc_auc_score(y, frame[name].isna()))
        if max(auc, 1 - auc) > MISSING_TELLS:
            says = (
                f"whether {name} is missing separates churners from the others with ROC-AUC "
                f"{number(max(auc, 1 - auc))}: was it known on the day of scoring?"
            )
            findings.append(Finding("ask", "missing_tells_the_answer", says, name))
    return findings


def sounds_after_the_event(name: str) -> bool:
    """Whether a column's name speaks of something that is only known once a customer has left."""
    words = set(STILL_LEFT.sub("remaining", _snake(name)).split("_"))
    if words & BEFORE:
        return False
    return any(w.startswith(LEFT) for w in words) or (bool(words & MAYBE_LEFT) and bool(words & BESIDE))


def name_findings(columns: Iterable[Column], *, known: Sequence[str | None] = ()) -> list[Finding]:
    """Columns named after the event; `known` names those that the settings say are dates of it."""
    return [
        Finding(
            "warn",
            "named_after_the_event",
            f"{c.name} sounds like something known only after a customer left",
            c.name,
        )
        for c in columns
        if c.name not in known and any(map(sounds_after_the_event, (c.name, c.raw_name)))
    ]


def _snake(name: str) -> str:
    """`CancelDate` as `cancel_date`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+", "_", name).lower()


def single_column_aucs(
    frame: pd.DataFrame, label: npt.ArrayLike, *, columns: Sequence[str]
) -> dict[str, float]:
    """The ROC-AUC each column reaches alone, in [0.5, 1].

    Numbers are used as they are, in the better direction, by whether they are missing, and in bins; bins and
    categories by their churn rate in the other folds, so that a column of unique values does not look like the
    label.
    """
    y = np.asarray(label, dtype=float)
    if len(set(y)) < 2:
        return {}
    return {
        c: _numeric_auc(frame[c], y) if _is_number(frame[c]) else _category_auc(frame[c], y) for c in columns
    }


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numeric_auc(column: pd.Series, y: npt.NDArray[np.float64]) -> float:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    missing = np.isnan(values)
    filled = np.where(missing, np.nanmedian(values) if not missing.all() else 0.0, values)
    scores = [roc_auc_score(y, filled), roc_auc_score(y, missing)]
    few = column.nunique() <= BINS
    bins = values if few else pd.qcut(values, BINS, labels=False, duplicates="drop")
    return float(max(_category_auc(pd.Series(bins), y), *(max(s, 1 - s) for s in scores)))


def _category_auc(column: pd.Series, y: npt.NDArray[np.float64]) -> float:
    values = column.astype("string").fillna("").to_numpy(dtype=object)
    fold = np.arange(len(y)) % FOLDS
    rate = np.empty(len(y))
    for k in range(FOLDS):
        train = fold != k
        base = y[train].mean()
        stats = pd.Series(y[train]).groupby(values[train]).agg(["sum", "count"])
        smooth = (stats["sum"] + base) / (stats["count"] + 1)
        rate[~train] = pd.Series(values[~train]).map(smooth).fillna(base)
    return float(max(0.5, roc_auc_score(y, rate)))


# -- notes ----------------------------------------------------------------------------------------------


def phrase_findings(column: str, counts: pd.DataFrame, label: npt.ArrayLike) -> list[Finding]:
    """Phrases that know the answer: notes with one of them have far other odds of leaving than notes have.

    `counts` is `phrases.count_phrases`' table of notes with these labels. A phrase counts where even the
    cautious end of its share (Clopper & Pearson 1934) has eight times the odds.
    """
    churned, notes = int(np.sum(label)), len(np.asarray(label))
    findings = []
    for who, these, those, base in (
        ("left", "n_churned", "n_stayed", churned),
        ("stayed", "n_stayed", "n_churned", notes - churned),
    ):
        y, rest = counts[these].to_numpy(float), counts[those].to_numpy(float)
        least = beta.ppf(1 - SURE, np.maximum(y, 0.5), rest + 1)
        odds = least / (1 - least) / max(base / max(notes - base, 1), 1e-9)
        telling = counts[odds >= TELLING_ODDS].sort_values([these, "phrase"], ascending=[False, True])
        if len(telling):
            most = telling.iloc[0]
            says = (
                f"{column} gives the answer away: {most[these]} of {most[these] + most[those]} customers with "
                f"one phrase {who}; {len(telling)} phrases are like that"
            )
            shared = telling[telling[these] + telling[those] >= SHARED_BY]
            words = tuple(shared["phrase"].head(5))
            findings.append(Finding("warn", "phrases_tell_the_answer", says, column, words))
    return findings


class Overlap(NamedTuple):
    """Contents (notes, or whole rows) that stand among the test rows: how many also among the training rows.

    `pairs` stand exactly once in each. `agreement` is how often such a test row and training row have the
    same label, averaged over contents; `expected` is that of independent labels.
    """

    distinct: int
    shared: int
    pairs: int
    agreement: float
    expected: float

    @property
    def share(self) -> float:
        return self.shared / max(self.distinct, 1)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance, 1 where labels always agree (Cohen 1960)."""
        return (self.agreement - self.expected) / (1 - self.expected) if self.expected < 1 else 0.0


def repeated_note_findings(column: str, overlap: Overlap) -> list[Finding]:
    """The same note on both sides of the split, beyond what canned notes explain.

    A canned note stands many times and goes with either outcome. Suspicious are notes that stand once on each
    side, or that always go with the same outcome.
    """
    once = overlap.pairs >= 2 * FEW and overlap.pairs > 3 * (overlap.shared - overlap.pairs)
    pinned = overlap.shared >= FEW and overlap.kappa >= SAME_STORY
    if overlap.share < REPEATED or not (once or pinned):
        return []
    says = (
        f"{percent(overlap.share)} of the different notes of test customers in {column} stand word for word among "
        f"the training rows, with the same outcome in {percent(overlap.agreement)} of cases"
    )
    return [Finding("warn", "same_note_on_both_sides", says, column)]


def note_date_findings(
    frame: pd.DataFrame, label: npt.ArrayLike, leakage: Leakage, *, snapshot: Column | None
) -> list[Finding]:
    """Notes dated after the snapshot, or on or after the day their customer left, where dates are declared.

    `frame` has the columns that `leakage` names.
    """
    written = leakage.note_date
    if written is None:
        return []
    events = [(snapshot.name, 1, "after the snapshot")] if snapshot else []
    if leakage.churn_date:
        events.append((leakage.churn_date, 0, "on or after the day their customer left"))
    findings = []
    for event, since, when in events:
        age = (pd.to_datetime(frame[event]) - pd.to_datetime(frame[written])).dt.days
        days = age[age.notna() & (np.asarray(label, bool) | (event != leakage.churn_date))]
        late = days <= -since
        if late.any():
            says = (
                f"{late.sum():,} of {len(days):,} notes are dated {when}; the median is {days.median():.0f} days "
                "before it"
            )
            findings.append(Finding("warn", "note_after_the_event", says, written))
    return findings


# -- customers ------------------------------------------------------------------------------------------


def twin_findings(overlap: Overlap) -> list[Finding]:
    """Test rows that equal a training row in every column and in their outcome: the same customers again."""
    if overlap.shared < FEW or overlap.share < 0.01 or overlap.kappa < SAME_CUSTOMER:
        return []
    says = (
        f"{overlap.shared} of {overlap.distinct} different test rows equal a training row under another id: "
        "the same customers seem to be on both sides of the split"
    )
    return [Finding("warn", "same_customers_on_both_sides", says)]


def panel_findings(shared: int, customers: int) -> list[Finding]:
    """What a split by time means for customers with several snapshots; nothing to worry about."""
    if not shared:
        return []
    says = (
        f"{percent(shared / customers)} of the test customers also have earlier rows in training, as in real use; "
        "split.mode group_time keeps them apart"
    )
    return [Finding("ok", "customers_in_both", says)]


# -- models ---------------------------------------------------------------------------------------------


def text_findings(columns: Sequence[str], ablations: Ablations) -> list[Finding]:
    """Notes that alone beat a table that ranks by more than chance, or that alone tell nearly everybody apart.

    Honest ones seldom do (De Caigny et al. 2020). `columns` are those whose notes no date says to be earlier.
    """
    beats = ablations.gain.low > 0 and ablations.table.low > TABLE_RANKS
    if not columns or not (beats or ablations.text.low > TELLS_ALL):
        return []
    says = (
        f"among customers with a note, {', '.join(columns)} alone reaches ROC-AUC {number(ablations.text.value)}, "
        f"the table {number(ablations.table.value)}: was it written before customers left?"
    )
    return [Finding("warn", "text_beats_table", says, columns[0])]


# -- judgement ------------------------------------------------------------------------------------------


def not_allowed(findings: Iterable[Finding], contract: Contract, *, allow: Sequence[str]) -> list[Finding]:
    """Leave out what `allow` names: columns, by either of their names, or kinds of finding."""
    raw = {c.name: c.raw_name for c in contract.columns}
    return [f for f in findings if not {f.name, f.column, raw.get(f.column)} & set(allow)]


def fatal(findings: Iterable[Finding], leakage: Leakage) -> list[Finding]:
    """The findings that end the run."""
    worst = ("fail", "warn") if leakage.action == "fail" else ("fail",)
    return [f for f in findings if f.severity in worst]
