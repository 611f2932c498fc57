"""Readers during 50 publishes: `python tests/benchmarks/bench_publish.py [--publishes 50] [--rows 20000]`.

A table of three dates, the first one replaced a second after the other: by `publishing`, then, as the negative
control, by Spark's own overwrite of that date's folder. Meanwhile DuckDB and a Spark session of its own, each a
process, read in a loop the date that is replaced, the two others (in Spark also with their columns declared, as
`churn-spark tables spark` does), and all three with their columns united. A read is good when each date it saw has all
its rows, all of one version; else it is mixed, short (rows or dates are missing) or an error.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

DATES = ("2026-01-01", "2026-01-02", "2026-01-03")
REPLACED = DATES[0]  # from whose files readers take the columns
QUESTIONS = {
    "the date": (f"= '{REPLACED}'", 1),
    "other dates": (f"<> '{REPLACED}'", 2),
    "other dates, columns declared": (f"<> '{REPLACED}'", 2),
    "all, united": ("> ''", 3),
}
COLUMNS = "customer_id string, churn_probability double, run_id string, score_date date"
OUTCOMES = ("good", "mixed", "short", "error")
Found = Iterable[tuple[int, int]]  # per date: rows, versions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--publishes", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--read", nargs=2, metavar=("ENGINE", "TABLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_in_a_loop(*options.read, rows=options.rows)
        return
    from churn_spark.spark.session import get_session

    spark = get_session("bench", conf={"spark.master": "local[2]"})
    print("| writer | reader | question | reads | mixed | short | errors |\n|---|---|---|---|---|---|---|")
    for writer in (published, overwritten):
        with tempfile.TemporaryDirectory() as folder:
            compare(writer(spark, folder, options.rows), f"{folder}/churn_scores", writer.__name__, options)
    spark.stop()


def compare(write: Callable[[str, str], None], table: str, writer: str, options: argparse.Namespace) -> None:
    for date in DATES:
        write(date, "v000")
    command = [sys.executable, __file__, "--rows", str(options.rows), "--read"]
    readers = {
        engine: subprocess.Popen(
            [*command, engine, table],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for engine in ("duckdb", "spark")
    }
    for process in readers.values():
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
    for number in range(1, options.publishes + 1):
        write(REPLACED, f"v{number:03d}")
        time.sleep(1)
    for engine, process in readers.items():
        told, problem = process.communicate("stop\n")
        if process.returncode:
            raise SystemExit(problem)
        found = json.loads(told.splitlines()[-1])
        for question in QUESTIONS:
            counts = [found[f"{question}:{outcome}"] for outcome in OUTCOMES]
            print(
                f"| {writer} | {engine} | {question} | {sum(counts):,} | {counts[1]} | {counts[2]} | {counts[3]} |"
            )
        for message, count in found["messages"].items():
            print(f"  {count} x {message}", file=sys.stderr)


# -- writers --------------------------------------------------------------------------------------------


def published(spark: Any, folder: str, rows: int) -> Callable[[str, str], None]:
    from churn_spark.spark.publishing import publish, stage
    from churn_spark.spark.tables import Tables

    def write(date: str, version: str) -> None:
        tables = Tables(folder, folder, f"{folder}/_work/{version}", version)
        stage(tables, {"churn_scores": frame(spark, version, rows)}, partition=f"score_date={date}")
        publish(tables, spark, ["churn_scores"], partition=f"score_date={date}")

    return write


def overwritten(spark: Any, folder: str, rows: int) -> Callable[[str, str], None]:
    def write(date: str, version: str) -> None:
        place = f"{folder}/churn_scores/score_date={date}"
        frame(spark, version, rows).write.mode("overwrite").parquet(place)

    return write


def frame(spark: Any, version: str, rows: int) -> Any:
    """Several files, so that there is something to mix."""
    return spark.range(0, rows, 1, 4).selectExpr(
        "cast(id AS string) AS customer_id", "rand(7) AS churn_probability", f"'{version}' AS run_id"
    )


# -- readers --------------------------------------------------------------------------------------------


def read_in_a_loop(engine: str, table: str, *, rows: int) -> None:
    """Until something comes by stdin; prints a line at the start, and what it counted at the end."""
    import select

    ask = {"duckdb": ask_duckdb, "spark": ask_spark}[engine](table)
    for condition, _ in QUESTIONS.values():
        list(ask(condition, ""))
    print("reading", flush=True)
    counts: Counter[str] = Counter({f"{q}:{o}": 0 for q in QUESTIONS for o in OUTCOMES})
    messages: Counter[str] = Counter()
    while not select.select([sys.stdin], [], [], 0)[0]:
        for question, (condition, dates) in QUESTIONS.items():
            try:
                found = list(ask(condition, question.rpartition(", ")[2]))
            except Exception as problem:
                counts[f"{question}:error"] += 1
                code = re.search(r"\[([A-Z_.]+)\]|[A-Z]\w+ \w+ \w+", str(problem))
                messages[f"{question}: {code and code[0]}"] += 1
                continue
            mixed = any(versions > 1 for _, versions in found)
            short = len(found) != dates or any(count != rows for count, _ in found)
            counts[f"{question}:{'mixed' if mixed else 'short' if short else 'good'}"] += 1
    print(json.dumps({**counts, "messages": messages}))


def ask_duckdb(table: str) -> Callable[[str, str], Found]:
    import duckdb

    def ask(condition: str, how: str) -> Found:
        return duckdb.sql(
            "SELECT count(*), count(DISTINCT run_id) FROM read_parquet("
            f"'{table}/*/*.parquet', hive_partitioning = true, union_by_name = {how == 'united'}) "
            f"WHERE score_date::varchar {condition} GROUP BY score_date"
        ).fetchall()

    return ask


def ask_spark(table: str) -> Callable[[str, str], Found]:
    from pyspark.sql import functions as F

    from churn_spark.spark.session import get_session

    spark = get_session("reader", conf={"spark.master": "local[1]"})

    def ask(condition: str, how: str) -> Found:
        reader = spark.read.option("mergeSchema", how == "united")
        reader = reader.schema(COLUMNS) if how == "columns declared" else reader
        df = reader.parquet(table).where(f"string(score_date) {condition}")
        counts = df.groupBy("score_date").agg(F.count("*"), F.count_distinct("run_id"))
        return [(row[1], row[2]) for row in counts.collect()]

    return ask


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
