#!/usr/bin/env bash
# Delta and Iceberg on a Spark that both support, in an environment of its own; skipped where their jars cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
base="${BASE_PYTHON:-.venv/bin/python}"
place="${FORMATS_VENV:-.venv-formats}"
if ! command -v mvn >/dev/null; then
  echo "skip: Maven, which fetches the formats' jars, is not there"
  exit 0
fi
if [ ! -x "$place/bin/python" ]; then
  "$base" -m venv "$place"
  "$place/bin/pip" install -q "pyspark==4.1.2"
  "$base" -c 'import site; print(site.getsitepackages()[0])' >"$("$place/bin/python" -c 'import site; print(site.getsitepackages()[0])')/base.pth"
fi
if [ ! -d "$place/jars" ]; then
  for jar in io.delta:delta-spark_4.1_2.13:4.4.0 io.delta:delta-storage:4.4.0 io.delta:delta-kernel-api:4.4.0 \
    io.delta:delta-kernel-defaults:4.4.0 io.delta:delta-kernel-unitycatalog:4.4.0 org.locationtech.jts:jts-core:1.20.0 \
    org.roaringbitmap:RoaringBitmap:0.9.25 org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0; do
    mvn -q -B dependency:copy -Dartifact="$jar" -DoutputDirectory="$PWD/$place/jars" || {
      rm -rf "$place/jars"
      echo "skip: Maven Central cannot be reached"
      exit 0
    }
  done
fi
export PYSPARK_PYTHON="$PWD/$place/bin/python"
for kind in delta delta-catalog iceberg; do
  "$place/bin/python" tests/platforms/check_formats.py "$kind" --jars "$place/jars"
done
