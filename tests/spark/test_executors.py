"""The executors' Python is looked at before any work."""

import pytest
from pyspark.sql import SparkSession

from churn_spark.errors import ResourceError
from churn_spark.spark import executors
from churn_spark.spark.executors import check_executors, words


def test_a_whole_python_passes_and_one_that_lacks_a_package_is_named(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_executors(spark)
    monkeypatch.setattr(executors, "NEEDED", ("numpy", "no_such_package"))
    with pytest.raises(ResourceError, match="lacks no_such_package") as refused:
        check_executors(spark)
    assert "ship one" in refused.value.fix


@pytest.mark.parametrize(
    ("problem", "what"),
    [
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 2.7 than that in driver: 3.11",
            "the executors run Python 2.7",
        ),
        ('Cannot run program "./environment/bin/python": error=2', "no Python at ./environment/bin/python"),
        ("ModuleNotFoundError: No module named 'pandas'", "lacks pandas"),
    ],
)
def test_a_task_that_cannot_run_is_put_into_words(problem: str, what: str) -> None:
    assert what in str(words(problem))


def test_another_failure_stays_what_it_is() -> None:
    assert words("[DIVIDE_BY_ZERO] Division by zero") is None
