"""The jobs from 100,000 to millions of customers: `python tests/benchmarks/bench_scale.py [--rows 1000000]`.

Customers whose notes are 20,000 distinct ones. A model is trained on the first 5,000; then, for each size, each in a
process of its own: `prepare`, which computes all notes, `prepare` again, `score` of a date, and of the next date,
which carries every score forward. Told are seconds and peak memory: that of all processes, added up twice a second,
where what forked workers share counts once (proportional set size).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_text_stage import notes

DISTINCT = 20_000
TRAINED = 5_000
BLOCK = 100_000
CODE = "import sys; from churn_spark.cli import main; sys.exit(main(sys.argv[1:]))"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, action="append", help="default 100000, 1000000, 3000000")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--embedder", default="sentence-transformers")
    options = parser.parse_args()
    texts = notes(DISTINCT)
    common = ["--set", f'spark.conf.spark.master="local[{options.cores}]"']
    common += ["--set", f"text.embedder.name={options.embedder}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.parquet", TRAINED, texts)
        shared = [*common, "--models", f"{folder}/models"]
        train = ["train", "--raw", f"{folder}/train.parquet", "--output", f"{folder}/trained"]
        told(f"{TRAINED:,} | train", [*train, *shared])
        for rows in options.rows or (100_000, 1_000_000, 3_000_000):
            raw = folder / f"{rows}.parquet"
            write(raw, rows, texts)
            place = [*shared, "--raw", str(raw), "--output", f"{folder}/out-{rows}"]
            told(f"{rows:,} | prepare", ["prepare", *place])
            told(f"{rows:,} | prepare again", ["prepare", *place])
            told(f"{rows:,} | score", ["score", *place, "--score-date", "2026-01-01"])
            told(f"{rows:,} | score the next date", ["score", *place, "--score-date", "2026-01-02"])
            raw.unlink()


def write(path: Path, rows: int, texts: list[str]) -> None:
    """A customer table; who has which note changes from one to the next, whether they leave depends on tenure."""
    writer = None
    for first in range(0, rows, BLOCK):
        numbers = np.arange(first, min(first + BLOCK, rows))
        random = np.random.default_rng(first)
        tenure = random.integers(0, 100, len(numbers))
        table = pa.table(
            {
                "customer_id": [f"C{n:08d}" for n in numbers],
                "age": random.integers(18, 90, len(numbers)),
                "tenure": tenure,
                "spend_rate": random.normal(60, 15, len(numbers)).clip(1).round(2),
                "plan_type": random.choice(["annual", "monthly", "weekly"], len(numbers)),
                "churn": random.random(len(numbers)) < 0.5 / (1 + tenure / 20),
                "ticket_notes": pa.DictionaryArray.from_arrays(pa.array(numbers % DISTINCT), texts),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def told(what: str, arguments: list[str]) -> None:
    """Run a job in a process of its own and print a line about it."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-c", CODE, *arguments, "-q"])
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.5)
    seconds = time.monotonic() - started
    print(
        f"| {what} | {seconds:.0f} s | {peak / 2**30:.1f} GiB | exit code {process.returncode} |", flush=True
    )


def memory(pid: int) -> int:
    """Bytes of memory of a process and all below it."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family, size = {pid}, 0
    while size < len(family):
        size = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return sum(map(proportional, family))


def proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
