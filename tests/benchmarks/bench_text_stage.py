"""The text stage in Spark: duplication and second runs: `python tests/benchmarks/bench_text_stage.py`.

The same distinct notes once, 5 and 50 times, each into a fresh cache; in between an unchanged second run, and one
with a tenth of the notes changed. All in one session; vectors are checked to be equal throughout.

With `--udfs 5`: the stage on Iterator pandas UDFs, as it is, against Arrow functions (`mapInArrow`), in turn, five
times each into a fresh cache; whole notes are embedded, cut to some 73 tokens each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from churn_spark.arrays import vector_array
from churn_spark.notes import prepare
from churn_spark.sample.wording import TOPICS, write_note

FACTORS = (1, 5, 50)


def notes(count: int, *, version: int = 0) -> list[str]:
    """Distinct notes as the sample has them, some 350 characters each; another version shares none."""
    return [f"{write_note([(n % len(TOPICS), n % 3 == 0)], n)} Case {version}-{n}." for n in range(count)]


def stage(
    spark: Any,
    texts: list[str],
    factor: int,
    *,
    folder: Path,
    cache: str,
    source: Literal["summary", "note"] = "summary",
) -> tuple[float, Any, Any]:
    """Seconds of the stage over `factor` rows per text; its counts; its rows."""
    from churn_spark.settings.notes import Text
    from churn_spark.spark.notes.cache import Cache
    from churn_spark.spark.notes.counts import TextCounts
    from churn_spark.spark.notes.stage import with_texts

    rows_file = folder / "rows"
    rows = [text for _ in range(factor) for text in texts]
    pq.write_table(
        pa.table({"id": pa.array(range(len(rows))), "note": rows}), rows_file, row_group_size=50_000
    )
    df = spark.read.parquet(str(rows_file))
    start = time.perf_counter()
    counts, stored = TextCounts(), Cache(str(folder / cache), "bench")
    result = with_texts(
        df, ["note"], text=Text(source=source), cache=stored, work=str(folder / "work"), counts=counts
    ).joined()
    return time.perf_counter() - start, counts, result


def vectors(result: Any, count: int) -> Any:
    """Vectors of the first `count` rows, in order."""
    import numpy as np

    table = result.where(f"id < {count}").select("id", "note__embedding").toPandas().sort_values("id")
    return np.stack([np.frombuffer(v, np.float32) for v in table["note__embedding"]])


def compare(count: int, factors: list[int]) -> None:
    import numpy as np

    from churn_spark.spark.session import get_session

    spark = get_session(conf={"spark.master": "local[2]"})
    texts = notes(count)
    changed = notes(count // 10, version=1) + texts[count // 10 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(spark, notes(200, version=2), 1, folder=folder, cache="warm-up")
        print(
            "| rows | distinct | run | seconds | times the first | texts computed |\n|---|---|---|---|---|---|"
        )
        first, expected = 0.0, None
        for factor in factors:
            runs = [("first", texts), ("unchanged", texts), ("a tenth changed", changed)]
            for run, used in runs if factor == factors[len(factors) // 2] else runs[:1]:
                seconds, counts, result = stage(spark, used, factor, folder=folder, cache=f"x{factor}")
                if used is texts:
                    found = vectors(result, count)
                    expected = found if expected is None else expected
                    np.testing.assert_array_equal(found, expected)
                first = seconds if run == "first" else first
                print(f"| {factor * count:,} | {count:,} | {run} | {seconds:.1f} | {seconds / first:.3f} "
                      f"| {counts.computed:,} |", flush=True)  # fmt: skip


def by_arrow(texts: Any, kind: str, settings: Any, budget: Any) -> Any:
    """`worker.computed` on `mapInArrow`: no pandas between, but the keys travel too."""
    from churn_spark.contract.published import NOTES
    from churn_spark.spark.notes.cache import COLUMNS, schema

    names = [f.name for f in NOTES if f.name in COLUMNS[kind]]  # Spark takes them by position

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        compute = {"summary": arrow_summaries, "embedding": arrow_vectors}[kind]
        for batch in batches:
            columns = {"key": batch.column("key"), **compute(batch.column("text").to_pylist(), settings)}
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})

    return texts.mapInArrow(run, schema(kind))


def arrow_summaries(texts: list[str], settings: Any) -> dict[str, Any]:
    made = prepare.summarize(texts, settings)
    return {
        "folded_id": pa.array([prepare.folded_hash(s.text, settings) for s in made], pa.string()),
        "summary": pa.array([s.text for s in made], pa.string()),
        "status": pa.array([s.status for s in made], pa.string()),
        "error": pa.nulls(len(made), pa.string()),
        "calls": pa.array([s.calls for s in made], pa.int32()),
        "tokens": pa.array([s.tokens for s in made], pa.int32()),
    }


def arrow_vectors(texts: list[str], settings: Any) -> dict[str, Any]:
    embedded = prepare.embed(texts, settings)
    return {
        "embedding": vector_array(embedded.vectors),
        "status": pa.array(["ok"] * len(texts), pa.string()),
        "error": pa.nulls(len(texts), pa.string()),
        "calls": pa.array([0] * len(texts), pa.int32()),
        "tokens": pa.array(embedded.tokens, pa.int32()),
        "padded_tokens": pa.array(embedded.padded_tokens, pa.int32()),
        "chunks": pa.array(embedded.n_chunks, pa.int32()),
    }


def compare_udfs(count: int, rounds: int) -> None:
    """Both ways in turn over the same notes; each one's median of processor seconds, which other work hardly moves."""
    import numpy as np

    from churn_spark.spark.notes import worker
    from churn_spark.spark.session import get_session

    spark = get_session(conf={"spark.master": "local[2]"})
    texts = [" ".join(note.split()[:78]) for note in notes(count)]
    ways = {"pandas UDFs": worker.computed, "mapInArrow": by_arrow}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder, expected = Path(name), None
        for turn in range(-1, rounds):  # the first warms up
            for way, worker.computed in ways.items():
                used = texts if turn >= 0 else texts[:200]
                start = processor_seconds()
                _, counts, result = stage(spark, used, 1, folder=folder, cache=f"{way}{turn}", source="note")
                if turn >= 0:
                    seconds[way].append(processor_seconds() - start)
                    expected = vectors(result, count) if expected is None else expected
                    np.testing.assert_array_equal(vectors(result, count), expected)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    for way, times in seconds.items():
        print(f"{way:<12} median {medians[way]:.2f} s of {' '.join(f'{t:.2f}' for t in times)}")
    print(f"{processor()}: {counts.tokens / count:.0f} tokens a text; pandas UDFs take "
          f"{medians['pandas UDFs'] / medians['mapInArrow']:.3f} times mapInArrow")  # fmt: skip


def processor_seconds() -> float:
    """What this process and all below it (Java, Python workers) have spent so far; Linux only."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields, pid = stat.read_text().rpartition(")")[2].split(), int(stat.parent.name)
            parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    tree, count = {os.getpid()}, 0
    while len(tree) > count:
        count = len(tree)
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    return sum(ticks[pid] for pid in tree) / os.sysconf("SC_CLK_TCK")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=4000, help="distinct notes")
    parser.add_argument("--factor", type=int, action="append", help=f"rows per note, default {FACTORS}")
    parser.add_argument(
        "--udfs", type=int, metavar="ROUNDS", help="compare pandas UDFs with Arrow functions instead"
    )
    options = parser.parse_args()
    if options.udfs:
        compare_udfs(options.notes, options.udfs)
        return
    compare(options.notes, options.factor or list(FACTORS))


if __name__ == "__main__":
    main()
