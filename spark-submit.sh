#!/usr/bin/env bash
# Runs a job: makes the environment on first use, then spark-submit with this project's settings.
#   ./spark-submit.sh jobs/train.py --raw customers.csv --output out
#   ./spark-submit.sh --master yarn jobs/score.py --config prod.yaml     (the package travels to the executors)
#   ./spark-submit.sh --dry-run jobs/train.py     prints the command instead of running it
#   ./spark-submit.sh --setup                     only makes the environment, with what the tests need
# CHURN_SPARK_VENV names the environment (default .venv beside this file), PYTHON the interpreter to make it with.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${CHURN_SPARK_VENV:-$here/.venv}"

install() {
  command -v java >/dev/null || { echo "error: no Java found" >&2; echo "next: install Java 17 or 21" >&2; exit 2; }
  local python="${PYTHON:-$(command -v python3.11 || command -v python3.12 || command -v python3)}"
  echo "Setting up $venv (once; a few minutes) ..." >&2
  "$python" -m venv "$venv"
  local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$here/constraints.txt")
  # PyPI's torch for Linux brings CUDA, 4 GB; the build without lies on torch's own index, if that can be reached.
  if [[ "$(uname -s)" == Linux && ! -e /dev/nvidiactl ]]; then
    "${pip[@]}" --retries 0 --timeout 20 --index-url https://download.pytorch.org/whl/cpu torch >/dev/null 2>&1 ||
      echo "download.pytorch.org was not reached: torch comes from PyPI, with 4 GB of CUDA" >&2
  fi
  "${pip[@]}" -e "$here$1" >&2
  touch "$venv/.ready$1"
}

case "${1:-}" in
  "") sed -n '2,7p' "${BASH_SOURCE[0]}" | cut -c3-; exit 2 ;;
  --setup) [[ -e "$venv/.ready[dev]" ]] || install "[dev]"; exit 0 ;;
esac
[[ -e "$venv/.ready[spark]" || -e "$venv/.ready[dev]" ]] || install "[spark]"

# Names with umlauts need a UTF-8 locale, which cron does not have.
[[ "$(locale charmap 2>/dev/null)" == "UTF-8" ]] || export LC_ALL=C.UTF-8
export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$venv/bin/python}"
export SPARK_HOME="${SPARK_HOME:-$("$venv/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')}"

dry=""; [[ "$1" == "--dry-run" ]] && { dry=yes; shift; }
# What stands before the job is Spark's: its master, in any spelling, and what the next command has to repeat.
master=local given=() before=""
for word in "$@"; do
  [[ "$word" != *.py || "$before" == --py-files ]] || break
  [[ "$before" != --master ]] || master="$word"
  case "$word" in --master=* | spark.master=* | --conf=spark.master=*) master="${word##*master=}" ;; --remote*) master=connect ;; esac
  given+=("$word") before="$word"
done
export CHURN_SPARK_SUBMIT="$([[ ${#given[@]} -eq 0 ]] || printf '%q ' "${given[@]}")"
if [[ "$master" == local* ]]; then  # a cluster keeps its own
  export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$here/conf}"
  export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$venv/bin/python}"
fi

if [[ -n "$dry" ]]; then
  printf '%q ' "$SPARK_HOME/bin/spark-submit" "$@"; echo
  exit 0
fi
# Java announces a module that Spark asks for, xgboost its ranks; nobody can act on that.
noise='^WARNING: Using incubator modules|^\[[0-9:]+\] Task [0-9]+ got rank|log level to|To adjust logging level'
set -m  # else what runs in the background is deaf to Ctrl-C
"$SPARK_HOME/bin/spark-submit" "$@" 2> >(grep --line-buffered -vE "$noise" >&2) &
java=$!
# The job, Java's child, is asked to end: it cancels its work, frees its lock and leaves its record.
stop() { pkill "-$1" -P "$java" -f '\.py' 2>/dev/null || kill "-$1" "$java" 2>/dev/null || true; }
trap 'stop TERM' TERM
trap 'stop INT' INT
code=0; wait "$java" || code=$?
while kill -0 "$java" 2>/dev/null; do code=0; wait "$java" || code=$?; done  # a signal ends the first wait
exit "$code"
