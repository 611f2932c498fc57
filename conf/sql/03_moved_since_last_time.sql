-- What moved since last time, and was it the customer or the model?
SELECT new.customer_id, old.score_date AS previous_date, new.previous_probability, new.churn_probability,
       new.probability_change,
       CASE WHEN new.model_id = old.model_id THEN 'customer' ELSE 'model or customer' END AS cause,
       old.reason_1_text AS reason_before, new.reason_1_text AS reason_now
FROM churn_scores_latest new
JOIN churn_scores old
  ON old.customer_id = new.customer_id
 AND old.score_date = (SELECT max(score_date) FROM churn_scores
                       WHERE score_date < (SELECT max(score_date) FROM churn_scores))
ORDER BY abs(new.probability_change) DESC, new.customer_id
LIMIT 50
