"""Our text stage against Ray Data, Daft and the original design: `python tests/benchmarks/bench_frameworks.py`.

Every contender is a fresh process that reads the same Parquet file of notes and writes one with a vector a row,
on all cores. `--table realistic` (a fifth empty, five-fold duplication) compares whole runs from a cold start;
`--table 12`, `73` or `129` (tokens a note, all distinct) the steady state: from the first batch's beginning to the
last one's end, models loaded. Float32 vectors are checked to be equal within 1e-5. What is not installed is skipped:
`pip install "ray[data]" daft` in an environment of its own.

ours      `with_texts`, notes embedded as they are
int8      the same with `precision: int8` (mean cosine at least 0.99)
default   `with_texts` with the default settings: redacted, and the summary embedded (other vectors, not compared)
ray       `map_batches` with a class on a pool of one actor a core
daft      a class UDF, batched, one process a core
original  one process without Spark: pandas, a pool of 4 threads, one note a call of SentenceTransformer.encode; of a
          large table its first 10,000 rows, the others taken to be as slow
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from corpora import realistic_table, sized_notes

from churn_spark.notes.embedders import MIN_COSINE

CORES = len(os.sched_getaffinity(0))
ORIGINAL_ROWS = 10_000
BATCH = 512  # rows: `encode` sorts them by length and takes 32 at once
STAMPS = ("process", "began", "ended", "cpu_began", "cpu_ended")
DDL = "id long, vector array<float>, " + ", ".join(f"{name} double" for name in STAMPS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", default="realistic", help="realistic, 12, 73 or 129")
    parser.add_argument("--rows", type=int, default=10_000, help="of the realistic table")
    parser.add_argument("--tokens", type=int, default=60_000, help="of the others")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", action="append", help="contenders; ours is always among them")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    steady = options.table != "realistic"
    if options.one:
        name, source, target = options.one
        run = ours_steady if steady and name == "ours" else CONTENDERS[name]
        run(Path(source), Path(target))
        return
    names = [n for n in CONTENDERS if n not in ("default", "int8") or not steady]
    names = [n for n in names if not options.only or n in ("ours", *options.only)]
    for name in {"ray", "daft"} & set(names):
        if importlib.util.find_spec(name) is None:
            print(f"skipped: {name} is not installed")
            names.remove(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.turns):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "notes.parquet"
            if steady:
                notes = sized_notes(int(options.table), seed=turn, tokens=options.tokens)
            else:
                notes = realistic_table(options.rows, seed=turn)
            pq.write_table(pa.table({"id": range(len(notes)), "note": notes}), source, row_group_size=BATCH)
            expected: dict[int, Any] = {}
            for name in names:
                target = Path(folder) / name
                started = time.monotonic()
                command = [
                    sys.executable,
                    __file__,
                    "--table",
                    options.table,
                    "--one",
                    name,
                    str(source),
                    str(target),
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                whole = time.monotonic() - started
                if done.returncode:
                    sys.exit(f"{name} failed: {done.stderr[-2000:]}")
                found = pd.concat(pd.read_parquet(path) for path in target.glob("**/*.parquet"))
                rows = min(len(notes), ORIGINAL_ROWS) if name == "original" else len(notes)
                assert sorted(found["id"]) == list(range(rows)), f"{name} lost or repeated rows"
                if rows < len(notes):
                    whole += (found["ended"].max() - found["began"].min()) * (len(notes) / rows - 1)
                if name != "default":
                    vectors = {
                        i: np.frombuffer(v, np.float32) if isinstance(v, bytes) else v
                        for i, v in zip(found["id"], found["vector"], strict=True)
                        if notes[i]
                    }
                    expected = expected or vectors
                    made, right = (np.stack([v[i] for i in vectors]) for v in (vectors, expected))
                    if name == "int8":
                        assert (made * right).sum(axis=1).mean() >= MIN_COSINE
                    else:
                        np.testing.assert_allclose(made, right, atol=1e-5)
                by_process = found.groupby("process") if steady else None
                span = found["ended"].max() - found["began"].min() if steady else whole
                seconds[name].append(span)
                if by_process is not None:
                    cpu[name].append(
                        float((by_process["cpu_ended"].max() - by_process["cpu_began"].min()).sum())
                    )
                print(f"turn={turn} {name} rows={len(notes)} whole={whole:.1f}s"
                      + (f" steady={span:.1f}s worker_cpu={cpu[name][-1]:.1f}s" if steady else ""),
                      flush=True)  # fmt: skip
    print(f"\n{options.table}, {CORES} cores, median of {options.turns}")
    print(
        "| contender | seconds | times as long as ours" + (" | CPU seconds, times ours |" if steady else " |")
    )
    print("|---|---|---|" + ("---|" if steady else ""))
    for name in names:
        ratio = f"| {name} | {statistics.median(seconds[name]):.1f} | {times(seconds[name], seconds['ours']):.2f} |"
        print(ratio + (f" {times(cpu[name], cpu['ours']):.2f} |" if steady else ""))


def times(slow: Sequence[float], fast: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


# -- the model of the others ----------------------------------------------------------------------------


@cache
def model(threads: int = 1) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    from churn_spark.notes.weights import PACKAGED, model_folder

    torch.set_num_threads(threads)
    loaded = SentenceTransformer(str(model_folder(PACKAGED)), device="cpu", local_files_only=True)
    loaded.encode(["Warm up."])
    return loaded


def stamped(ids: Sequence[int], embed: Callable[[], Any]) -> dict[str, Any]:
    """The columns id, vector, and when which process worked on them."""
    began, cpu_began = time.time(), time.process_time()
    vectors = list(embed())
    stamps = (float(os.getpid()), began, time.time(), cpu_began, time.process_time())
    return {"id": list(ids), "vector": vectors} | {
        name: [value] * len(vectors) for name, value in zip(STAMPS, stamps, strict=True)
    }


def encode(texts: Sequence[str], threads: int = 1) -> Any:
    return model(threads).encode(list(texts), batch_size=32, show_progress_bar=False)


# -- contenders: a Parquet file of (id, note) -> a folder of Parquet files of (id, vector) ------------------


def session(folder: Path) -> Any:
    from churn_spark.spark.session import get_session

    os.environ["PYSPARK_PYTHON"] = sys.executable
    return get_session(
        "benchmark", conf={"spark.master": f"local[{CORES}]", "spark.local.dir": str(folder.parent)}
    )


def text_stage(file: Path, target: Path, **settings: Any) -> None:
    from pyspark.sql import functions as F

    from churn_spark.settings.layers import load_config
    from churn_spark.spark.notes.cache import Cache
    from churn_spark.spark.notes.counts import TextCounts
    from churn_spark.spark.notes.stage import with_texts

    text = load_config(options={f"text.{name}": value for name, value in settings.items()}).text
    spark = session(target)
    df = spark.read.parquet(str(file))
    prepared = with_texts(
        df, ["note"], text=text, cache=Cache(f"{target}_cache", "benchmark"), work=f"{target}_work",
        counts=TextCounts(),
    ).joined()  # fmt: skip
    prepared.select("id", F.col("note__embedding").alias("vector")).write.parquet(str(target))


def ours(source: Path, target: Path) -> None:
    text_stage(source, target, source="note", redact=False)


def ours_int8(source: Path, target: Path) -> None:
    text_stage(source, target, source="note", redact=False, **{"embedder.precision": "int8"})


def ours_steady(source: Path, target: Path) -> None:
    df = session(target).read.parquet(str(source))
    df.repartition(CORES).mapInArrow(_ours_in_spark, DDL).write.parquet(str(target))


def original(source: Path, target: Path) -> None:
    model(CORES)
    rows = pd.read_parquet(source)[:ORIGINAL_ROWS]
    with ThreadPoolExecutor(4) as pool:
        one_by_one = partial(pool.map, lambda note: encode([note], CORES)[0], rows["note"])
        made = stamped(rows["id"].tolist(), one_by_one)
    target.mkdir()
    pd.DataFrame(made).to_parquet(target / "vectors.parquet")


def _ours_in_spark(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    from churn_spark.notes.embedders import load_embedder

    embedder = load_embedder("sentence-transformers", precision="float32")
    embedder.embed(["Warm up."])

    def vectors(texts: list[str]) -> Any:
        return embedder.embed(texts).vectors

    for batch in batches:
        texts = batch.column("note").to_pylist()
        yield _as_batch(stamped(batch.column("id").to_pylist(), partial(vectors, texts)))


def _as_batch(columns: dict[str, Any]) -> pa.RecordBatch:
    types = {"id": pa.int64(), "vector": pa.list_(pa.float32())}
    return pa.RecordBatch.from_pydict(
        {n: pa.array(v, types.get(n, pa.float64())) for n, v in columns.items()}
    )


class Embed:
    """A model loaded once per actor or process, called with a batch."""

    def __init__(self) -> None:
        model()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = stamped(batch["id"], lambda: encode(batch["note"]))
        return columns | {"vector": np.array(columns["vector"])}


def with_ray(source: Path, target: Path) -> None:
    import ray

    ray.init(num_cpus=CORES + 1, include_dashboard=False, log_to_driver=False)  # one more to read and write
    pool = ray.data.ActorPoolStrategy(size=CORES)
    rows = ray.data.read_parquet(str(source)).repartition(4 * CORES)
    rows.map_batches(Embed, batch_size=BATCH, compute=pool, num_cpus=1).write_parquet(str(target))


def with_daft(source: Path, target: Path) -> None:
    import daft

    stamp = daft.DataType.struct(
        {"vector": daft.DataType.list(daft.DataType.float32())} | {n: daft.DataType.float64() for n in STAMPS}
    )

    class Model:
        def __init__(self) -> None:
            model()

        @daft.method.batch(return_dtype=stamp, batch_size=BATCH)
        def embed(self, ids: daft.Series, notes: daft.Series) -> list[dict[str, Any]]:
            columns = stamped(ids.to_pylist(), lambda: encode(notes.to_pylist()))
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    pooled = daft.cls(Model, max_concurrency=CORES, use_process=True)()
    df = daft.read_parquet(str(source)).into_batches(BATCH)
    df = df.with_column("made", pooled.embed(df["id"], df["note"]))
    fields = [df["made"][name].alias(name) for name in ("vector", *STAMPS)]
    df.select(df["id"], *fields).write_parquet(str(target))


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "ours": ours,
    "int8": ours_int8,
    "default": text_stage,
    "ray": with_ray,
    "daft": with_daft,
    "original": original,
}


if __name__ == "__main__":
    import bench_frameworks  # by its name, so that workers can import what they are sent

    bench_frameworks.main()
