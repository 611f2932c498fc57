"""Every command on a mount without links, rename and permissions, and SIGTERM at moments of a scoring run.

    pip install mfusepy && python tests/platforms/check_fuse.py --kills 10        (needs libfuse and /dev/fuse)

Told is for each command its exit code, whether the scores equal those on a plain disk, and for each signal the exit
code, whether the lock is gone and whether what was published is whole and as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
CHURN = [sys.executable, "-c", "import sys; from churn_spark.cli import console; sys.exit(console())"]
FAST = [
    "--set",
    "training.n_estimators=40",
    "--set",
    "scoring.include_left=true",
    "--set",
    "scoring.reuse=false",
]
DAY = "2026-01-31"
LINEAGE = ["model_id", "run_id", "scored_at"]


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A place that refuses, over a folder below."""
    below, mount = folder / "below", folder / "mount"
    below.mkdir()
    mount.mkdir()
    server = subprocess.Popen([sys.executable, str(HERE / "refusing_fs.py"), str(below), str(mount)])
    try:
        while not os.path.ismount(mount):
            if server.poll() is not None:
                sys.exit("the mount could not be made")
            time.sleep(0.1)
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
        server.wait()


def churn(*arguments: str) -> int:
    done = subprocess.run([*CHURN, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-1500:])
    return done.returncode


def commands(output: Path, raw: Path) -> Iterator[tuple[str, int]]:
    place = ["--output", str(output)]
    job = ["--raw", str(raw), *place, *FAST]
    yield "doctor", churn("doctor", *place)
    yield "train", churn("train", *job)
    for day in ("2026-01-30", DAY):
        yield f"score {day}", churn("score", *job, "--score-date", day)
    yield "score again", churn("score", *job, "--score-date", DAY)
    yield "rollback of a date", churn("rollback", *place, "--score-date", DAY)
    yield (
        "train again",
        churn("train", *job, "--set", "promotion.rule=always", "--set", "training.learning_rate=0.3"),
    )
    yield "rollback", churn("rollback", *place)
    yield "cache compact", churn("cache", "compact", *place)
    yield "verify", churn("verify", *place)
    yield "call-list", churn("call-list", *place)


def scores(output: Path) -> pd.DataFrame:
    table = pd.read_parquet(output / "churn_scores").drop(columns=LINEAGE)
    return table.sort_values(["score_date", "customer_id"]).reset_index(drop=True).astype({"score_date": str})


def killed(output: Path, raw: Path, after: float) -> str:
    """SIGTERM to a scoring run; what it left."""
    before = scores(output)
    command = [*CHURN, "score", "--raw", str(raw), "--output", str(output), *FAST, "--score-date", DAY]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    locks = [path.name for path in (output / "_runs").glob("*.lock")]
    whole = churn("verify", "--output", str(output)) == 0
    return f"exit {code}, locks {locks}, whole {whole}, as before {scores(output).equals(before)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, mounted(Path(scratch)) as mount:
        raw, plain, refusing = Path(scratch, "raw.csv"), Path(scratch, "plain"), mount / "out"
        churn("sample", "--rows", str(options.rows), "--output", str(raw))
        for name, code in commands(refusing, raw):
            print(f"{name:<20} exit {code}", flush=True)
        place = ["--raw", str(raw), "--output", str(plain), *FAST]
        churn("train", *place)
        for day in ("2026-01-30", DAY):
            churn("score", *place, "--score-date", day)
        print("scores equal those on a plain disk:", scores(refusing).equals(scores(plain)), flush=True)
        started = time.monotonic()
        churn("score", "--raw", str(raw), "--output", str(refusing), *FAST, "--score-date", DAY)
        seconds = time.monotonic() - started
        for number in range(options.kills):
            after = seconds * (number + 0.5) / options.kills
            print(
                f"SIGTERM after {after:5.1f} s of {seconds:.0f}: {killed(refusing, raw, after)}", flush=True
            )


if __name__ == "__main__":
    main()
