-- Were the probabilities right? Needs churn_outcomes (customer_id, score_date, churned boolean), once they are known.
SELECT s.score_date, s.risk_decile, count(*) AS customers, avg(s.churn_probability) AS predicted,
       avg(CASE WHEN o.churned THEN 1 ELSE 0 END) AS observed
FROM churn_scores s
JOIN churn_outcomes o ON o.customer_id = s.customer_id AND o.score_date = s.score_date
GROUP BY s.score_date, s.risk_decile
ORDER BY s.score_date, s.risk_decile
