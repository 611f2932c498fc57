"""Check every row against the contract, once: typed valid rows, rejected rows with reasons, exact counts.

The rules are those of `columns.check_value`, as native Spark expressions; a test holds the two together.
Everything is counted from the files written here, since a retried task would count twice in an accumulator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.rules import problem_message
from churn_spark.contract.values import DATE, FALSE, MISSING, NUMBER, SPACE, TRUE, WHOLE
from churn_spark.errors import ChurnError, InputError
from churn_spark.settings import sections as config
from churn_spark.spark.input.files import CORRUPT, KEPT_CHARS, REPLACEMENT, ROW_ERROR, any_of, quoted, reading

LabelUse = Literal["required", "ignored"]  # training, scoring

PROBLEMS = "array<struct<name:string,message:string,columns:array<string>>>"
ROW_PROBLEMS = {
    "malformed_row": "the row does not have the fields that the header names",
    "row_too_long": "the row is longer than the limit",
    "duplicate_key": "several rows with this key, with different values",
}


@dataclass(frozen=True)
class Counts:
    """Rows by what became of them: rows_in = valid + rejected + duplicates (identical to one that stays).

    `by_rule` counts rejected rows, `by_warning` valid ones, by "column:rule" or the rule of a whole row.
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


@dataclass(frozen=True)
class Validated:
    """Valid rows (typed columns, `_warnings`), rejected rows (raw strings, `_corrupt_record`, `_errors`)."""

    valid: DataFrame
    rejected: DataFrame
    counts: Counts


# -- rules of a row -------------------------------------------------------------------------------------


def with_errors(
    df: DataFrame, contract: Contract, *, settings: config.Validation, label: LabelUse
) -> DataFrame:
    """Type the used columns and add `_errors` and `_warnings`; `df` is what `sources.read_raw` gives.

    Columns out: the used columns in their types (null where missing or bad), `_raw` (a struct of what a row
    with problems held, as strings of at most 10,000 characters), `_corrupt_record`, and `_errors` and
    `_warnings`, arrays of struct<name, message, columns>. With the label required, i.e. in training, any
    problem is an error; with the label ignored only an unusable key is, and other problems are warnings.
    """
    columns = contract.used  # each step in a projection of its own, so that nothing is computed twice
    df = df.withColumns({_temporary("value", c): _value(c) for c in columns})
    df = df.withColumns({_temporary("problem", c): _problem(c, settings, label) for c in columns})
    strict = [c for c in columns if label == "required" or c.name in contract.key]
    lenient = [c for c in columns if c not in strict and c.role != "label"]
    unsplit = ("malformed_row", "row_too_long")  # such a row has no values to be checked
    whole_row = _first((F.col(ROW_ERROR) == name, name, None) for name in unsplit)
    errors = F.when(F.col(ROW_ERROR).isin(*unsplit), F.array(whole_row)).otherwise(_collected(strict))
    warnings = _collected(lenient)
    raw = F.struct(*[F.left(_raw(c), F.lit(KEPT_CHARS)).alias(c.name) for c in columns])
    return df.select(
        *[_typed(c).alias(c.name) for c in columns],
        F.when((F.size(errors) > 0) | (F.size(warnings) > 0), raw).alias("_raw"),
        CORRUPT,
        errors.alias("_errors"),
        warnings.alias("_warnings"),
    )


def _temporary(step: str, column: Column) -> str:
    return f"_{step}:{column.name}"


def _of(step: str, column: Column) -> SparkColumn:
    return F.col(quoted(_temporary(step, column)))


def _raw(column: Column) -> SparkColumn:
    return F.col(quoted(column.name))


def _value(column: Column) -> SparkColumn:
    """The parsed value; null where there is none, infinite where a number is too large."""
    raw = _raw(column)
    if column.kind != "string":  # most values need no trimming
        return F.coalesce(_parsed(column, raw), _parsed(column, _trimmed(column)))
    # Most texts cannot stand for a missing one by their first character, which saves a regular expression.
    first = F.ascii(raw)
    present = first.between(0x21, 0x7E) & ~first.isin(ord("n"), ord("N"))
    return F.when(present | ~_is_missing(column), raw)


def _parsed(column: Column, text: SparkColumn) -> SparkColumn:
    """Patterns first, since `try_cast` takes `7d` for a number."""
    if column.kind == "boolean":
        word = F.lower(text)
        return F.when(word.isin(*TRUE), True).when(word.isin(*FALSE), False)
    if column.kind == "date":
        return F.when(text.rlike(DATE), text.try_cast("date"))
    if column.kind == "bigint":
        return F.when(text.rlike(WHOLE), text.try_cast("double").cast("bigint"))
    return F.when(text.rlike(NUMBER), text.try_cast("double"))


def _trimmed(column: Column) -> SparkColumn:
    return F.btrim(_raw(column), F.lit(SPACE))


def _is_missing(column: Column) -> SparkColumn:
    words = "" if column.role == "id" else "|".join(filter(None, MISSING))
    return F.coalesce(_raw(column).rlike(rf"^[{SPACE}]*(?i:{words})?[{SPACE}]*\z"), F.lit(True))


def _problem(column: Column, settings: config.Validation, label: LabelUse) -> SparkColumn:
    """The first broken rule, in the order of `columns.check_value`; null where there is none."""
    raw, value, infinity = _raw(column), _of("value", column), float("inf")
    absent = value.isNull()  # so that good values are not asked whether they are missing
    unparsed = absent & ~_is_missing(column)
    rules = [(F.col(ROW_ERROR).eqNullSafe("bad_encoding") & raw.contains(REPLACEMENT), "bad_encoding")]
    if column.role == "id":
        rules += [(absent, "id_missing"), (F.length(raw) > settings.max_id_chars, "id_too_long")]
    elif column.role == "label":
        rules += [(unparsed, "label_invalid")]
        rules += [(absent, "label_missing")] if label == "required" else []
    elif column.kind == "bigint":
        number = F.when(_trimmed(column).rlike(NUMBER), F.abs(_trimmed(column).try_cast("double")))
        rules += [(unparsed & ~F.coalesce(number < infinity, F.lit(False)), "not_a_number")]
        rules += [(unparsed, "not_whole")]
    elif column.kind == "double":
        rules += [(unparsed | (F.abs(value) == infinity), "not_a_number")]
    elif column.kind != "string":
        rules += [(unparsed, {"boolean": "not_boolean", "date": "not_a_date"}[column.kind])]
    if column.required or column.role == "snapshot":
        rules.append((absent, "required_missing"))
    if column.min is not None:
        rules.append((value < column.min, "below_min"))
    if column.max is not None:
        rules.append((value > column.max, "above_max"))
    if column.allowed is not None:
        rules.append((~value.isin(*column.allowed_values), "not_allowed"))
    if column.pattern is not None:  # (?d): only \n ends a line, as in Python
        text = raw if column.kind == "string" else _trimmed(column)
        rules.append((~absent & ~text.rlike(rf"(?d)^(?:{column.pattern})\z"), "pattern_mismatch"))
    return _first((condition, name, column) for condition, name in rules)


def _first(rules: Iterable[tuple[SparkColumn, str, Column | None]]) -> SparkColumn:
    """The problem of the first rule that is broken, else null."""
    (condition, name, column), *others = rules
    chosen = F.when(condition, _described(name, column))
    for condition, name, column in others:
        chosen = chosen.when(condition, _described(name, column))
    return chosen


def _described(name: str, column: Column | None, columns: Iterable[str] = ()) -> SparkColumn:
    message = problem_message(name, column) if column else ROW_PROBLEMS[name]
    names = [column.name] if column else list(columns)
    return F.struct(
        F.lit(name).alias("name"),
        F.lit(message).alias("message"),
        F.array(*map(F.lit, names)).cast("array<string>").alias("columns"),
    )


def _collected(columns: Iterable[Column]) -> SparkColumn:
    problems = [_of("problem", column) for column in columns]
    none = F.array().cast(PROBLEMS)
    if not problems:
        return none
    return F.when(any_of(p.isNotNull() for p in problems), F.array_compact(F.array(*problems))).otherwise(
        none
    )


def _typed(column: Column) -> SparkColumn:
    return F.when(_of("problem", column).isNull(), _of("value", column))


# -- the split of a table -------------------------------------------------------------------------------


def split_valid(
    df: DataFrame, contract: Contract, *, settings: config.Validation, label: LabelUse, folder: str
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
    checked = with_errors(df, contract, settings=settings, label=label).withColumn("_fate", fate)
    checked = _written(checked, f"{folder}/checked")
    valid, rejected, identical = checked.where("_fate != 'rejected'"), checked.where("_fate = 'rejected'"), 0
    keys = valid.groupBy(*map(quoted, contract.key)).count().where("count > 1")
    if not keys.isEmpty():
        repeated = _written(_repeated(valid, keys, contract, label=label), f"{folder}/repeated")
        valid = valid.join(repeated.select(*map(quoted, contract.key)), list(contract.key), "left_anti")
        valid = valid.unionByName(repeated.where("_fate not in ('rejected', 'identical')"))
        rejected = rejected.unionByName(repeated.where("_fate = 'rejected'"))
        identical = repeated.where("_fate = 'identical'").count()
    names = [quoted(c.name) for c in contract.used]
    return Validated(
        valid.select(*names, "_warnings"),
        rejected.select(*[_told(c).alias(c.name) for c in contract.used], CORRUPT, "_errors"),
        _counts(valid, rejected, contract, rows_in=checked.count(), identical=identical),
    )


def _written(df: DataFrame, path: str) -> DataFrame:
    with reading():
        df.write.parquet(path)
    return df.sparkSession.read.schema(df.schema).parquet(path)


def _repeated(valid: DataFrame, keys: DataFrame, contract: Contract, *, label: LabelUse) -> DataFrame:
    """The rows whose key comes again, with a new `_fate`: rejected, identical, or the old one if kept.

    In training, rows that differ are all rejected. In scoring one stays, degraded: it has all their notes, and no
    value where they differ otherwise.
    """
    same_key = Window.partitionBy(*map(quoted, contract.key))
    compared = [c for c in contract.used if label == "required" or c.role != "label"]
    row_hash = F.xxhash64(*map(_raw, compared), F.array(*[_raw(c).isNull() for c in compared]))
    rows = valid.join(keys.drop("count"), list(contract.key), "left_semi").withColumn("_hash", row_hash)
    copy = F.row_number().over(same_key.orderBy(F.size("_warnings"), "_hash"))
    rows = rows.withColumns({"_differs": _differs(F.col("_hash"), same_key), "_copy": copy})
    is_rejected = F.col("_differs") & ((F.col("_copy") > 1) | F.lit(label == "required"))
    is_merged = F.col("_differs") & ~is_rejected
    merged = {c.name: F.when(is_merged, _merged(c, same_key)).otherwise(_raw(c)) for c in compared}
    problem = F.array(_described("duplicate_key", None, contract.key)).cast(PROBLEMS)
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
        notes = F.array_sort(F.collect_set(_raw(column)).over(same_key))
        return F.when(F.size(notes) > 0, F.array_join(notes, "\n\n"))
    return F.when(~_differs(F.xxhash64(_raw(column)), same_key), _raw(column))


def _differs(value: SparkColumn, same_key: WindowSpec) -> SparkColumn:
    return F.min(value).over(same_key) != F.max(value).over(same_key)


def _told(column: Column) -> SparkColumn:
    """The raw string; where the row in itself was good, its value as a string."""
    value = F.left(_raw(column).cast("string"), F.lit(KEPT_CHARS))
    return F.when(F.col("_raw").isNull(), value).otherwise(F.col("_raw")[column.name])


def _counts(
    valid: DataFrame, rejected: DataFrame, contract: Contract, *, rows_in: int, identical: int
) -> Counts:
    label = _raw(contract.label) if contract.label else F.lit(None).cast("boolean")
    tally = valid.agg(
        F.count("*").alias("valid"),
        F.count_if(F.col("_fate") == "degraded").alias("degraded"),
        F.count_if(label).alias("churners"),
        F.count_if(~label).alias("stayers"),
    ).collect()[0]
    refused = rejected.count()
    if rows_in != tally.valid + refused + identical:
        raise ChurnError(
            f"rows got lost: {rows_in} in, {tally.valid} valid, {refused} rejected, {identical} duplicates",
            fix="report this; nothing was published",
        )
    return Counts(
        rows_in=rows_in,
        rejected=refused,
        duplicates=identical,
        by_rule=_by_rule(rejected, "_errors") if refused else {},
        by_warning=_by_rule(valid, "_warnings") if tally.degraded else {},
        **tally.asDict(),
    )


def _by_rule(df: DataFrame, column: str) -> dict[str, int]:
    found = df.select(F.explode(column).alias("problem")).groupBy("problem.name", "problem.columns").count()
    rows = sorted(found.collect(), key=lambda row: (-row["count"], row["name"], row["columns"]))
    return {_rule(row["name"], row["columns"]): row["count"] for row in rows}


def _rule(name: str, columns: Iterable[str]) -> str:
    return name if name in ROW_PROBLEMS else f"{','.join(columns)}:{name}"


# -- gates of a table -----------------------------------------------------------------------------------


def check_gates(counts: Counts, *, settings: config.Validation, label: LabelUse) -> None:
    """Refuse a table that is not fit for its purpose; call it when the rejected rows are written.

    Training needs rows, churners and stayers. Training and scoring alike need the share of bad rows within
    its limit: those rejected and those scored without a value because it is bad. Raises InputError.
    """
    is_training = label == "required"
    if is_training and not counts.rows_in:
        raise InputError("the input holds no rows", fix="check --raw")
    bad = counts.rejected + counts.degraded
    if bad > settings.max_reject_share * counts.rows_in:
        rules = [*counts.by_rule.items(), *counts.by_warning.items()]
        listed = ", ".join(f"{rule} {count}" for rule, count in sorted(rules, key=lambda r: -r[1])[:5])
        raise InputError(
            f"{bad} of {counts.rows_in} rows ({bad / counts.rows_in:.1%}) break the contract, "
            f"above the limit of {settings.max_reject_share:.1%}: {listed}",
            where="validation.max_reject_share",
            fix="mend the input (see churn_rejects), or correct the rules under `columns`",
        )
    if is_training and not (counts.churners and counts.stayers):
        raise InputError(
            f"the label has one class only: {counts.churners} churners, {counts.stayers} others",
            fix="train on a table that holds both customers who left and customers who stayed",
        )
    if is_training and counts.churners < settings.min_churners:
        raise InputError(
            f"{counts.churners} churners among {counts.valid} valid rows, fewer than {settings.min_churners}",
            where="validation.min_churners",
            fix="train on a longer period or on more customers",
        )
