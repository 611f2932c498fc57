# Databricks notebook source
# MAGIC %md
# MAGIC # Reasons read aloud: twenty customers of the IBM Telco table
# MAGIC Trains on the table with customer feedback, scores it, and reads out why. Its feedback was written from the
# MAGIC label, which the leak audit says at once: take the reasons here as an example of wording, not of skill.
# MAGIC Needs `telco_feedback.csv`, named by `TELCO_RAW`.

# COMMAND ----------

import os
import tempfile

from churn_spark.cli import main
from churn_spark.spark.session import get_session

raw = os.environ.get("TELCO_RAW", "telco_feedback.csv")
output = os.environ.get("CHURN_OUTPUT") or tempfile.mkdtemp(prefix="telco-")
place = ["--config", "conf/examples/telco.yaml", "--raw", raw, "--output", output]

# COMMAND ----------

assert main(["train", *place]) == 0
assert main(["score", *place, "--score-date", "2026-01-31"]) == 0

# COMMAND ----------

# MAGIC %md
# MAGIC ## Every 250th live customer by risk, from the surest to leave to the surest to stay

# COMMAND ----------

get_session().read.parquet(f"{output}/churn_scores").createOrReplaceTempView("churn_scores")
customers = (
    get_session()
    .sql("""
    SELECT churn_probability AS risk, risk_band, reason_1_text, reason_2_text, reason_3_text
    FROM churn_scores
    WHERE risk_rank % 250 = 1
    ORDER BY risk_rank
    LIMIT 20
""")
    .collect()
)
for row in customers:
    print(f"{row.risk:.0%}, {row.risk_band}: {row.reason_1_text}. {row.reason_2_text}. {row.reason_3_text}.")
