"""The last look at the scores before they are published."""

import pytest

from churn_spark.errors import GateError
from churn_spark.spark.scoring.published import check_scores


def scores(spark, *probabilities, status="ok", date="2026-01-01"):
    rows = [(f"C{n}", p, status) for n, p in enumerate(probabilities)]
    df = spark.createDataFrame(rows, "customer_id string, churn_probability double, score_status string")
    return df.selectExpr("*", f"DATE'{date}' AS score_date")


def check(staged, newest=None, *, customers=2, shift=0.1):
    return check_scores(staged, newest, customers=customers, max_mean_shift=shift)


def test_check_scores_wants_every_customer_once_with_a_probability(spark):
    assert check(scores(spark, 0.1, 0.2)) == 2
    assert check(scores(spark, 0.1, None, status="unscorable")) == 2
    with pytest.raises(GateError, match="1 without a probability"):
        check(scores(spark, 0.1, None))
    with pytest.raises(GateError, match="2 scored rows with 2 ids for 3 customers"):
        check(scores(spark, 0.1, 0.2), customers=3)
    with pytest.raises(GateError, match="2 scored rows with 1 ids"):
        check(scores(spark, 0.1).union(scores(spark, 0.1)))


def test_check_scores_wants_a_mean_like_that_of_the_date_before_unless_accepted(spark):
    before = scores(spark, *[0.2] * 50)
    assert check(scores(spark, *[0.29] * 50), before, customers=50) == 50
    with pytest.raises(GateError, match=r"0\.400; on 2026-01-01 it was 0\.200"):
        check(scores(spark, *[0.4] * 50), before, customers=50)
    assert check(scores(spark, *[0.4] * 50), before, customers=50, shift=None) == 50
    assert check(scores(spark, 0.1, 0.9), before) == 2  # two customers say nothing about a mean
    assert check(scores(spark, None, None, status="unscorable"), before) == 2
