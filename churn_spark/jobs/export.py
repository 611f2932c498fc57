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
import pyarrow.parquet as pq

from churn_spark.report.call_list import call_list_page
from churn_spark.report.workbook import write_workbook
from churn_spark.settings.sections import Config
from churn_spark.spark.scoring.dates import chosen_date, date_of, read_date
from churn_spark.spark.tables import Tables

CALL_LIST = (
    "customer_id", "churn_probability", "risk_band", "risk_rank", "expected_value", "value_at_risk",
    "reason_1_text", "reason_2_text", "reason_3_text", "ticket_summary",
)  # fmt: skip
SHOWN = 6  # of the contract's columns on the page; the workbook has all
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take for a formula (OWASP: CSV injection)


class Exported(NamedTuple):
    """What was written where."""

    path: Path
    rows: int
    score_date: dt.date


def export(config: Config, *, top: int, file_format: str, day: dt.date | None, to: Path | None) -> Exported:
    """Write the `top` recommended customers of a score date (default: the newest) by expected value.

    `file_format` is csv, parquet or json (one object a line). Raises what `call_list` does.
    """
    rows, date = call_list(config, top=top, day=day)
    path = to or Path(config.output.path) / "exports" / f"call_list_{date}.{file_format}"
    path.parent.mkdir(parents=True, exist_ok=True)
    {"csv": _write_csv, "parquet": _write_parquet, "json": _write_json}[file_format](rows, path)
    return Exported(path, len(rows), date)


def write_call_list(config: Config, *, top: int, form: str, day: dt.date | None, to: Path | None) -> Exported:
    """Write the call list for people: `form` html (a page to work from and to print), xlsx, or csv for Excel.

    Rows and errors are those of `call_list`.
    """
    table, date = call_list(config, top=top, day=day)
    path = to or Path(config.output.path) / "exports" / f"call_list_{date}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "csv":
        _write_csv(table, path, encoding="utf-8-sig")  # Excel takes a file without the mark for Windows-1252
    elif form == "xlsx":
        write_workbook(path, table.to_pylist(), table.column_names)
    else:
        columns = [c.name for c in config.contract.shown if c.name not in CALL_LIST]
        offer = {"offer": "offer"} if "offer" in table.column_names else {}
        labels = offer | {name: name.replace("_", " ") for name in columns[:SHOWN]}
        path.write_text(call_list_page(table.to_pylist(), date=date, labels=labels), encoding="utf-8")
    return Exported(path, len(table), date)


def call_list(config: Config, *, top: int, day: dt.date | None) -> tuple[pa.Table, dt.date]:
    """The `top` recommended customers of a score date (default: the newest) by expected value, and that date.

    Within capacity and without the holdout, since that is what `recommended` says. The columns are CALL_LIST, those
    of the contract, `offer` where there are several, and score_date. Raises InputError where there is no such date,
    ConfigError where the scores are not in a folder of Parquet files, ResourceError where the date is damaged.
    """
    tables = Tables.of(config)
    live = chosen_date(tables, day)
    shown = [c.name for c in config.contract.shown if c.name not in CALL_LIST]
    shown += ["offer"] if config.offers else []
    rows = read_date(
        tables, "churn_scores", live, wanted=pc.field("recommended"), columns=[*CALL_LIST, *shown]
    )
    best = rows.sort_by([("expected_value", "descending"), ("customer_id", "ascending")]).slice(0, top)
    date = date_of(live)
    return best.append_column("score_date", pa.array([date] * len(best), pa.date32())), date


def _write_csv(rows: pa.Table, path: Path, *, encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
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
