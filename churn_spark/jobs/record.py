"""What a run leaves behind of itself: `run.json` and its row in `churn_runs`."""

from __future__ import annotations

import datetime as dt
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from churn_spark import __version__
from churn_spark.contract import published
from churn_spark.errors import Cancelled, ChurnError
from churn_spark.settings.refusals import without_secret
from churn_spark.settings.sections import Config
from churn_spark.spark import storage

VERSIONS = (
    "pyspark",
    "xgboost",
    "pandas",
    "pyarrow",
    "numpy",
    "torch",
    "sentence-transformers",
    "scikit-learn",
)


def new_record(
    run_id: str, job: str, config: Config, *, argv: Sequence[str], started_at: dt.datetime
) -> dict[str, Any]:
    """The record of a run that begins."""
    return {
        "run_id": run_id,
        "job": job,
        "status": "running",
        "reason": None,
        "exit_code": None,
        "started_at": started_at.isoformat(),
        "finished_at": None,
        "past": {"events": {}, "one_day": [], "dates_ahead": {}, "label": {}},
        "argv": [without_secret(word) for word in argv],
        "config": config.model_dump(mode="json", by_alias=True),
        "config_hash": config.fingerprint(),
        "code_version": __version__,
        "versions": {"python": platform.python_version(), **{n: _version(n) for n in VERSIONS}},
        "input": config.raw,
        "label_basis": config.contract.label_basis,
        "rows": {"in": 0, "valid": 0, "rejected": 0, "duplicates": 0, "scored": 0},
        "text": {},
        "seconds": {},
        "model_id": None,
        "metrics": {},
    }


def exit_code(problem: BaseException) -> int:
    """What a run that ended so exits with."""
    if isinstance(problem, ChurnError | Cancelled):
        return problem.exit_code
    return 130 if isinstance(problem, KeyboardInterrupt) else 1


def run_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """The flat part of a run's record, a value for every field of `churn_runs`."""
    rows, text, day = record["rows"], record["text"], record.get("score_date")
    direct = ("run_id", "job", "status", "reason", "exit_code", "config_hash", "code_version", "input",
              "model_id", "label_basis")  # fmt: skip
    return {
        **{name: record[name] for name in direct},
        "started_at": dt.datetime.fromisoformat(record["started_at"]),
        "finished_at": dt.datetime.fromisoformat(record["finished_at"]),
        "seconds": record["seconds"]["total"],
        "score_date": dt.date.fromisoformat(day) if day else None,
        **{f"rows_{name}": rows[name] for name in ("in", "valid", "rejected", "duplicates", "scored")},
        "notes": text.get("notes"),
        "notes_distinct": text.get("distinct"),
        "summaries_computed": text.get("summaries_computed"),
        "embeddings_computed": text.get("embeddings_computed"),
        "roc_auc": record["metrics"].get("roc_auc"),
    }


def write_rows(rows: Sequence[Mapping[str, Any]], path: str, fields: Sequence[published.Field]) -> None:
    """Write rows into a local Parquet file as Spark would: types and comments in the footer."""
    schema = pa.schema([(f.name, ARROW[f.type][0]) for f in fields])
    told = [{"name": f.name, "type": ARROW[f.type][1], "nullable": True, "metadata": {"comment": f.comment}}
            for f in fields]  # fmt: skip
    footer = {SPARK_SCHEMA: json.dumps({"type": "struct", "fields": told})}
    storage.local(path).parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema).replace_schema_metadata(footer)
    pq.write_table(table, storage.local(path))


SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"
ARROW = {
    "string": (pa.string(), "string"), "int": (pa.int32(), "integer"), "bigint": (pa.int64(), "long"),
    "double": (pa.float64(), "double"), "date": (pa.date32(), "date"),
    "timestamp": (pa.timestamp("us", "UTC"), "timestamp"),
}  # fmt: skip


def reason(problem: BaseException | None) -> str | None:
    """Why a run ended, for its record; None where it succeeded."""
    if problem is None:
        return None
    return str(problem) if isinstance(problem, ChurnError | Cancelled) else type(problem).__name__


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
