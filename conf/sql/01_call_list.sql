-- Whom to call: the customers worth contacting, by the money expected from it. Capacity and holdout are kept.
SELECT customer_id, churn_probability, expected_value, value_at_risk, reason_1_text, reason_2_text, ticket_summary
FROM churn_scores_latest
WHERE recommended
ORDER BY expected_value DESC, customer_id
LIMIT 100
