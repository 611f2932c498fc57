-- Rows that were set aside, by the rule they broke.
SELECT run_date, job, rule, count(*) AS row_count, min(detail) AS what_was_wrong
FROM churn_rejects
GROUP BY run_date, job, rule
ORDER BY run_date DESC, row_count DESC, rule
