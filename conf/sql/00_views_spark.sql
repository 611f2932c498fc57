-- Views for Spark SQL over an output folder; the other queries read these names. Replace `out` by your folder.
-- Score dates from before a column was added are read as well.
SET spark.sql.parquet.mergeSchema = true;
CREATE OR REPLACE TEMPORARY VIEW churn_scores AS SELECT * FROM parquet.`out/churn_scores`;
CREATE OR REPLACE TEMPORARY VIEW churn_reasons AS SELECT * FROM parquet.`out/churn_reasons`;
CREATE OR REPLACE TEMPORARY VIEW churn_rejects AS SELECT * FROM parquet.`out/churn_rejects`;
CREATE OR REPLACE TEMPORARY VIEW churn_metrics AS SELECT * FROM parquet.`out/churn_metrics`;
CREATE OR REPLACE TEMPORARY VIEW churn_curves AS SELECT * FROM parquet.`out/churn_curves`;
CREATE OR REPLACE TEMPORARY VIEW churn_runs AS SELECT * FROM parquet.`out/churn_runs`;
CREATE OR REPLACE TEMPORARY VIEW churn_scores_latest AS
SELECT * FROM churn_scores WHERE score_date = (SELECT max(score_date) FROM churn_scores);
