-- Where the money is: value at risk by plan and risk band.
SELECT plan_type, risk_band, count(*) AS customers, sum(value_at_risk) AS value_at_risk,
       sum(CASE WHEN recommended THEN expected_value ELSE 0 END) AS expected_from_calls
FROM churn_scores_latest
GROUP BY plan_type, risk_band
ORDER BY value_at_risk DESC
