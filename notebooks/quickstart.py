# Databricks notebook source
# MAGIC %md
# MAGIC # Churn from tables and ticket notes, in five minutes
# MAGIC Trains on the bundled sample, scores it, and looks at the result. On Databricks attach a classic
# MAGIC single-user cluster with this project's wheel; on a laptop run `python notebooks/quickstart.py`.

# COMMAND ----------

import os
import tempfile

from churn_spark import ChurnModel
from churn_spark.cli import main
from churn_spark.spark.session import get_session

raw = os.environ.get("CHURN_RAW", "data/sample/customers.csv")
output = os.environ.get("CHURN_OUTPUT") or tempfile.mkdtemp(prefix="churn-")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Train and score
# MAGIC Each job is one command; the exit code is 0 when everything was published.

# COMMAND ----------

assert main(["train", "--raw", raw, "--output", output]) == 0
assert main(["score", "--raw", raw, "--output", output, "--score-date", "2026-01-31"]) == 0

# COMMAND ----------

# MAGIC %md
# MAGIC ## Whom to call, and why

# COMMAND ----------

spark = get_session()
scores = spark.read.parquet(f"{output}/churn_scores")
scores.createOrReplaceTempView("churn_scores")
calls = spark.sql("""
    SELECT customer_id, round(churn_probability, 2) AS risk, round(expected_value, 2) AS worth,
           reason_1_text, reason_2_text
    FROM churn_scores
    WHERE recommended
    ORDER BY expected_value DESC
    LIMIT 10
""")
calls.show(truncate=60)

# COMMAND ----------

# MAGIC %md
# MAGIC ## One customer, in this process
# MAGIC The same model without Spark, as a service would use it.

# COMMAND ----------

model = ChurnModel.load(f"{output}/models")
answer = model.predict(
    [
        {
            "customer_id": "C1",
            "age": 50,
            "tenure": 10,
            "spend_rate": 100,
            "plan_type": "monthly",
            "ticket_notes": "Billing issue that was resolved quickly.",
        }
    ]
)
answer[0]
