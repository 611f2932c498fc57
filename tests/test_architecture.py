"""The shape of the code: the kernel works without Spark. The import contracts themselves are in pyproject.toml."""

import ast
import os
import subprocess
import sys

from helpers import ROOT

PACKAGE = ROOT / "churn_spark"
SPARK_SIDE = {"spark", "jobs", "cli", "commands", "functions"}


def modules() -> list[str]:
    files = [p.relative_to(ROOT).with_suffix("") for p in PACKAGE.rglob("*.py")]
    names = [".".join(f.parts).removesuffix(".__init__") for f in files]
    assert len(names) > 60
    return names


def kernel() -> list[str]:
    names = [n for n in modules() if n.split(".")[1:2] and n.split(".")[1] not in SPARK_SIDE]
    assert len(names) > 40
    return names


def test_only_the_console_ends_the_process_or_prints() -> None:
    calls = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "exit", "os._exit", "print")
    ]
    assert calls == ["cli.py"]


def test_only_one_module_knows_what_spark_connect_lacks() -> None:
    lacking = {"sparkContext", "rdd", "_jvm", "_jsc", "_jdf", "_sc", "_jsparkSession", "_gateway"}
    found = {
        path.stem
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in lacking
    }
    assert found == {"classic"}


def test_every_kernel_module_works_with_spark_blocked() -> None:
    code = "import sys; sys.modules.update(pyspark=None, py4j=None)\n" + "\n".join(
        f"import {m}" for m in kernel()
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint('ok')"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "ok", done.stderr


def test_a_worker_that_redacts_loads_no_model() -> None:
    heavy = "{'xgboost', 'torch', 'pyspark', 'sklearn'}"
    code = f"import sys, churn_spark.notes.redaction; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr
