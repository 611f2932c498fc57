"""The contract's rules for one row, as native Spark expressions: typed values, and what is wrong with the others.

They are those of `contract.rules.check_value`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.rules import problem_message
from churn_spark.contract.values import DATE, FALSE, MISSING, NUMBER, SPACE, TRUE, WHOLE
from churn_spark.settings import sections as config
from churn_spark.spark.input.files import CORRUPT, KEPT_CHARS, REPLACEMENT, ROW_ERROR, any_of, quoted

Purpose = Literal["train", "score"]

PROBLEMS = "array<struct<name:string,message:string,columns:array<string>>>"
ROW_PROBLEMS = {
    "malformed_row": "the row does not have the fields that the header names",
    "row_too_long": "the row is longer than the limit",
    "duplicate_key": "several rows with this key, with different values",
}


def with_errors(
    df: DataFrame, contract: Contract, *, settings: config.Validation, purpose: Purpose
) -> DataFrame:
    """Type the used columns and add `_errors` and `_warnings`; `df` is what `sources.read_raw` gives.

    Columns out: the used columns in their types (null where missing or bad), `_raw` (a struct of what a row
    with problems held, as strings of at most 10,000 characters), `_corrupt_record`, and `_errors` and
    `_warnings`, arrays of struct<name, message, columns>. In training any problem is an error;
    in scoring only an unusable key is, and other problems are warnings.
    """
    columns = contract.used  # each step in a projection of its own, so that nothing is computed twice
    df = df.withColumns({_temporary("value", c): _value(c) for c in columns})
    df = df.withColumns({_temporary("problem", c): _problem(c, settings, purpose) for c in columns})
    strict = [c for c in columns if purpose == "train" or c.name in contract.key]
    lenient = [c for c in columns if c not in strict and c.role != "label"]
    unsplit = ("malformed_row", "row_too_long")  # such a row has no values to be checked
    whole_row = _first((F.col(ROW_ERROR) == name, name, None) for name in unsplit)
    errors = F.when(F.col(ROW_ERROR).isin(*unsplit), F.array(whole_row)).otherwise(_collected(strict))
    warnings = _collected(lenient)
    raw = F.struct(*[F.left(raw_value(c), F.lit(KEPT_CHARS)).alias(c.name) for c in columns])
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


def raw_value(column: Column) -> SparkColumn:
    return F.col(quoted(column.name))


def _value(column: Column) -> SparkColumn:
    """The parsed value; null where there is none, infinite where a number is too large."""
    raw = raw_value(column)
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
    return F.btrim(raw_value(column), F.lit(SPACE))


def _is_missing(column: Column) -> SparkColumn:
    words = "" if column.role == "id" else "|".join(filter(None, MISSING))
    return F.coalesce(raw_value(column).rlike(rf"^[{SPACE}]*(?i:{words})?[{SPACE}]*\z"), F.lit(True))


def _problem(column: Column, settings: config.Validation, purpose: Purpose) -> SparkColumn:
    """The first broken rule, in the order of `check_value`; null where there is none."""
    raw, value = raw_value(column), _of("value", column)
    absent = value.isNull()  # so that good values are not asked whether they are missing
    bad_bytes = F.col(ROW_ERROR).eqNullSafe("bad_encoding") & raw.contains(REPLACEMENT)
    rules = [(bad_bytes, "bad_encoding"), *_type_rules(column, absent, settings, purpose)]
    if column.required or column.role == "snapshot":
        rules.append((absent, "required_missing"))
    return _first((condition, name, column) for condition, name in [*rules, *_declared_rules(column)])


def _type_rules(
    column: Column, absent: SparkColumn, settings: config.Validation, purpose: Purpose
) -> list[tuple[SparkColumn, str]]:
    raw, infinity = raw_value(column), float("inf")
    unparsed = absent & ~_is_missing(column)
    if column.role == "id":
        return [(absent, "id_missing"), (F.length(raw) > settings.max_id_chars, "id_too_long")]
    if column.role == "label":
        return [(unparsed, "label_invalid"), *([(absent, "label_missing")] if purpose == "train" else [])]
    if column.kind == "bigint":
        number = F.when(_trimmed(column).rlike(NUMBER), F.abs(_trimmed(column).try_cast("double")))
        is_number = F.coalesce(number < infinity, F.lit(False))
        return [(unparsed & ~is_number, "not_a_number"), (unparsed, "not_whole")]
    if column.kind == "double":
        return [(unparsed | (F.abs(_of("value", column)) == infinity), "not_a_number")]
    names = {"boolean": "not_boolean", "date": "not_a_date"}
    return [(unparsed, names[column.kind])] if column.kind in names else []


def _declared_rules(column: Column) -> list[tuple[SparkColumn, str]]:
    """The rules that the contract declares for a value, besides its type."""
    value, rules = _of("value", column), []
    if column.min is not None:
        rules.append((value < column.min, "below_min"))
    if column.max is not None:
        rules.append((value > column.max, "above_max"))
    if column.allowed is not None:
        rules.append((~value.isin(*column.allowed_values), "not_allowed"))
    if column.pattern is not None:  # (?d): only \n ends a line, as in Python
        text = raw_value(column) if column.kind == "string" else _trimmed(column)
        rules.append((value.isNotNull() & ~text.rlike(rf"(?d)^(?:{column.pattern})\z"), "pattern_mismatch"))
    return rules


def _first(rules: Iterable[tuple[SparkColumn, str, Column | None]]) -> SparkColumn:
    """The problem of the first rule that is broken, else null."""
    (condition, name, column), *others = rules
    chosen = F.when(condition, described(name, column))
    for condition, name, column in others:
        chosen = chosen.when(condition, described(name, column))
    return chosen


def described(name: str, column: Column | None, columns: Iterable[str] = ()) -> SparkColumn:
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
