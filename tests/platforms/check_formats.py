"""Delta and Iceberg for real: `python tests/platforms/check_formats.py delta|delta-catalog|iceberg --jars FOLDER`.

On a Spark that the format supports: create, publish, rerun, backfill, a column more, a refused type, a publish that
fails, rollback and giving up by the format's own versions, comments, the view of the newest date, and readers during
50 publishes. Prints one line a check and ends with 1 if one fails. `make test-platforms` runs it.
"""

from __future__ import annotations

import argparse
import glob
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyspark.sql import DataFrame, SparkSession

from churn_spark.contract.published import Field
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.spark import publishing, storage
from churn_spark.spark.publishing import abandon, live_version, publish, recover, rollback, stage
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import SCORED_TABLES, Tables, with_comments

DAY, OTHER = "score_date=2026-01-30", "score_date=2026-01-31"
FIELDS = (Field("customer_id", "string", "the customer's key"), Field("n", "int", "a number"),
          Field("run_id", "string", "the run"))  # fmt: skip
PUBLISHES = 50
CONF = {
    "delta": {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "2",  # 50 tasks a version on two cores take a minute a publish
    },
    "iceberg": {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
    },
}


class Place:
    """One kind of place, and the runs that write to it."""

    def __init__(self, spark: SparkSession, kind: str, folder: str) -> None:
        self.spark, self.format, self.folder = spark, kind.partition("-")[0], folder
        self.output = {"delta": f"{folder}/out", "delta-catalog": "spark_catalog.crm", "iceberg": "lake.crm"}[
            kind
        ]

    def tables(self, run_id: str) -> Tables:
        return Tables(self.output, f"{self.folder}/store", f"{self.folder}/work", run_id, self.format)

    def put(self, run_id: str, n: int, *, day: str = DAY, extra: str = "") -> None:
        df = self.spark.range(1000).selectExpr(
            "string(id) AS customer_id", f"{n} AS n", f"'{run_id}' AS run_id", *([extra] if extra else [])
        )
        fields = (*FIELDS, Field("extra", "double", "came later")) if extra else FIELDS
        frames = dict.fromkeys(SCORED_TABLES, with_comments(df, fields))
        stage(self.tables(run_id), frames, partition=day)
        publish(self.tables(run_id), self.spark, SCORED_TABLES, partition=day)

    def read(self, table: str = "churn_scores") -> DataFrame:
        df = self.tables("").read(self.spark, table)
        assert df is not None
        return df

    def seen(self, table: str = "churn_scores") -> dict[str, tuple[int, ...]]:
        rows = self.read(table).groupBy("score_date", "n").count().collect()
        return {str(r.score_date): (r.n, r["count"]) for r in rows}

    def are(self, **expected: int) -> bool:
        wanted = {f"2026-01-{day[1:]}": (n, 1000) for day, n in expected.items()}
        return self.seen() == self.seen("churn_reasons") == wanted


def create_and_publish(place: Place) -> None:
    place.tables("").check(place.spark)
    assert live_version(place.tables(""), place.spark, "churn_scores", DAY) is None
    place.put("r1", 1)
    assert place.are(d30=1)
    assert live_version(place.tables(""), place.spark, "churn_scores", DAY) == "r1"  # what --limit asks


def rerun_and_backfill(place: Place) -> None:
    place.put("r2", 2, day=OTHER)
    place.put("r3", 3)
    assert place.are(d30=3, d31=2)


def grows_by_a_column_and_keeps_types(place: Place) -> None:
    place.put("r4", 4, day=OTHER, extra="1.5D AS extra")
    assert "extra" in place.read().columns
    assert place.are(d30=3, d31=4)
    try:
        place.tables("").check_types(place.read(), "churn_scores", [Field("n", "double", "")])
    except ConfigError as problem:
        assert "columns.n.type=int" in problem.fix
    else:
        raise AssertionError("another type was accepted")


def comments_and_latest(place: Place) -> None:
    name = place.tables("").sql_name("churn_scores")
    comments = {r.col_name: r.comment for r in place.spark.sql(f"DESCRIBE TABLE {name}").collect()}
    assert comments["n"] == "a number", comments
    assert comments["extra"] == "came later", comments
    place.tables("").define_latest(place.spark, "churn_scores", partition="score_date")
    in_file = f"{place.folder}/store/churn_scores_latest.sql"  # where a catalog has no views
    if storage.exists(in_file):
        place.spark.sql(storage.read_text(in_file))
        latest = place.spark.table("churn_scores_latest")
    elif place.tables("").in_catalog:
        latest = place.spark.table(f"{place.output}.churn_scores_latest")
    else:
        place.spark.sql(storage.read_text(f"{place.output}/churn_scores_latest.sql"))
        latest = place.spark.table("churn_scores_latest")
    assert [str(r[0]) for r in latest.select("score_date").distinct().collect()] == ["2026-01-31"]


def rolls_back_one_date(place: Place) -> None:
    assert rollback(place.tables(""), place.spark, SCORED_TABLES, partition=DAY) == "r1"
    assert place.are(d30=1, d31=4)
    assert rollback(place.tables(""), place.spark, SCORED_TABLES, partition=DAY, to="r3") == "r3"
    assert place.are(d30=3, d31=4)


def undoes_what_fails_half_way(place: Place) -> None:
    switch, failed = publishing._switch, []

    def failing(tables: Tables, spark: SparkSession, table: str, *rest: str) -> None:
        if table == SCORED_TABLES[1]:
            failed.append(table)
            raise ResourceError("the catalog is away")
        switch(tables, spark, table, *rest)

    publishing._switch = failing
    try:
        place.put("r5", 5)
    except ResourceError:
        pass
    finally:
        publishing._switch = switch
    assert failed
    assert place.are(d30=3, d31=4)
    assert recover(place.tables(""), place.spark) is None


def gives_up_what_was_killed(place: Place) -> None:
    """A journal, one table switched, the other not, as a kill leaves them."""
    before = {name: publishing._before(place.tables(""), place.spark, name, DAY) for name in SCORED_TABLES}
    run = place.tables("r6")
    df = place.spark.range(1000).selectExpr("string(id) AS customer_id", "6 AS n", "'r6' AS run_id")
    stage(run, dict.fromkeys(SCORED_TABLES, df), partition=DAY)
    journal = publishing.Switch(DAY, "r6", before, publishing.staged(run))
    publishing._write_journal(run, journal)
    for name in SCORED_TABLES:
        publishing._keep(run, journal, name)
    publishing._switch(run, place.spark, SCORED_TABLES[0], DAY, "r6")
    assert place.seen("churn_reasons")["2026-01-30"] == (6, 1000)
    assert abandon(place.tables(""), place.spark, SCORED_TABLES) == [DAY]
    assert place.are(d30=3, d31=4)
    assert recover(place.tables(""), place.spark) is None


def serves_readers_during_publishes(place: Place) -> None:
    errors: list[str] = []
    mixed, reads, done = 0, 0, threading.Event()

    def reading() -> None:
        nonlocal mixed, reads
        while not done.is_set():
            try:
                rows = place.read().where("score_date = DATE'2026-01-30'").groupBy("n").count().collect()
                reads += 1
                mixed += [r["count"] for r in rows] != [1000]
            except Exception as problem:
                errors.append(f"{type(problem).__name__}: {str(problem)[:200]}")

    reader = threading.Thread(target=reading)
    reader.start()
    for number in range(PUBLISHES):
        place.put(f"s{number:03d}", number)
    done.set()
    reader.join()
    print(
        f"      {reads} reads during {PUBLISHES} publishes: {len(errors)} errors, {mixed} mixed", flush=True
    )
    assert reads > PUBLISHES / 2
    assert not errors, errors[:2]
    assert not mixed


CHECKS: tuple[Callable[[Place], None], ...] = (
    create_and_publish, rerun_and_backfill, grows_by_a_column_and_keeps_types, comments_and_latest,
    rolls_back_one_date, undoes_what_fails_half_way, gives_up_what_was_killed, serves_readers_during_publishes,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["delta", "delta-catalog", "iceberg"])
    parser.add_argument("--jars", required=True, help="a folder with the format's jars")
    options = parser.parse_args()
    jars = ",".join(sorted(glob.glob(f"{options.jars}/*.jar")))
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            **CONF[options.kind.partition("-")[0]],
            "spark.jars": jars, "spark.master": "local[2]", "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": f"{folder}/warehouse", "spark.sql.catalogImplementation": "in-memory",
        }  # fmt: skip
        if options.kind == "iceberg":
            settings["spark.sql.catalog.lake.warehouse"] = f"{folder}/lake"
        spark = get_session("formats", conf=settings)
        place = Place(spark, options.kind, folder)
        if place.tables("").in_catalog:
            spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {place.output}")
        for check in CHECKS:
            try:
                check(place)
            except Exception as problem:
                print(
                    f"FAIL  {options.kind:<14} {check.__name__}: {type(problem).__name__}: {problem}",
                    flush=True,
                )
                return 1
            print(f"ok    {options.kind:<14} {check.__name__}", flush=True)
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
