-- Did the campaign work? Customers worth contacting, held out against contacted. Needs churn_outcomes.
SELECT s.score_date, CASE WHEN s.in_holdout THEN 'holdout' ELSE 'contacted' END AS arm, count(*) AS customers,
       avg(s.churn_probability) AS predicted, avg(CASE WHEN o.churned THEN 1 ELSE 0 END) AS observed
FROM churn_scores s
JOIN churn_outcomes o ON o.customer_id = s.customer_id AND o.score_date = s.score_date
WHERE s.recommended OR (s.in_holdout AND s.expected_value > 0)
GROUP BY s.score_date, s.in_holdout
ORDER BY s.score_date, arm
