"""The text stage in Spark: duplication and second runs: `python tests/benchmarks/bench_text_stage.py`.

The same distinct notes once, 5 and 50 times, each into a fresh cache; in between an unchanged second run, and one
with a tenth of the notes changed. All in one session; vectors are checked to be equal throughout.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from churn_spark.sample.wording import TOPICS, write_note

FACTORS = (1, 5, 50)


def notes(count: int, *, version: int = 0) -> list[str]:
    """Distinct notes as the sample has them, some 350 characters each; another version shares none."""
    return [f"{write_note([(n % len(TOPICS), n % 3 == 0)], n)} Case {version}-{n}." for n in range(count)]


def stage(spark: Any, texts: list[str], factor: int, *, folder: Path, cache: str) -> tuple[float, Any, Any]:
    """Seconds of the stage over `factor` rows per text; its counts; its rows."""
    from churn_spark.settings.sections import Text
    from churn_spark.spark.notes.cache import Cache
    from churn_spark.spark.notes.counts import TextCounts
    from churn_spark.spark.notes.stage import with_texts

    source = folder / "rows"
    rows = [text for _ in range(factor) for text in texts]
    pq.write_table(pa.table({"id": pa.array(range(len(rows))), "note": rows}), source, row_group_size=50_000)
    df = spark.read.parquet(str(source))
    start = time.perf_counter()
    counts, stored = TextCounts(), Cache(str(folder / cache), "bench")
    result = with_texts(df, ["note"], text=Text(), cache=stored, work=str(folder / "work"), counts=counts)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=4000, help="distinct notes")
    parser.add_argument("--factor", type=int, action="append", help=f"rows per note, default {FACTORS}")
    options = parser.parse_args()
    compare(options.notes, options.factor or list(FACTORS))


if __name__ == "__main__":
    main()
