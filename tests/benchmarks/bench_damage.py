"""Random damages to what runs leave: `python tests/benchmarks/bench_damage.py --output OUT --damages 200`.

Each takes one file among published dates, manifests, pointers, model packages and the text cache of an output folder
(a copy of it), flips a bit, changes a byte, cuts the file short or removes it, and looks whether `churn-spark verify`
tells. What it does not tell is harmless when every table and pointer reads as before, else it is silent.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from churn_spark.jobs.state import verify
from churn_spark.settings.layers import load_config

KINDS = {
    "scores": "churn_scores/*/*.parquet",
    "reasons": "churn_reasons/*/*.parquet",
    "manifest": "_manifests/*/*/*.json",
    "pointer": "models/champion.json",
    "package": "models/m-*/m*.json",
    "cache": "churn_notes/kind=*/*/*.parquet",
}


def harm(path: Path, chance: random.Random) -> str:
    """Damage a file; returns how."""
    how = chance.choice(("bit", "bit", "byte", "byte", "cut", "removed"))
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    if how == "removed":
        path.unlink()
        return how
    if how == "cut":
        content = content[:at]
    elif how == "bit":
        content[at] ^= 1 << chance.randrange(8)
    else:
        content[at] = (content[at] + chance.randrange(1, 256)) % 256
    path.write_bytes(content)
    return how


def meaning(path: Path) -> str:
    """What a reader gets of a file; a file that is not there is nothing."""
    if not path.exists():
        return ""
    if path.suffix != ".parquet":
        return repr(json.loads(path.read_bytes()))
    rows = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    return hashlib.sha256(repr(rows.to_pydict()).encode()).hexdigest()


def untold(kind: str, before: str, path: Path) -> str:
    """What a damage does of which nothing is told: a lost file of the cache is computed anew."""
    try:
        after = meaning(path)
    except (OSError, ValueError):  # whoever reads it is told
        return "SILENT"
    return "harmless" if after == before else "anew" if kind == "cache" and not after else "SILENT"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance, counts = random.Random(options.seed), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(
            shutil.copytree(options.output, Path(name) / "out", ignore=shutil.ignore_patterns("_runs"))
        )
        config = load_config(options={"output": str(folder)})
        assert not verify(config), "there is damage already"
        for _ in range(options.damages):
            kind = chance.choice([*KINDS])
            path = chance.choice(sorted(folder.glob(KINDS[kind])))
            before, whole = meaning(path), path.read_bytes()
            how = harm(path, chance)
            found = verify(config)
            outcome = "told" if found else untold(kind, before, path)
            assert all(" -> " in line for line in found)
            counts[kind, outcome] += 1
            if outcome == "SILENT":
                print(f"SILENT: {how} in {path.relative_to(folder)}")
            path.write_bytes(whole)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:<10} {outcome:<9} {count}")
    print(f"{sum(counts.values())} damages, {sum(n for (_, o), n in counts.items() if o == 'SILENT')} silent")


if __name__ == "__main__":
    main()
