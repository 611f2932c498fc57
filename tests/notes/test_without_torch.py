"""Torch is some gigabytes: what does without it works where it is not installed, and what needs it says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from churn_spark.notes.embedders import load_embedder

pytestmark = pytest.mark.slow

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

HEAVY = {"torch", "sentence_transformers", "transformers"}

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HEAVY else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def run_without_torch(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def embed_without_torch(embedder: str) -> subprocess.CompletedProcess[str]:
    return run_without_torch(
        "from churn_spark.notes.embedders import load_embedder\n"
        f"print(load_embedder({embedder!r}).embed(['The invoice is wrong.']).vectors.shape)"
    )


def test_the_package_its_model_and_its_jobs_are_imported_without_torch() -> None:
    done = run_without_torch("import churn_spark.functions, churn_spark.jobs.train, churn_spark.jobs.score\n"
                             "from churn_spark import ChurnModel")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_multilingual_embeds_without_torch() -> None:
    done = embed_without_torch("multilingual")
    assert done.stdout == "(1, 512)\n", done.stderr


def test_static_embeds_without_torch_once_its_table_is_built() -> None:
    load_embedder("static").embed(["builds it"])
    done = embed_without_torch("static")
    assert done.stdout == "(1, 256)\n", done.stderr


def test_the_default_embedder_says_that_it_needs_torch() -> None:
    done = embed_without_torch("sentence-transformers")
    assert "torch is not installed" in done.stderr


def test_static_says_that_its_table_is_built_by_torch(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CHURN_SPARK_CACHE", str(tmp_path))
    assert "torch is not installed" in embed_without_torch("static").stderr
