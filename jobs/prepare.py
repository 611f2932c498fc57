"""spark-submit's entry to `churn-spark prepare`; the steps are in churn_spark/jobs/prepare.py."""

import sys

from churn_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
