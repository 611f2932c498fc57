"""The shape of the code: the kernel knows no Spark, and imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "churn_spark"
ADAPTERS = {
    "session", "storage", "tables", "files", "textfiles", "sources", "validation", "text", "text_cache",
    "splits", "training", "evaluation", "scoring", "promotion", "challenge", "publishing", "run", "failures",
    "packages", "job_prepare", "job_train", "job_score", "explain", "cli", "guard", "backtest", "doctor", "sample",
    "pricing", "requoting", "inspection", "reuse",
}  # fmt: skip
MODULES = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
KERNEL = MODULES - ADAPTERS


def imports(module: Path) -> set[str]:
    """The modules a file imports at its top level, `churn_spark.x` as `x`."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.module == "churn_spark":
                found |= {alias.name for alias in node.names}
            else:
                found.add((node.module or "").removeprefix("churn_spark."))
    return found


def test_kernel_imports_no_spark() -> None:
    assert ADAPTERS < MODULES
    for name in KERNEL:
        assert not {n for n in imports(PACKAGE / f"{name}.py") if n.split(".")[0] == "pyspark"}, name


def test_kernel_imports_only_kernel() -> None:
    assert {"features", "model", "notes", "columns", "report"} <= KERNEL
    for name in KERNEL:
        assert not imports(PACKAGE / f"{name}.py") & ADAPTERS, name


def test_imports_form_no_circle() -> None:
    modules = {name: imports(PACKAGE / f"{name}.py") for name in MODULES}
    done: set[str] = set()
    while True:
        ready = {m for m, needs in modules.items() if m not in done and needs & set(modules) <= done}
        if not ready:
            break
        done |= ready
    assert done == set(modules)


def test_only_the_console_ends_the_process() -> None:
    calls = [
        path.name
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "exit", "os._exit", "print")
    ]
    assert calls == ["cli.py"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["model", "notes", "report"])
def test_kernel_works_with_spark_blocked(module: str) -> None:
    code = f"import sys; sys.modules['pyspark'] = None; import churn_spark.{module}; print('ok')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "ok", done.stderr
