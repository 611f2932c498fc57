# Databricks notebook source
# MAGIC %md
# MAGIC # Churn from tables and ticket notes, in five minutes
# MAGIC Makes a customer table, trains on it, scores it, and looks at the result. On Databricks attach a classic single-user
# MAGIC cluster that has this project's wheel, and name in `folder` a place in a Volume; on a laptop run
# MAGIC `python notebooks/quickstart.py`.

# COMMAND ----------

import os
import tempfile
from pathlib import Path

from churn_spark import ChurnModel
from churn_spark.cli import main
from churn_spark.spark.session import get_session

if "dbutils" in globals():  # Databricks
    dbutils.widgets.text("folder", "/Volumes/main/churn/files/quickstart")
    dbutils.widgets.text("raw", "")
    folder, raw = dbutils.widgets.get("folder"), dbutils.widgets.get("raw")
else:
    folder = os.environ.get("CHURN_OUTPUT") or tempfile.mkdtemp(prefix="churn-")
    raw = os.environ.get("CHURN_RAW", "")

if "display" not in globals():  # neither Databricks nor Jupyter

    def display(shown):
        shown.show(truncate=60) if hasattr(shown, "show") and hasattr(shown, "schema") else print(shown)


# COMMAND ----------

# MAGIC %md
# MAGIC ## The table
# MAGIC Your own one, if the widget `raw` names it; else two thousand customers who are made up.

# COMMAND ----------

if not raw:
    raw = f"{folder}/customers.csv"
    Path(folder).mkdir(parents=True, exist_ok=True)
    assert main(["sample", "--rows", "2000", "--output", raw]) == 0

# COMMAND ----------

# MAGIC %md
# MAGIC ## Train and score
# MAGIC Each job is one command; the exit code is 0 when everything was published. Without a catalog the tables are folders of
# MAGIC Parquet files.

# COMMAND ----------

output = f"{folder}/tables"
assert main(["train", "--raw", raw, "--output", output]) == 0
assert main(["score", "--raw", raw, "--output", output, "--score-date", "2026-01-31"]) == 0

# COMMAND ----------

# MAGIC %md
# MAGIC ## Whom to call, and why

# COMMAND ----------

spark = get_session()
for table in ("churn_scores", "churn_curves", "churn_metrics"):
    spark.read.parquet(f"{output}/{table}").createOrReplaceTempView(table)
calls = spark.sql("""
    SELECT customer_id, round(churn_probability, 2) AS risk, round(expected_value, 2) AS worth,
           reason_1_text, reason_2_text
    FROM churn_scores
    WHERE recommended
    ORDER BY expected_value DESC
    LIMIT 10
""")
display(calls)

# COMMAND ----------

# MAGIC %md
# MAGIC ## How good is it?
# MAGIC The share of those who leave that is reached by calling the riskiest first, on customers the model never saw. The report
# MAGIC answers the other questions.

# COMMAND ----------

from matplotlib.figure import Figure

gains = spark.sql("SELECT x, y FROM churn_curves WHERE curve = 'gains' AND split = 'test' ORDER BY bin").toPandas()
figure = Figure(figsize=(5, 4), layout="constrained")
axes = figure.subplots()
axes.plot(gains["x"], gains["y"], label="the model")
axes.plot([0, 1], [0, 1], linestyle=":", label="calling at random")
axes.set(xlabel="share of customers called", ylabel="share of leavers reached")
axes.legend()
display(figure)

# COMMAND ----------

model = ChurnModel.load(f"{output}/models")  # the champion
report = Path(output, "models", model.model_id, "report.html")
if "displayHTML" in globals():
    displayHTML(report.read_text())
else:
    print(f"open {report}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## One customer, in this process
# MAGIC The same model without Spark, as a service would use it.

# COMMAND ----------

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
display(answer)
