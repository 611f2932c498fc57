-- What drives the risk, plan by plan.
SELECT s.plan_type, r.reason, count(*) AS customers, avg(r.effect) AS mean_effect,
       avg(CASE WHEN r.rank = 1 THEN 1 ELSE 0 END) AS share_where_strongest
FROM churn_reasons r
JOIN churn_scores_latest s ON s.customer_id = r.customer_id AND s.score_date = r.score_date
WHERE r.rank > 0
GROUP BY s.plan_type, r.reason
ORDER BY s.plan_type, mean_effect DESC
