"""Precision is chosen in training, by what the processor does well, and followed in scoring."""

from pathlib import Path

import pytest

from churn_spark.notes import precision
from churn_spark.settings.notes import Text

AUTO = Text.model_validate({"columns": {"own": {"embedder": {"precision": "float32"}}}})


@pytest.fixture
def machine(monkeypatch, tmp_path: Path):
    """Pretend to be on a machine with these flags, with a GPU or without."""

    def pretend(flags: str, *, gpu: bool = False) -> None:
        precision.multiplies_int8.cache_clear()
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags} sse\n")
        monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(precision, "GPU", tmp_path if gpu else tmp_path / "none")

    yield pretend
    precision.multiplies_int8.cache_clear()


def chosen(text: Text, column: str = "note") -> str:
    return text.of(column).embedder.precision


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx512_vnni", "int8"), ("amx_int8", "int8"), ("avx2", "float32")]
)
def test_auto_is_what_the_processor_does_well(machine, flags: str, expected: str) -> None:
    machine(flags)
    assert chosen(precision.decided(AUTO)) == expected
    assert chosen(precision.decided(AUTO), "own") == "float32"  # asked for by name


def test_auto_is_float32_with_a_gpu_or_another_kind_of_model(machine) -> None:
    machine("avx512_vnni", gpu=True)
    assert chosen(precision.decided(AUTO)) == "float32"
    machine("avx512_vnni")
    assert chosen(precision.decided(Text.model_validate({"embedder": {"name": "static"}}))) == "float32"


def test_where_there_is_no_list_of_flags_auto_is_float32(machine, monkeypatch) -> None:
    machine("avx512_vnni")
    monkeypatch.setattr(precision, "CPU_INFO", Path("/nowhere"))
    assert chosen(precision.decided(AUTO)) == "float32"


def test_exact_leaves_what_was_asked_for_by_name() -> None:
    wish = Text.model_validate({"embedder": {"precision": "int8"}})
    assert precision.exact(wish) == wish
    assert chosen(precision.exact(AUTO)) == "float32"


def test_scoring_follows_the_model_whatever_the_settings_wish() -> None:
    identities = {
        "note": {"precision": "int8"},
        "own": {"precision": "int8"},
        "remote": {"provider": "openai"},
    }
    text = precision.followed(AUTO, identities)
    assert [chosen(text, c) for c in identities] == ["int8", "int8", "auto"]
