"""Published dates read in this process, without Spark: verified first, and every page by its checksum."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from churn_spark.errors import ConfigError, InputError
from churn_spark.spark import storage
from churn_spark.spark.manifests import check_partition
from churn_spark.spark.tables import Tables
from churn_spark.spark.versions import Live, live_folders

CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def score_dates(tables: Tables) -> list[Live]:
    """The dates that `churn_scores` has, the newest first. Raises ConfigError where it is not of Parquet files."""
    if tables.in_catalog or tables.format != "parquet":
        raise ConfigError(
            "the scores are not in a folder of Parquet files, which this command reads",
            where="output" if tables.in_catalog else "tables.format",
            fix="run conf/sql/01_call_list.sql there",
        )
    return list(live_folders(tables, None, "churn_scores"))


def chosen_date(tables: Tables, day: dt.date | None) -> Live:
    """The date `day`, by default the newest. Raises InputError where there is none."""
    dates = score_dates(tables)
    chosen = [d for d in dates if day is None or date_of(d) == day]
    if not chosen:
        raise InputError(
            f"there are no scores of {day}" if day else "there are no scores yet",
            where=tables.location("churn_scores"),
            fix=f"newest date: {date_of(dates[0])}" if dates else "score first: churn-spark score",
        )
    return chosen[0]


def date_of(live: Live) -> dt.date:
    return dt.date.fromisoformat(live.partition.partition("=")[2])


def read_date(
    tables: Tables, table: str, live: Live, *, wanted: pc.Expression, columns: Sequence[str] | None = None
) -> pa.Table:
    """The `wanted` rows of a date, with those of `columns` that it has. Raises ResourceError where it is damaged."""
    check_partition(tables, None, table, live)
    if "://" in live.folder:
        system, root = pafs.FileSystem.from_uri(live.folder)
    else:
        system, root = pafs.LocalFileSystem(), str(Path(live.folder).resolve())
    files = [f"{root}/{name}" for name in storage.data_files(live.folder)]
    data = ds.dataset(files, filesystem=system, format=CHECKED)
    names = [c for c in columns if c in data.schema.names] if columns is not None else None
    return data.to_table(names, filter=wanted)
