"""Every published table, column by column: name, type, comment.

From this one place come the Spark schemas, the comments in Parquet and catalog, and (`ddl`) the documentation page
and the statements that define the tables elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from churn_spark.contract.columns import Contract


class Field(NamedTuple):
    """A published column; `type` is Spark SQL's DDL."""

    name: str
    type: str
    comment: str


class Table(NamedTuple):
    """A published table; the columns of `partitions` stand in the folders' names, not in the files."""

    name: str
    comment: str
    fields: tuple[Field, ...]
    partitions: tuple[Field, ...] = ()


HORIZON = Field(
    "horizon_days", "int", "within how many days of the snapshot churn is meant; null for a cross-section"
)
LABEL_BASIS = Field("label_basis", "string", "panel (labels observed after the snapshot) or cross_section")
KEYS = (Field("customer_id", "string", "the customer, exactly as in the input"),)
SCORES = (
    Field("churn_probability", "double", "calibrated probability of churn; null only where unscorable"),
    HORIZON,
    Field("churn_score_raw", "float", "the booster's own output, before calibration"),
    Field("churn_prediction", "boolean", "churn_probability >= threshold"),
    Field("threshold", "double", "the cut-off used"),
    Field("risk_band", "string", "very_high, high, medium or low"),
    Field("risk_rank", "bigint", "1 = highest probability of this score_date"),
    Field("risk_decile", "int", "1 = the tenth of customers with the highest probability"),
    Field("expected_value", "double", "money expected from contacting this customer, with the best offer"),
    Field("value_at_risk", "double", "churn_probability x customer value"),
    Field("currency", "string", "of all amounts of money, as the settings name it"),
    Field("offer", "string", "the best of several offers for this customer; null where none is open to them"),
    Field("recommended", "boolean", "worth contacting, within capacity, not in the holdout"),
    Field("in_holdout", "boolean", "never contacted, by hash of the id, so that the effect can be measured"),
    Field("reason_1", "string", "what moved this score most: a column's name"),
    Field("reason_1_effect", "float", "its signed effect in log-odds"),
    Field("reason_1_text", "string", "the reason as a sentence, with the value in it"),
    Field("reason_2", "string", "the second reason"),
    Field("reason_2_effect", "float", "its signed effect in log-odds"),
    Field("reason_2_text", "string", "the second reason as a sentence"),
    Field("reason_3", "string", "the third reason"),
    Field("reason_3_effect", "float", "its signed effect in log-odds"),
    Field("reason_3_text", "string", "the third reason as a sentence"),
    Field("ticket_summary", "string", "summary of the note, personal data replaced by placeholders"),
    Field("text_status", "string", "ok, passthrough, empty, truncated or failed"),
    Field("previous_probability", "double", "churn_probability on the customer's previous score_date"),
    Field("probability_change", "double", "churn_probability - previous_probability"),
    Field("score_reused", "boolean", "copied forward: neither features nor model changed"),
    Field("input_hash", "bigint", "hash of all that the score depends on, the model included"),
    Field("score_status", "string", "ok, degraded (a bad value was treated as missing) or unscorable"),
    Field("status_detail", "string", "why the status is not ok"),
    LABEL_BASIS,
)
LINEAGE = (
    Field("model_id", "string", "the model package that scored the row"),
    Field("run_id", "string", "the run that wrote the row"),
    Field("scored_at", "timestamp", "when that run started, UTC"),
)

SCORE_DATE = Field("score_date", "date", "the as-of day; scoring it again replaces exactly that day")
REASONS = (
    Field("customer_id", "string", "the customer, exactly as in the input"),
    Field("rank", "int", "1 = strongest; 0 = the baseline, so that effects + baseline = raw margin"),
    Field("reason", "string", "the column, or `baseline`"),
    Field("value", "string", "the customer's value of that column; null for text and baseline"),
    Field("effect", "float", "signed effect in log-odds"),
    Field("text", "string", "the reason as a sentence"),
    LABEL_BASIS,
    Field("run_id", "string", "the run that wrote the row"),
)
# After the raw columns of a rejected row.
REJECTS = (
    Field(
        "_corrupt_record",
        "string",
        "the row as it stood in the file, where its fields could not be told apart",
    ),
    Field(
        "_errors",
        "array<struct<name:string,message:string,columns:array<string>>>",
        "every rule that was broken",
    ),
    Field("rule", "string", "the first of them"),
    Field("detail", "string", "the first of them in words"),
    Field("job", "string", "prepare, train or score"),
    Field("run_id", "string", "the run that set the row aside"),
)
RUN_DATE = Field("run_date", "date", "the day the run started, UTC")
METRICS = (
    Field("run_id", "string", "the run that measured it"),
    Field("model_id", "string", "the model measured"),
    Field(
        "split",
        "string",
        "learn (scored out of fold), test, or backtest (models fitted up to a past date)",
    ),
    Field(
        "slice",
        "string",
        "`all`, column=value, as_of=date of a backtest, a simpler model (`table only`), or `gain over` one",
    ),
    Field("metric", "string", "its name, e.g. roc_auc"),
    Field("value", "double", "the estimate"),
    Field("ci_low", "double", "lower end of the 95 % interval (bootstrap over customers)"),
    Field("ci_high", "double", "upper end of the 95 % interval"),
    Field("n", "bigint", "rows it was measured on"),
    LABEL_BASIS,
)
CURVES = (
    Field("run_id", "string", "the run that measured it"),
    Field("model_id", "string", "the model measured"),
    Field("split", "string", "learn or test; of the learning curve learn or unseen"),
    Field("curve", "string", "roc, pr, gains, calibration, profit, learning, ..."),
    Field("bin", "int", "position along the curve"),
    Field("x", "double", "horizontal value"),
    Field("y", "double", "vertical value"),
    Field("n", "bigint", "rows behind the point"),
    LABEL_BASIS,
)
RUNS = (
    Field("run_id", "string", "the run"),
    Field("job", "string", "prepare, train or score"),
    Field("status", "string", "succeeded, failed or cancelled"),
    Field("reason", "string", "why it failed or was cancelled"),
    Field("exit_code", "int", "0 = done; the README lists the others"),
    Field("started_at", "timestamp", "UTC"),
    Field("finished_at", "timestamp", "UTC"),
    Field("seconds", "double", "wall-clock time"),
    Field("config_hash", "string", "hash of every setting"),
    Field("code_version", "string", "version of churn_spark"),
    Field("input", "string", "the raw table"),
    Field("model_id", "string", "the model trained or used"),
    LABEL_BASIS,
    Field("score_date", "date", "the as-of day of a scoring run"),
    Field("rows_in", "bigint", "raw rows read"),
    Field("rows_valid", "bigint", "rows that keep the contract"),
    Field("rows_rejected", "bigint", "rows in churn_rejects"),
    Field("rows_duplicates", "bigint", "identical duplicates set aside"),
    Field("rows_scored", "bigint", "rows in churn_scores"),
    Field("notes", "bigint", "rows with a note"),
    Field("notes_distinct", "bigint", "distinct notes"),
    Field("summaries_computed", "bigint", "summaries not found in the cache"),
    Field("embeddings_computed", "bigint", "vectors not found in the cache"),
    Field("roc_auc", "double", "on the test rows, for a training run"),
)
# The text cache: three maps in one table, partitioned by kind and identity. No raw note stands in it: keys are
# hashes, summaries are redacted.
NOTES_PARTITIONS = (
    Field("kind", "string", "note, summary or embedding"),
    Field(
        "identity",
        "string",
        "hash of what computed the row: redaction, summarizer or embedder with its settings",
    ),
)
NOTES = (
    Field("key", "string", "note: hash of the raw note; summary: text_id; embedding: folded_id of the text"),
    Field("text_id", "string", "note: hash of the cleaned (normalised, redacted) text; null where blank"),
    Field("folded_id", "string", "hash of the cleaned text or summary as far as the model tells texts apart"),
    Field("was_cut", "boolean", "note: longer than the limit"),
    Field("redacted", "map<string,int>", "note: how much personal data was replaced, by kind"),
    Field("summary", "string", "summary: redacted text"),
    Field(
        "status",
        "string",
        "summary: ok, passthrough or truncated; where there is an error, failed or pending",
    ),
    Field(
        "error", "string", "why there is no answer; such rows only tell what was tried and are asked again"
    ),
    Field("embedding", "binary", "embedding: the vector, float32 little-endian"),
    Field("calls", "int", "calls to a remote endpoint, also those that failed"),
    Field("tokens", "int", "embedding: tokens of the text; remote: tokens that the endpoint billed"),
    Field("padded_tokens", "int", "embedding: tokens computed, padding included"),
    Field("chunks", "int", "embedding: windows the text was embedded in"),
)

CACHE = Table(
    "churn_notes", "the text cache, not for analysts: each distinct text once", NOTES, NOTES_PARTITIONS
)


def scores_schema(contract: Contract) -> tuple[Field, ...]:
    """The columns of `churn_scores` for a table contract, without the partition column `score_date`."""
    taken = {f.name for f in (*KEYS, *SCORES, *LINEAGE)}
    shown = [
        Field(c.name, c.kind, c.description or f"{c.role} column of the input")
        for c in contract.shown
        if c.name not in taken
    ]
    return (*KEYS, *SCORES, *shown, *LINEAGE)


def rejects_schema(contract: Contract) -> tuple[Field, ...]:
    """The columns of `churn_rejects`, without the partition column `run_date`."""
    return (
        *(Field(c.name, "string", f"as read: {c.description or c.role}") for c in contract.used),
        *REJECTS,
    )


def published(contract: Contract) -> tuple[Table, ...]:
    """Every table that runs leave for analysts, for a table contract."""
    return (
        Table("churn_scores", "one row per live customer and score_date, sorted by customer_id",
              scores_schema(contract), (SCORE_DATE,)),
        Table("churn_reasons", "one row per customer, score_date and column of the input", REASONS, (SCORE_DATE,)),
        Table("churn_rejects", "one row per row of the input that was set aside, raw values as strings",
              rejects_schema(contract), (RUN_DATE,)),
        Table("churn_metrics", "one row per measured metric, by model, split and slice", METRICS),
        Table("churn_curves", "one row per point of a figure", CURVES),
        Table("churn_runs", "one row per run", RUNS),
    )  # fmt: skip


def ddl(fields: Iterable[Field]) -> str:
    """The fields as a Spark schema string."""
    return ", ".join(f"`{f.name}` {f.type}" for f in fields)
