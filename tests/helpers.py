"""What tests of several rooms share: where things lie."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REAL_TABLES = Path(os.environ.get("CHURN_SPARK_REAL_TABLES", ROOT.parent / "shared" / "data"))


def real_table(name: str) -> Path:
    """A table of real customers that is not part of the project; the test is skipped where it is absent."""
    if not (REAL_TABLES / name).exists():
        pytest.skip(f"the table {name} is not there; CHURN_SPARK_REAL_TABLES names its folder")
    return REAL_TABLES / name
