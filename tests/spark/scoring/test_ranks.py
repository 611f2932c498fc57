"""Ranks and capacity: right for any values, and no partition holds the table."""

from collections import Counter

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn_spark.spark.scoring.ranks import with_ranks, within_capacity

SCORED = "customer_id string, churn_probability double, expected_value double, recommended boolean"
ANY_TABLE = st.dictionaries(
    st.text("aB9_é😀", min_size=1, max_size=3),
    st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1),
    min_size=1,
    max_size=40,
)


def ranked(spark, probabilities, tmp_path):
    rows = [(k, p, None, None) for k, p in probabilities.items()]
    found = with_ranks(spark.createDataFrame(rows, SCORED), key="customer_id", folder=str(tmp_path / "ranks"))
    return {r.customer_id: (r.risk_rank, r.risk_decile) for r in found.collect()}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TABLE)
def test_with_ranks_is_a_sort_by_probability_then_id(spark, tmp_path, probabilities):
    known = pd.Series({k: p for k, p in probabilities.items() if p is not None}, dtype=float)
    order = sorted(known.index, key=lambda k: (-known[k], k.encode()))
    expected = {k: (n + 1, -(-10 * (n + 1) // len(order))) for n, k in enumerate(order)}
    assert ranked(spark, probabilities, tmp_path) == {k: expected.get(k, (None, None)) for k in probabilities}


def test_with_ranks_spreads_a_value_that_all_share(spark, tmp_path):
    spark.conf.set("spark.sql.adaptive.coalescePartitions.enabled", False)
    spark.conf.set("spark.sql.shuffle.partitions", 4)
    try:
        df = spark.range(4000).selectExpr("printf('C%05d', id) AS customer_id", "0.5D AS churn_probability")
        found = (
            with_ranks(df, key="customer_id", folder=str(tmp_path / "ranks")).orderBy("customer_id").collect()
        )
        parts = Counter(r[0] for r in spark.read.parquet(str(tmp_path / "ranks")).select("_part").collect())
    finally:
        spark.conf.unset("spark.sql.adaptive.coalescePartitions.enabled")
        spark.conf.set("spark.sql.shuffle.partitions", 2)
    assert [r.risk_rank for r in found] == list(range(1, 4001))
    assert Counter(r.risk_decile for r in found) == dict.fromkeys(range(1, 11), 400)
    assert len(parts) == 4
    assert max(parts.values()) < 2000


def test_within_capacity_keeps_the_most_valuable_of_the_recommended(spark, tmp_path):
    rows = [("a", 0.5, 9.0, False), ("b", 0.5, 3.0, True), ("c", 0.5, 5.0, True), ("d", 0.5, 3.0, True)]
    df = spark.createDataFrame(rows, SCORED)
    for capacity, chosen in ((2, {"b", "c"}), (None, {"b", "c", "d"})):
        kept = within_capacity(df, key="customer_id", capacity=capacity, folder=str(tmp_path / "chosen"))
        assert kept.count() == 4
        assert {r.customer_id for r in kept.where("recommended").collect()} == chosen
