-- The same views for DuckDB. Replace `out` by your folder.
CREATE OR REPLACE VIEW churn_scores AS
SELECT * FROM read_parquet('out/churn_scores/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW churn_reasons AS
SELECT * FROM read_parquet('out/churn_reasons/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW churn_rejects AS
SELECT * FROM read_parquet('out/churn_rejects/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW churn_metrics AS SELECT * FROM read_parquet('out/churn_metrics/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW churn_curves AS SELECT * FROM read_parquet('out/churn_curves/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW churn_runs AS SELECT * FROM read_parquet('out/churn_runs/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW churn_scores_latest AS
SELECT * FROM churn_scores WHERE score_date = (SELECT max(score_date) FROM churn_scores);
