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

raw = os.environ.get("TELCO_RAW", "../shared/data/telco_feedback.csv")
output = os.environ.get("CHURN_OUTPUT") or tempfile.mkdtemp(prefix="telco-")
place = ["--config", "conf/examples/telco.yaml", "--raw", raw, "--output", output]

# COMMAND ----------

assert main(["train", *place]) == 0
assert main(["score", *place, "--score-date", "2026-01-31"]) == 0

# COMMAND ----------

# MAGIC %md
# MAGIC ## Every 350th customer by risk, from the surest to leave to the surest to stay

# COMMAND ----------

get_session().read.parquet(f"{output}/churn_scores").createOrReplaceTempView("churn_scores")
told = (
    get_session()
    .sql("""
    SELECT churn_probability AS risk, risk_band, reason_1_text, reason_2_text, reason_3_text
    FROM churn_scores
    WHERE risk_rank % 350 = 1
    ORDER BY risk_rank
    LIMIT 20
""")
    .collect()
)
for row in told:
    print(f"{row.risk:.0%}, {row.risk_band}: {row.reason_1_text}. {row.reason_2_text}. {row.reason_3_text}.")

# COMMAND ----------

# MAGIC %md
# MAGIC What this printed on 26 November 2026, long quotes cut here:
# MAGIC
# MAGIC 1. 99%, very_high: What the notes say raises the risk: “i recently signed up for the fiber optic internet service with this company on a month-to-month contract.”. Tenure of 1 raises the risk. Contract “month-to-month” raises the risk.
# MAGIC 2. 90%, very_high: Tenure of 1 raises the risk. Contract “month-to-month” raises the risk. Total charges of 74.50 raise the risk.
# MAGIC 3. 81%, very_high: Contract “month-to-month” raises the risk. Tenure of 2 raises the risk. Total charges of 153.80 raise the risk.
# MAGIC 4. 71%, very_high: Monthly charges of 100.05 raise the risk. Contract “month-to-month” raises the risk. Total charges of 3480 lower the risk.
# MAGIC 5. 61%, very_high: Tenure of 54 lowers the risk. Contract “month-to-month” raises the risk. Monthly charges of 99.05 raise the risk.
# MAGIC 6. 52%, high: Contract “month-to-month” raises the risk. Monthly charges of 99.45 raise the risk. Total charges of 4138.05 lower the risk.
# MAGIC 7. 43%, high: Tenure of 1 raises the risk. Total charges of 19.55 raise the risk. Contract “month-to-month” raises the risk.
# MAGIC 8. 33%, high: Tenure of 1 raises the risk. Contract “month-to-month” raises the risk. Online security lowers the risk.
# MAGIC 9. 26%, medium: Monthly charges of 106.45 raise the risk. Tenure of 58 lowers the risk. Contract “one year” lowers the risk.
# MAGIC 10. 20%, medium: Contract “month-to-month” raises the risk. Online security lowers the risk. Internet service “dsl” lowers the risk.
# MAGIC 11. 15%, low: Contract “month-to-month” raises the risk. Monthly charges of 20.65 lower the risk. Online security “no internet service” lowers the risk.
# MAGIC 12. 10%, low: Tenure of 62 lowers the risk. Contract “one year” lowers the risk. Online security lowers the risk.
# MAGIC 13. 7%, low: Contract “two year” lowers the risk. Tenure of 72 lowers the risk. Monthly charges of 103.75 raise the risk.
# MAGIC 14. 6%, low: What the notes say lowers the risk: “i have been a customer with this company for 7 months now and i am really happy with the service. even though ...”. Contract “month-to-month” raises the risk. Monthly charges of 19.95 lower the risk.
# MAGIC 15. 4%, low: What the notes say lowers the risk: “i have been a customer for 4 months now and have been satisfied with the service so far. the monthly charges ...”. Contract “month-to-month” raises the risk. Monthly charges of 20.40 lower the risk.
# MAGIC 16. 4%, low: Contract “two year” lowers the risk. What the notes say lowers the risk: “i have been a customer with this company for 68 months now and i am very satisfied with their service. while ...”. Tenure of 68 lowers the risk.
# MAGIC 17. 3%, low: Contract “two year” lowers the risk. Tenure of 53 lowers the risk. Online security “no internet service” lowers the risk.
# MAGIC 18. 2%, low: What the notes say lowers the risk: “i have been a customer with this company for 26 months now and i have been very satisfied with the service. ...”. Contract “one year” lowers the risk. Monthly charges of 20.05 lower the risk.
# MAGIC 19. 2%, low: Contract “two year” lowers the risk. Tenure of 71 lowers the risk. Tech support lowers the risk.
# MAGIC 20. 1%, low: What the notes say lowers the risk: “i have been a loyal customer of this company for over 5 years now and i have been extremely satisfied with ...”. Contract “two year” lowers the risk. Monthly charges of 115.10 raise the risk.
