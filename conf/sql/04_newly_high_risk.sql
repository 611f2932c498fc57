-- Newly high risk: at or above the threshold now, below it last time.
SELECT customer_id, previous_probability, churn_probability, risk_band, reason_1_text
FROM churn_scores_latest
WHERE churn_probability >= threshold AND previous_probability < threshold
ORDER BY probability_change DESC, customer_id
