-- Why this customer: every reason, strongest first. Here the customer at rank 1; put an id in its place.
SELECT r.rank, r.reason, r.value, r.effect, r.text
FROM churn_reasons r
JOIN churn_scores_latest s ON s.customer_id = r.customer_id AND s.score_date = r.score_date
WHERE s.customer_id = (SELECT min(customer_id) FROM churn_scores_latest WHERE risk_rank = 1)
ORDER BY r.rank
