"""Check every row against the contract, once: typed valid rows, rejected rows with reasons, exact counts.

Everything is counted from the files written here, since a retried task would count twice in an accumulator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Row, Window, WindowSpec
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.ids import LOST
from churn_spark.contract.shapes import SHAPES, advice
from churn_spark.contract.values import SPACE
from churn_spark.errors import ChurnError, InputError
from churn_spark.settings import sections as config
from churn_spark.spark.input.files import CORRUPT, KEPT_CHARS, quoted, reading
from churn_spark.spark.input.rules import PROBLEMS, ROW_PROBLEMS, Purpose, described, raw_value, with_errors
from churn_spark.spark.tables import stored


@dataclass(frozen=True)
class Counts:
    """Rows by what became of them: rows_in = valid + rejected + duplicates (identical to one that stays).

    `by_rule` counts rejected rows, `by_warning` valid ones, by "column:rule" or the rule of a whole row; `alike`
    counts ids that differ from another one only by what nobody sees, by what that is.
    """

    rows_in: int
    valid: int
    rejected: int
    duplicates: int
    degraded: int
    churners: int
    stayers: int
    by_rule: dict[str, int]
    by_warning: dict[str, int]
    alike: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Validated:
    """Valid rows (typed columns, `_warnings`), rejected rows (raw strings, `_corrupt_record`, `_errors`).

    `bad` has the raw strings of all rows with a problem.
    """

    valid: DataFrame
    rejected: DataFrame
    bad: DataFrame
    counts: Counts


def split_valid(
    df: DataFrame, contract: Contract, *, settings: config.Validation, purpose: Purpose, folder: str
) -> Validated:
    """Check all rows of a raw table and split them; both halves read only what is written to `folder`.

    `df` is what `sources.read_raw` gives. A row with an error is rejected; of identical rows one stays. Of a key
    that comes with different values every row is rejected in training; in scoring one stays, with all their notes
    but without other values that differ. `valid` has the used columns in their types and `_warnings`; `rejected`
    has them as raw strings (cut to 10,000 characters), `_corrupt_record`, `_errors`.
    Raises InputError where the input cannot be read to its end.
    """
    fate = (
        F.when(F.size("_errors") > 0, "rejected").when(F.size("_warnings") > 0, "degraded").otherwise("good")
    )
    checked = with_errors(df, contract, settings=settings, purpose=purpose).withColumn("_fate", fate)
    with reading():
        checked = stored(checked, f"{folder}/checked")
    look = _look(checked, contract.id)
    rows = checked
    if look.most_rows > 1:
        rows = _without_repeats(checked, contract, purpose=purpose, folder=folder)
    valid, rejected = rows.where(IS_VALID), rows.where("_fate = 'rejected'")
    names = [quoted(c.name) for c in contract.used]
    return Validated(
        valid.select(*names, "_warnings"),
        rejected.select(*[_as_it_was(c).alias(c.name) for c in contract.used], CORRUPT, "_errors"),
        checked.where("_raw is not null").select("_raw.*"),
        _counts(rows, contract, rows_in=look.rows, alike=_alike(valid, contract.id) if look.alike else {}),
    )


IS_VALID = "_fate not in ('rejected', 'identical')"


def _without_repeats(checked: DataFrame, contract: Contract, *, purpose: Purpose, folder: str) -> DataFrame:
    """The rows with what becomes of those whose key comes again."""
    key, valid = list(contract.key), checked.where(IS_VALID)
    keys = valid.groupBy(*map(quoted, key)).count().where("count > 1")
    if keys.isEmpty():
        return checked
    repeated = stored(_repeated(valid, keys, contract, purpose=purpose), f"{folder}/repeated")
    once = valid.join(repeated.select(*map(quoted, key)), key, "left_anti")
    return once.unionByName(repeated).unionByName(checked.where("_fate = 'rejected'"))


def _repeated(valid: DataFrame, keys: DataFrame, contract: Contract, *, purpose: Purpose) -> DataFrame:
    """The rows whose key comes again, with a new `_fate`: rejected, identical, or the old one if kept.

    In training, rows that differ are all rejected. In scoring one stays, degraded: it has all their notes, and no
    value where they differ otherwise.
    """
    same_key = Window.partitionBy(*map(quoted, contract.key))
    compared = [c for c in contract.used if purpose == "train" or c.role != "label"]
    row_hash = F.xxhash64(*map(raw_value, compared), F.array(*[raw_value(c).isNull() for c in compared]))
    rows = valid.join(keys.drop("count"), list(contract.key), "left_semi").withColumn("_hash", row_hash)
    copy = F.row_number().over(same_key.orderBy(F.size("_warnings"), "_hash"))
    rows = rows.withColumns({"_differs": _differs(F.col("_hash"), same_key), "_copy": copy})
    is_rejected = F.col("_differs") & ((F.col("_copy") > 1) | F.lit(purpose == "train"))
    is_merged = F.col("_differs") & ~is_rejected
    merged = {c.name: F.when(is_merged, _merged(c, same_key)).otherwise(raw_value(c)) for c in compared}
    problem = F.array(described("duplicate_key", None, contract.key)).cast(PROBLEMS)
    changed = {
        "_errors": F.when(is_rejected, problem).otherwise(F.col("_errors")),
        "_warnings": F.when(is_merged, F.concat("_warnings", problem)).otherwise(F.col("_warnings")),
        "_fate": F.when(is_rejected, "rejected")
        .when(is_merged, "degraded")
        .when(F.col("_copy") > 1, "identical")
        .otherwise(F.col("_fate")),
    }
    return rows.withColumns({**merged, **changed}).drop("_differs", "_copy", "_hash")


def _merged(column: Column, same_key: WindowSpec) -> SparkColumn:
    """What the rows of a key agree on; all their notes, one after the other."""
    if column.role == "text":
        notes = F.array_sort(F.collect_set(raw_value(column)).over(same_key))
        return F.when(F.size(notes) > 0, F.array_join(notes, "\n\n"))
    return F.when(~_differs(F.xxhash64(raw_value(column)), same_key), raw_value(column))


def _differs(value: SparkColumn, same_key: WindowSpec) -> SparkColumn:
    return F.min(value).over(same_key) != F.max(value).over(same_key)


def _as_it_was(column: Column) -> SparkColumn:
    """The raw string; where the row in itself was good, its value as a string."""
    value = F.left(raw_value(column).cast("string"), F.lit(KEPT_CHARS))
    return F.when(F.col("_raw").isNull(), value).otherwise(F.col("_raw")[column.name])


def _counts(rows: DataFrame, contract: Contract, *, rows_in: int, alike: dict[str, int]) -> Counts:
    """Count rows and broken rules in one pass: a row with several problems is one row by its first."""
    label = raw_value(contract.label) if contract.label else F.lit(None).cast("boolean")
    problems = F.when(F.col("_fate") == "rejected", F.col("_errors")).otherwise(F.col("_warnings"))
    unfolded = rows.select(
        "_fate", label.alias("label"), F.posexplode_outer(problems).alias("place", "problem")
    )
    is_row = (F.coalesce("place", F.lit(0)) == 0).alias("is_row")
    found = unfolded.groupBy("_fate", "label", is_row, "problem.name", "problem.columns").count().collect()

    def number(*fates: str, label: bool | None = None) -> int:
        chosen = [r for r in found if r.is_row and r._fate in fates and (label is None or r.label is label)]
        return sum(r["count"] for r in chosen)

    valid, rejected, identical = number("good", "degraded"), number("rejected"), number("identical")
    if rows_in != valid + rejected + identical:
        raise ChurnError(
            f"rows got lost: {rows_in} in, {valid} valid, {rejected} rejected, {identical} duplicates",
            fix="report this; nothing was published",
        )
    return Counts(
        rows_in=rows_in,
        valid=valid,
        rejected=rejected,
        duplicates=identical,
        degraded=number("degraded"),
        churners=number("good", "degraded", label=True),
        stayers=number("good", "degraded", label=False),
        by_rule=_by_rule(r for r in found if r._fate == "rejected"),
        by_warning=_by_rule(r for r in found if r._fate == "degraded"),
        alike=alike,
    )


def _by_rule(found: Iterable[Row]) -> dict[str, int]:
    """Rows by the rule they break, the most broken first."""
    numbers = Counter[tuple[str, tuple[str, ...]]]()
    for row in found:
        if row.name is not None:
            numbers[row.name, tuple(row.columns)] += row["count"]
    ordered = sorted(numbers.items(), key=lambda rule: (-rule[1], rule[0]))
    return {_rule(name, columns): number for (name, columns), number in ordered}


def _rule(name: str, columns: Iterable[str]) -> str:
    return name if name in ROW_PROBLEMS else f"{','.join(columns)}:{name}"


# -- ids that look the same -----------------------------------------------------------------------------

INVISIBLE = r"[\u00ad\u200b-\u200f\u2060\ufeff]"
LOOKS: dict[str, Callable[[SparkColumn], SparkColumn]] = {
    "case": F.lower,
    "outer spaces": lambda text: F.btrim(text, F.lit(SPACE)),
    "kinds of space": lambda text: F.regexp_replace(text, f"[{SPACE}]", " "),
    "invisible characters": lambda text: F.regexp_replace(text, INVISIBLE, ""),
    "composed letters": lambda text: F.collate(text, "UNICODE"),  # NFC and NFD are one there
}


class _Look(NamedTuple):
    """How many rows there are, how many valid ones an id has at most, and whether ids look like another."""

    rows: int
    most_rows: int
    alike: bool


def _looks(key: Column) -> SparkColumn:
    """An id as people see it."""
    visible = F.btrim(F.regexp_replace(raw_value(key), INVISIBLE, ""), F.lit(SPACE))
    return F.collate(F.regexp_replace(visible, f"[{SPACE}]+", " "), "UNICODE_CI")


def _by_look(rows: DataFrame, key: Column) -> DataFrame:
    """Groups of rows whose ids look the same: rows, valid ones, and whether the ids are others."""
    hashed = F.when(F.expr(IS_VALID), F.xxhash64(raw_value(key)))
    return rows.groupBy(_looks(key).alias("look")).agg(
        F.count("*").alias("rows"),
        F.count(hashed).alias("valid"),
        F.coalesce(F.min(hashed) != F.max(hashed), F.lit(False)).alias("alike"),
    )


def _look(rows: DataFrame, key: Column) -> _Look:
    """What one look at the ids tells, so that most tables need no other."""
    row = _by_look(rows, key).agg(F.sum("rows"), F.max("valid"), F.max("alike")).collect()[0]
    return _Look(row[0] or 0, row[1] or 0, bool(row[2]))


def _alike(valid: DataFrame, key: Column) -> dict[str, int]:
    """Count the ids that people would take for another one, and say what tells them apart."""
    looks = _by_look(valid, key).where("alike").select("look")
    ids = valid.select(_looks(key).alias("look"), raw_value(key).alias("id")).join(looks, "look", "left_semi")
    groups = ids.groupBy("look").agg(F.collect_set("id").alias("ids"))
    size = F.size("ids")
    fewer = [
        F.sum(size - F.size(F.array_distinct(F.transform("ids", fold)))).alias(k) for k, fold in LOOKS.items()
    ]
    tally = groups.agg(F.sum(size).alias("ids"), *fewer).collect()[0].asDict()
    return {kind: number for kind, number in tally.items() if number}


# -- gates of a table -----------------------------------------------------------------------------------


def check_gates(
    validated: Validated, contract: Contract, *, settings: config.Validation, purpose: Purpose
) -> None:
    """Refuse a table that is not fit for its purpose; call it when the rejected rows are written.

    Training needs rows, churners and stayers. Training and scoring alike need the share of bad rows within
    its limit: those rejected and those scored without a value because it is bad; and ids with all their digits.
    Raises InputError.
    """
    counts = validated.counts
    if purpose == "train" and not counts.rows_in:
        raise InputError("the input holds no rows", fix="check --raw")
    lost = counts.by_rule.get(_rule(LOST, [contract.id.name]), 0)
    if lost:
        raise InputError(
            f"{lost} of {counts.rows_in} ids went through a float and have lost digits",
            where=contract.id.raw_name,
            fix="write the ids again as text or as whole numbers, from where they still have all digits",
        )
    bad = counts.rejected + counts.degraded
    if bad > settings.max_reject_share * counts.rows_in:
        raise InputError(
            f"{bad} of {counts.rows_in} rows ({bad / counts.rows_in:.1%}) break the contract, "
            f"above the limit of {settings.max_reject_share:.1%}: {_listed(counts)}",
            where="validation.max_reject_share",
            fix=_advice(validated, contract)
            or "mend the input (see churn_rejects), or correct the rules under `columns`",
        )
    if purpose == "train":
        _check_classes(counts, settings)


def _by_number(counts: Counts) -> list[tuple[str, int]]:
    return sorted([*counts.by_rule.items(), *counts.by_warning.items()], key=lambda rule: -rule[1])


def _listed(counts: Counts) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in _by_number(counts)[:5])


def _advice(validated: Validated, contract: Contract) -> str | None:
    """What to set, from the shapes of the values that break the most broken rule of a column."""
    by_name = {c.name: c for c in contract.used}
    rules = [(*rule.rpartition(":")[::2], count) for rule, count in _by_number(validated.counts)]
    column, rule, number = next(((by_name[n], r, c) for n, r, c in rules if n in by_name), (None, "", 0))
    if column is None:
        return None
    text = F.btrim(raw_value(column), F.lit(SPACE))
    shares = [F.count_if(text.rlike(shape.pattern)).alias(shape.name) for shape in SHAPES]
    row = validated.bad.agg(*shares).collect()[0].asDict()
    return advice(column, rule, {name: matches / number for name, matches in row.items()})


def _check_classes(counts: Counts, settings: config.Validation) -> None:
    if not (counts.churners and counts.stayers):
        raise InputError(
            f"the label has one class only: {counts.churners} churners, {counts.stayers} others",
            fix="train on a table that holds both customers who left and customers who stayed",
        )
    if counts.churners < settings.min_churners:
        raise InputError(
            f"{counts.churners} churners among {counts.valid} valid rows, fewer than {settings.min_churners}",
            where="validation.min_churners",
            fix="train on a longer period or on more customers",
        )
