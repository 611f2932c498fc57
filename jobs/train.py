"""spark-submit's entry to `churn-spark train`; the steps are in churn_spark/jobs/train.py."""

import sys

from churn_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
