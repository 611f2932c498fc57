"""The contract's rules for one row, as native Spark expressions: typed values, and what is wrong with the others.

They are those of `contract.rules.check_value`; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.ids import AS_JAVA, EXACT_BELOW, ROUNDED, WITH_FRACTION
from churn_spark.contract.rules import problem_message
from churn_spark.contract.values import (
    DATE,
    EXCEL,
    EXCEL_DAY,
    EXCEL_DAYS,
    EXCEL_START,
    GROUPING,
    LARGEST,
    LONG_MINUS,
    MINUS,
    MONTHS,
    NUMBER,
    SPACE,
    WHOLE,
    WHOLE_WORD,
    Notation,
    unit_pattern,
    word,
)
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
        return F.coalesce(_parsed(column, raw), _parsed(column, _bare(column)))
    # Most texts cannot stand for a missing one by their first character, which saves a regular expression.
    first = F.ascii(raw)
    starts = {ord(c) for w in column.notation.missing_words if w for c in (w[0], w[0].upper())}
    present = first.between(0x21, 0x7E) & ~first.isin(*starts)
    text = F.when(present | ~_is_missing(column), raw)
    return _id(text) if column.role == "id" else text


def _id(text: SparkColumn) -> SparkColumn:
    """The id as `contract.ids` writes it; null where its digits are lost or a NUL stands in it."""
    whole = F.regexp_extract(text, r"^([^.]*)", 1)
    number = text.try_cast("decimal(38,10)")
    digits = F.when(number == F.floor(number), F.regexp_replace(number.cast("string"), r"\.0+$", ""))
    is_exact = F.abs(number) < EXACT_BELOW
    plain = F.when(~text.rlike(ROUNDED) & ~text.contains("\0"), text)
    return (
        F.when(text.rlike(WITH_FRACTION), F.when(is_exact, whole))
        .when(text.rlike(AS_JAVA), F.when(is_exact, digits))
        .otherwise(plain)
    )


def _parsed(column: Column, text: SparkColumn) -> SparkColumn:
    """Patterns first, since `try_cast` takes `7d` for a number."""
    notation = column.notation
    if column.kind == "boolean":
        return _word_value(column, text)
    if column.kind == "date":
        return _day(text, notation)
    text = _point(text, notation)
    if column.kind == "bigint":
        return F.when(text.rlike(WHOLE), text.try_cast("double").cast("bigint"))
    return F.when(text.rlike(NUMBER), text.try_cast("double"))


def _word_value(column: Column, text: SparkColumn) -> SparkColumn:
    # With one word that means "left" any other is an answer, so white space must be gone before it is read.
    notation, bare = column.notation, F.btrim(text, F.lit(SPACE))
    said = F.regexp_replace(F.lower(bare), WHOLE_WORD, "$1")
    if notation.positive is not None:
        return F.when(~_is_missing(column), said == word(notation.positive))
    no = F.when(said.isin(*map(word, notation.false_values)), False)
    return F.when(said.isin(*map(word, notation.true_values)), True).otherwise(no)


def _point(text: SparkColumn, notation: Notation) -> SparkColumn:
    """A number's text with a decimal point and without marks between thousands."""
    if notation.thousands and notation.grouped:
        together = F.translate(text, GROUPING[notation.thousands], "")
        text = F.when(text.rlike(notation.grouped), together).otherwise(text)
    return F.translate(text, ",.", ".,") if notation.decimal == "," else text


def _day(text: SparkColumn, notation: Notation) -> SparkColumn:
    iso = F.when(text.rlike(DATE), F.left(text, F.lit(10)).try_cast("date"))
    if notation.date_format == EXCEL:
        days = F.regexp_extract(text, "^([0-9]+)", 1).try_cast("int")
        serial = F.when(days.between(*EXCEL_DAYS), F.date_add(F.lit(EXCEL_START), days))
        return F.when(text.rlike(EXCEL_DAY), serial).otherwise(iso)
    if notation.date is None:
        return iso
    numbers = text
    if notation.date.has_month_names:
        for number, names in enumerate(MONTHS, start=1):
            numbers = F.regexp_replace(numbers, rf"(?i)({names})[a-zäÄ]*\.?", f"{number:02d}")
    written = F.regexp_replace(numbers, notation.date.pattern, notation.date.iso)
    return F.when(numbers.rlike(notation.date.pattern), written.try_cast("date")).otherwise(iso)


def _trimmed(column: Column) -> SparkColumn:
    return F.btrim(raw_value(column), F.lit(SPACE))


def _bare(column: Column) -> SparkColumn:
    """The trimmed text; of a number without its unit, and with the minus in front."""
    text, unit = _trimmed(column), column.notation.unit
    if column.kind not in ("double", "bigint"):
        return text
    if unit:
        text = F.regexp_replace(text, unit_pattern(unit), "$1")
    return F.regexp_replace(F.translate(text, LONG_MINUS, "-"), MINUS, "-$1$2")


def _is_missing(column: Column) -> SparkColumn:
    words = "" if column.role == "id" else "|".join(re.escape(w) for w in column.notation.missing_words if w)
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
    raw = raw_value(column)
    unparsed = absent & ~_is_missing(column)
    if column.role == "id":
        too_long = F.length(raw) > settings.max_id_chars
        has_nul = unparsed & raw.contains("\0")
        return [(absent & ~unparsed, "id_missing"), (too_long, "id_too_long"), (has_nul, "id_has_nul"),
                (unparsed, "id_through_float")]  # fmt: skip
    if column.role == "label":
        return [(unparsed, "label_invalid"), *([(absent, "label_missing")] if purpose == "train" else [])]
    if column.kind == "bigint":
        text = _point(_bare(column), column.notation)
        number = F.when(text.rlike(NUMBER), F.abs(text.try_cast("double")))
        is_number = F.coalesce(number <= LARGEST, F.lit(False))
        return [(unparsed & ~is_number, "not_a_number"), (unparsed, "not_whole")]
    if column.kind == "double":
        return [(unparsed | (F.abs(_of("value", column)) > LARGEST), "not_a_number")]
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
