"""spark-submit's entry to `churn-spark score`; the steps are in churn_spark/jobs/score.py."""

import sys

from churn_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
