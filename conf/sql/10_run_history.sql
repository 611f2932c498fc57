-- What ran, on what, and what it found.
SELECT started_at, job, seconds, input, rows_in, rows_rejected, rows_scored, summaries_computed,
       embeddings_computed, model_id, roc_auc
FROM churn_runs
ORDER BY started_at DESC
LIMIT 50
