-- How much of the table has a note, and what became of it.
SELECT score_date, text_status, count(*) AS customers, avg(churn_probability) AS mean_probability
FROM churn_scores
GROUP BY score_date, text_status
ORDER BY score_date DESC, customers DESC
