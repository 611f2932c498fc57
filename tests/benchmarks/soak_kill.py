"""SIGKILL at random moments of the text stage, then a rerun: `python tests/benchmarks/soak_kill.py --kills 10`.

Summaries come from a server on loopback that counts its calls, vectors from the real model. Told are, for each
kill, what the cache held then, and at the end: how many of the caches that came about equal an undisturbed run's,
bit for bit; how many texts were committed twice (none may be); and how many calls were made again, at most one
chunk a kill.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import fake_openai as fake
import pyarrow.parquet as pq

from churn_spark.sample.customers import write_csv

CODE = "import sys; from churn_spark.cli import main; sys.exit(main(sys.argv[1:]))"
VALUES = {"note": ("text_id", "folded_id", "was_cut"), "summary": ("summary", "status"),
          "embedding": ("embedding",)}  # fmt: skip


def start(output: Path, raw: Path, url: str, *, chunk_tokens: int) -> subprocess.Popen[str]:
    settings = {
        "text.chunk_tokens": chunk_tokens,
        "text.summarizer.name": "openai",
        "text.summarizer.model": "m",
        "text.summarizer.min_chars": 0,
        "text.summarizer.remote.base_url": url,
        "text.summarizer.remote.requests_per_minute": 1_000_000,
        "validation.max_reject_share": 0.5,
        "spark.conf.spark.master": '"local[2]"',
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-c", CODE, "prepare", "--raw", str(raw), "--output", str(output), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[str]:
    """The log of a run that must succeed."""
    assert process.stderr
    lines = process.stderr.readlines()
    if process.wait():
        sys.exit("".join(lines[-20:]))
    return lines


def wait_for_text_stage(process: subprocess.Popen[str]) -> None:
    assert process.stderr
    for line in process.stderr:
        if "step=validate" in line:
            return


def cached(output: Path) -> tuple[dict[tuple[str, str], tuple[object, ...]], int]:
    """What the cache says of each kind and key, the first file's value; and how many rows came in vain."""
    found: dict[tuple[str, str], tuple[object, ...]] = {}
    twice = 0
    for path in sorted((output / "churn_notes").rglob("kind=*/*/*.parquet")):
        kind = path.parts[-3].removeprefix("kind=")
        for row in pq.ParquetFile(path).read().to_pylist():
            value = tuple(tuple(v) if isinstance(v, list) else v for v in (row[n] for n in VALUES[kind]))
            twice += (kind, row["key"]) in found
            found.setdefault((kind, row["key"]), value)
    return found, twice


def held(output: Path) -> str:
    kinds = Counter(kind for kind, _ in cached(output)[0])
    return ", ".join(f"{kinds[kind]:,} {kind}" for kind in VALUES)


def soak(folder: Path, *, kills: int, rows: int, chunk_tokens: int, seed: int) -> dict[str, int]:
    """Kill `kills` times, and let a run end after one or some of them. Returns what was counted."""
    raw = folder / "raw.csv"
    write_csv(raw, rows, seed=seed)
    with fake.serving() as server:
        server.default = fake.good(seconds=0.005)
        calm, cut = folder / "calm", [folder / "disturbed-1"]
        process = start(calm, raw, server.url, chunk_tokens=chunk_tokens)
        wait_for_text_stage(process)
        began = time.monotonic()
        lines = finish(process)
        seconds = time.monotonic() - began
        calls = len(server.requests)
        chunks = [line for line in lines if "kind=summary" in line and " starts" not in line]
        largest = max(b - a for a, b in zip([0, *map(_texts, chunks)], map(_texts, chunks), strict=False))
        print(f"undisturbed: {seconds:.0f} s of text, {calls:,} calls in {len(chunks)} chunks", flush=True)
        server.requests.clear()
        moment = random.Random(seed)
        done = 0
        while done < kills:
            process = start(cut[-1], raw, server.url, chunk_tokens=chunk_tokens)
            wait_for_text_stage(process)
            time.sleep(moment.uniform(0, seconds))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                print(f"kill {done}: the cache holds {held(cut[-1])}", flush=True)
            else:  # it was quicker: the next one starts from nothing
                finish(process)
                cut.append(folder / f"disturbed-{len(cut) + 1}")
        finish(start(cut[-1], raw, server.url, chunk_tokens=chunk_tokens))
        again = len(server.requests) - calls * len(cut)
    expected, found = cached(calm)[0], [cached(output) for output in cut]
    left = [p for o in cut for part in ("_runs/*/work", "churn_notes/_staging/*") for p in o.glob(part)]
    return {"kills": done, "results": len(cut), "equal": sum(values == expected for values, _ in found),
            "committed_twice": sum(twice for _, twice in found), "calls_again": again,
            "allowed": done * largest, "left_behind": len(left)}  # fmt: skip


def _texts(line: str) -> int:
    """How many texts a chunk's log line says are done."""
    return int(line.partition(" texts=")[2].partition("/")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--chunk-tokens", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(soak(Path(name), kills=options.kills, rows=options.rows, chunk_tokens=options.chunk_tokens,
                   seed=options.seed))  # fmt: skip


if __name__ == "__main__":
    main()
