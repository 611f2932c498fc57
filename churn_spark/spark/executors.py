"""The executors' Python, asked in one small task each before any work: what it lacks would be seen after minutes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import ResourceError
from churn_spark.spark.classic import default_parallelism

NEEDED = ("numpy", "pandas", "pyarrow", "pydantic", "scipy", "sklearn", "xgboost", "yaml", "churn_spark")
SIGNS = {
    r"PYTHON_VERSION_MISMATCH.*?version(?:: |\s)(\d+\.\d+)": "the executors run Python {0}, the driver {driver}",
    r'Cannot run program \\?"([^"\\]+)': "the executors have no Python at {0}",
    r"No module named '([\w.]+)'": "the executors' Python lacks {0}",
}


def check_executors(spark: SparkSession) -> None:
    """Raise ResourceError where an executor's Python is another one, is absent, or lacks a package."""
    tasks = default_parallelism(spark)
    lacking = F.udf(_look_for(NEEDED), "string", useArrow=False)
    try:
        found = spark.range(0, tasks, numPartitions=tasks).select(lacking("id")).distinct().collect()
    except Exception as problem:  # Spark's own, Py4J's or the Connect server's
        what = words(str(problem))
        if what is None:
            raise
        raise _failure(what) from problem
    names = sorted({name for row in found for name in row[0].split()})
    if names:
        raise _failure(f"the executors' Python lacks {', '.join(names)}")


def words(problem: str) -> str | None:
    """What a failed task says of its Python; None where it says something else."""
    driver = f"{sys.version_info.major}.{sys.version_info.minor}"
    for sign, what in SIGNS.items():
        if match := re.search(sign, problem, re.DOTALL):
            return what.format(match[1], driver=driver)
    return None


def _look_for(names: tuple[str, ...]) -> Callable[[int], str]:
    return lambda task: " ".join(name for name in names if find_spec(name) is None)


def _failure(what: str) -> ResourceError:
    return ResourceError(
        what,
        where="PYSPARK_PYTHON",
        fix="name a Python that has the driver's version and the packages on every node, or ship one: "
        "docs/how-to/cluster.md",
    )
