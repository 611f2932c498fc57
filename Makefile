# `make` prints what there is. BIN is where the tools are: this clone's environment, or CHURN_SPARK_VENV's.
BIN := $(if $(CHURN_SPARK_VENV),$(CHURN_SPARK_VENV),.venv)/bin
.DEFAULT_GOAL := help
.PHONY: help setup test test-all test-platforms check bench reference docs pictures lock

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## make the environment in .venv, with what the tests need
	./spark-submit.sh --setup

test:  ## the inner loop: no Spark, no models, some ten seconds
	$(BIN)/python -m pytest -q -m "not spark and not slow"

test-all:  ## every test, in any order
	$(BIN)/python -m pytest

check:  ## style, format, import contracts, types, the documents' links
	.ci/check

bench:  ## how fast the text stage is here, against other ways; see docs/benchmarks.md for the others
	$(BIN)/python tests/benchmarks/bench_text_stage.py

reference:  ## the pages of docs/reference that come from the code
	$(BIN)/churn-spark config schema > conf/schema.json
	$(BIN)/churn-spark tables > conf/tables.md
	$(BIN)/python docs/make/reference.py

docs: reference  ## the documents as a site in site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures:  ## the pictures of the README, from a run over the sample; needs chromium
	$(BIN)/python docs/make/pictures.py

test-platforms:  ## every command on a Connect server and a standalone cluster; Delta and Iceberg, which need Maven
	$(BIN)/python tests/platforms/run.py
	BASE_PYTHON=$(BIN)/python tests/platforms/formats.sh

lock:  ## locked.txt: every package with its hashes, for all extras; torch and what is CUDA's are left out
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" --constraint constraints.txt pyproject.toml \
	  | awk '/^[a-z]/ {keep = !/^(torch|triton|cuda-|nvidia-)/} /^#/ || keep' > locked.txt
	$(BIN)/uv pip compile --quiet --python-version 3.12 --python-platform linux --extra spark \
	  --constraint constraints-databricks.txt pyproject.toml > /dev/null  # they go together
