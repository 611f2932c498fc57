"""The call list as a file for people and their tools, read from the published table without Spark."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from churn_spark.contract.columns import Contract
from churn_spark.errors import ConfigError, InputError
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Config

CALL_LIST = (
    "customer_id", "churn_probability", "risk_band", "risk_rank", "expected_value", "value_at_risk",
    "reason_1_text", "reason_2_text", "reason_3_text", "ticket_summary",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take for a formula (OWASP: CSV injection)


class Exported(NamedTuple):
    """What was written where."""

    path: Path
    rows: int
    score_date: dt.date


def export(config: Config, *, top: int, file_format: str, day: dt.date | None, to: Path | None) -> Exported:
    """Write the `top` recommended customers of a score date (default: the newest) by expected value.

    Within capacity and without the holdout, since that is what `recommended` says. `file_format` is csv, parquet
    or json (one object a line). Raises InputError where there is no such date, ConfigError for a catalog.
    """
    if is_table_name(config.output.path):
        raise ConfigError(
            "the tables are in a catalog, export reads files",
            where="output",
            fix="run conf/sql/01_call_list.sql there",
        )
    table, found = _read(f"{config.output.path.rstrip('/')}/churn_scores", config.contract, day)
    rows = table.sort_by([("expected_value", "descending"), ("customer_id", "ascending")]).slice(0, top)
    path = to or Path(config.output.path) / "exports" / f"call_list_{found}.{file_format}"
    path.parent.mkdir(parents=True, exist_ok=True)
    {"csv": _write_csv, "parquet": _write_parquet, "json": _write_json}[file_format](rows, path)
    return Exported(path, len(rows), found)


def _read(location: str, contract: Contract, day: dt.date | None) -> tuple[pa.Table, dt.date]:
    """The recommended rows of one date, the newest by default, and that date."""
    system, root = (
        pafs.FileSystem.from_uri(location)
        if "://" in location
        else (pafs.LocalFileSystem(), str(Path(location).resolve()))
    )
    entries = system.get_file_info(pafs.FileSelector(root, allow_not_found=True))
    dates = {
        e.base_name.removeprefix("score_date=") for e in entries if e.base_name.startswith("score_date=")
    }
    chosen = max(dates, default="") if day is None else day.isoformat()
    if chosen not in dates:
        raise InputError(
            f"there are no scores of {day}" if day else "there are no scores yet",
            where=location,
            fix=f"newest date: {max(dates)}" if dates else "score first: churn-spark score",
        )
    data = ds.dataset(f"{root}/score_date={chosen}", filesystem=system, format="parquet")
    shown = [c.name for c in contract.shown if c.name in data.schema.names and c.name not in CALL_LIST]
    rows = data.to_table([*CALL_LIST, *shown], filter=pc.field("recommended"))
    date = dt.date.fromisoformat(chosen)
    return rows.append_column("score_date", pa.array([date] * len(rows), pa.date32())), date


def _write_csv(rows: pa.Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(harmless(rows.column_names))
        writer.writerows(harmless(row.values()) for row in rows.to_pylist())


def harmless(cells: Iterable[Any]) -> list[Any]:
    """Cells with an apostrophe before text that a spreadsheet would run as a formula."""
    return [f"'{c}" if isinstance(c, str) and c.startswith(FORMULA) else c for c in cells]


def _write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path)


def _write_json(rows: pa.Table, path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False, default=str) for row in rows.to_pylist()]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
