"""Tables that people really have, from the raw file to the call list; skipped where they are not beside the clone."""

from pathlib import Path

import numpy as np
import pandas as pd
from helpers import real_table

from churn_spark.cli import main


def test_the_seed_table_trains_and_scores_to_the_end(spark: object, tmp_path: Path) -> None:
    place = ["-q", "--raw", str(real_table("seed_customers.csv")), "--output", str(tmp_path / "out")]
    assert main(["train", *place, "--set", "leakage=warn"]) == 0
    assert main(["score", *place, "--score-date", "2026-01-31"]) == 0
    reasons = pd.read_parquet(tmp_path / "out/churn_reasons").groupby("customer_id")["effect"].sum()
    scores = pd.read_parquet(tmp_path / "out/churn_scores").set_index("customer_id")["churn_score_raw"]
    assert len(scores) == 69  # 31 have left by their label
    np.testing.assert_allclose(reasons[scores.index], scores, atol=1e-4)
