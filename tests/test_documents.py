"""Documents stay true: what they name exists, what they tell to type works, what comes from the code is up to date."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlglot
import yaml
from helpers import ROOT

from churn_spark.cli import _parser, main
from churn_spark.contract.published import published
from churn_spark.settings.layers import load_config

GENERATED = {"settings.md", "commands.md", "errors.md", "tables.md"}
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
MADE_BY_RUNS = {"report.html", "MODEL_CARD.md", "mine.yaml", "model.json", "manifest.json", "run.json"}
TOP = {path.name for path in ROOT.iterdir()}
LOOKS_LIKE_A_FILE = re.compile(r"[\w.-]+\.(py|md|sql|ya?ml|sh|toml|ini|conf|html|css)")


class Block(NamedTuple):
    """A fenced block of a document; `reason` says why it is not run, empty where it is."""

    page: str
    language: str
    body: str
    reason: str


def blocks(*languages: str) -> list[Block]:
    pattern = re.compile(r"(?:<!-- not run: (.*?) -->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
    found = [
        Block(str(page.relative_to(ROOT)), language, body, reason)
        for page in WRITTEN
        for reason, language, body in pattern.findall(page.read_text())
    ]
    chosen = [block for block in found if block.language in languages]
    assert chosen
    return chosen


def lines(block: Block) -> Iterator[list[str]]:
    for line in block.body.splitlines():
        for command in shlex.split(line, comments=True) and re.split(r"&&", line):
            yield shlex.split(command, comments=True)


def named(block: Block) -> str:
    return f"{block.page}:{block.body.splitlines()[0][:40]}"


def test_every_page_is_looked_at() -> None:
    assert len(WRITTEN) > 15


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    missing = {t for t in linked if t and "://" not in t and not (page.parent / t).exists()}
    for name in re.findall(r"`([^`\s]+)`", text):
        first = name.partition("/")[0]
        if "<" not in name and "/" in name and first in TOP:
            missing |= set() if list(ROOT.glob(name.rstrip("/"))) else {name}
        elif LOOKS_LIKE_A_FILE.fullmatch(name) and name not in MADE_BY_RUNS:
            folders = ("conf", "docs", "tests", "churn_spark", "notebooks")
            there = name in TOP or any(any((ROOT / f).rglob(name)) for f in folders)
            missing |= set() if there else {name}
    assert not missing


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_setting_that_a_page_names_exists(page: Path) -> None:
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S))
    known = {a.dest for a in _parser()._subparsers._group_actions[0]._choices_actions}  # type: ignore[union-attr]
    commands = {text.split()[1] for text in inline if re.match(r"churn-spark [a-z]", text)}
    assert commands <= known
    config = load_config().model_dump()
    for text in (t for t in inline if not LOOKS_LIKE_A_FILE.fullmatch(t)):
        name = re.match(r"(?:--set )?([a-z_]+(?:\.[a-z_]+)+)(?=$|[:=])", text)
        if name and name[1].split(".")[0] in config and name[1].split(".")[0] != "columns":
            assert reaches(config, name[1].split(".")), text


def reaches(tree: object, path: list[str]) -> bool:
    """Whether a dotted name leads somewhere, also within what is empty by default."""
    if not path:
        return True
    if not isinstance(tree, dict):
        return False
    return tree == {} or (path[0] in tree and reaches(tree[path[0]], path[1:]))


@pytest.mark.parametrize("block", blocks("bash"), ids=named)
def test_every_command_of_a_page_is_understood(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for first, *rest in lines(block):
        if first == "churn-spark":
            _parser().parse_args(rest)
        elif first.endswith("spark-submit.sh") or first == "spark-submit":
            job = next((place for place, word in enumerate(rest) if word.startswith("jobs/")), None)
            assert job is not None or rest == ["--setup"]
            if job is not None:
                assert (ROOT / rest[job]).is_file()
                _parser().parse_args([Path(rest[job]).stem, *rest[job + 1 :]])
        elif first == "make":
            assert set(rest) <= targets
        else:
            assert block.reason or first in ("source", ".venv/bin/python"), first


@pytest.mark.parametrize("block", [b for b in blocks("bash") if not b.reason], ids=named)
def test_every_command_block_runs(
    block: Block, spark: object, own_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the output of a run over the sample; what spark-submit.sh starts is tested on its own."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "data", tmp_path / "data")
    own_output.rename(tmp_path / "out")
    monkeypatch.chdir(tmp_path)  # which the session's Java does not follow
    monkeypatch.setenv("CHURN_SPARK__OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("CHURN_SPARK__RAW", str(tmp_path / "data/sample/customers.csv"))
    for first, *rest in lines(block):
        if first == "churn-spark":
            assert main(rest) == 0, rest


@pytest.mark.parametrize("block", blocks("yaml"), ids=named)
def test_every_yaml_block_is_a_layer_of_settings(block: Block, tmp_path: Path) -> None:
    (tmp_path / "layer.yaml").write_text(block.body)
    layer = yaml.safe_load(block.body)
    changed = load_config([str(tmp_path / "layer.yaml")]).model_dump()
    assert {key: changed[key] for key in layer} != {key: load_config().model_dump()[key] for key in layer}


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.reason], ids=named)
def test_every_python_block_runs(
    block: Block, own_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_output.rename(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.body, block.page, "exec"), {})


@pytest.mark.parametrize("block", blocks("sql"), ids=named)
def test_every_query_of_a_page_asks_for_what_is_published(block: Block) -> None:
    query = sqlglot.parse_one(block.body, read="databricks")
    there = {t.name: {f.name for f in (*t.fields, *t.partitions)} for t in published(load_config().contract)}
    for table in (t.name.removesuffix("_latest") for t in query.find_all(sqlglot.exp.Table)):
        asked = {column.name for column in query.find_all(sqlglot.exp.Column)}
        assert asked <= there.get(table, asked)


def test_every_block_is_of_a_language_that_is_looked_at() -> None:
    """And begins its line: a block that stands in a list would be passed over."""
    fences = [line for page in WRITTEN for line in page.read_text().splitlines() if "```" in line]
    assert {line for line in fences if line != "```"} == {
        f"```{x}" for x in ("bash", "python", "sql", "text", "yaml")
    }


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_pages_made_from_the_code_are_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs/make"))
    sys.modules.pop("reference", None)
    import reference

    assert (ROOT / "docs/reference" / name).read_text() == reference.pages()[name], "run: make reference"
