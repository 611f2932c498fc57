-- Each model on the rows it never saw, with 95 % intervals.
SELECT m.model_id, m.metric, m.value, m.ci_low, m.ci_high, m.n
FROM churn_metrics m
WHERE m.split = 'test' AND m.slice = 'all' AND m.metric IN ('roc_auc', 'pr_auc', 'brier', 'ece', 'lift_10', 'profit')
ORDER BY m.run_id DESC, m.metric
