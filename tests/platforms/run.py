"""Every command on every platform: `make test-platforms`, or `python tests/platforms/run.py connect standalone`.

The laptop trains on a small table. Each platform is started on loopback, runs the commands as a person types them,
and is stopped; its churn_scores must equal the laptop's in every value. Prints a table platform × command: `ok`,
`FAIL`, `refused` where the product says so, or `-`, with the reasons below. Ends with 1 where a cell failed.

`--folder F` keeps what was written. `--against F`, run in an environment of other versions, takes the laptop of that
folder for the measure, and scores by its model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from services import PLATFORMS, ROOT, Place, SkippedError, environment

from churn_spark.sample.customers import write_csv

ROWS, DAY = 600, "2026-01-31"
SMALL = ["--set", "training.n_estimators=30", "--set", "training.num_workers=2"]
COMMANDS = ("init", "prepare", "train", "score", "equal", "explain", "cache", "export")
LINEAGE = ["run_id", "scored_at"]
LIMIT_SECONDS = 540


def arguments(name: str, place: Place, raw: Path, *, models: str, more: list[str]) -> list[str]:
    output, tables = ["--output", place.output], ["--raw", str(raw), "--output", place.output]
    customer = str(scores(place).customer_id[0]) if name == "explain" else ""
    return {
        "init": ["--raw", str(raw)],
        "prepare": [*tables, *more],
        "train": [*tables, *SMALL, *more],
        "score": [*tables, "--models", models, "--score-date", DAY],
        "explain": [*output, "--customer", customer],
        "cache": output,
        "export": [*output, "--score-date", DAY, "--to", f"{tempfile.mkdtemp(dir=raw.parent)}/list.csv"],
    }[name]


def run(name: str, place: Place, given: list[str]) -> str:
    """`ok`, `refused` as foreseen, or FAIL with the last words."""
    done = subprocess.run(
        place.command(name, given), cwd=ROOT, env=environment(**place.environment),
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    if name in place.refused:
        return "refused" if place.refused[name] in done.stderr else f"FAIL: not refused ({done.returncode})"
    words = [
        w
        for w in (done.stderr + done.stdout).splitlines()
        if w.startswith(("error", "where", "next", "details"))
    ]
    return (
        "ok" if done.returncode == 0 else f"FAIL {done.returncode}: {' | '.join(words) or done.stderr[-600:]}"
    )


def scores(place: Place) -> pd.DataFrame:
    folder = place.output.rpartition("://")[2] + "/churn_scores"
    table = pq.read_table(folder, filesystem=place.files).to_pandas()
    return table.drop(columns=LINEAGE).sort_values("customer_id", ignore_index=True)


def equal(place: Place, reference: Place) -> str:
    try:
        pd.testing.assert_frame_equal(scores(place), scores(reference), check_exact=True)
    except Exception as problem:
        return f"FAIL: {str(problem)[:400]}"
    return "ok"


def cells(
    place: Place, raw: Path, reference: Place, *, models: str, more: list[str]
) -> Iterator[tuple[str, str]]:
    """Each command's outcome; what follows a command that failed is not tried."""
    for name in COMMANDS:
        if name == "equal":
            outcome = equal(place, reference)
        else:
            outcome = run(name, place, arguments(name, place, raw, models=models, more=more))
        yield name, outcome
        if outcome.startswith("FAIL"):
            return


def table(found: Mapping[str, Mapping[str, str]], reasons: list[str]) -> str:
    rows = [{name: name for name in COMMANDS}, *found.values()]
    words = [[row.get(name, "-").partition(" ")[0].rstrip(":") for name in COMMANDS] for row in rows]
    lines = [
        f"{platform:<11}" + "".join(f"{w:<9}" for w in row)
        for platform, row in zip(["", *found], words, strict=True)
    ]
    return "\n".join(["", *lines, "", *reasons])


def suite(platforms: list[str], folder: Path, *, against: Path | None, more: list[str]) -> int:
    found: dict[str, dict[str, str]] = {}
    reasons: list[str] = []
    raw = (against or folder) / "customers.csv"
    if against is None:
        write_csv(raw, ROWS, seed=11)
    reference = Place(str(against / "laptop" / "out")) if against else None
    for platform in dict.fromkeys(["laptop", *platforms]):
        (folder / platform).mkdir(parents=True)
        found[platform] = {}
        try:
            with PLATFORMS[platform](folder / platform) as place:
                reference = reference or place
                own = place.output if not place.refused and not against else reference.output
                for name, outcome in cells(place, raw, reference, models=f"{own}/models", more=more):
                    found[platform][name] = outcome
                    print(f"{platform:<11} {name:<8} {outcome}", flush=True)
                    reasons += [f"{platform} {name}: {outcome}"] if outcome.startswith("FAIL") else []
        except SkippedError as reason:
            reasons.append(f"{platform}: skipped, {reason}")
        except Exception as problem:
            reasons.append(f"{platform}: FAIL: {type(problem).__name__}: {problem}")
    print(table(found, reasons))
    return int(any("FAIL" in reason for reason in reasons))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"of {', '.join(PLATFORMS)}")
    parser.add_argument("--folder", type=Path, help="where the runs write (default: removed afterwards)")
    parser.add_argument(
        "--against", type=Path, help="the folder of an earlier run, whose laptop is the measure"
    )
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of prepare and train, as theirs"
    )
    options = parser.parse_args()
    more = [word for setting in options.set for word in ("--set", setting)]
    others = [p for p in PLATFORMS if p != "laptop"] if options.against is None else []
    with tempfile.TemporaryDirectory(prefix="platforms-") as scratch:
        return suite(
            options.platforms or others, options.folder or Path(scratch), against=options.against, more=more
        )


if __name__ == "__main__":
    sys.exit(main())
