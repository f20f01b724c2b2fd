"""Makes the ONNX file that serves: `python -m cache_service.embedding.export`, what `make model` runs.

The weights come from local files, checked by SHA-256. What was made is compared at once with sentence-transformers on 500
prompts and thrown away if one of them differs; `manifest.json` beside it then holds the digests that the server checks.
A second run finds intact files and returns at once, without importing torch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.embedding.base import Embedding
from cache_service.embedding.batching import Engine, Matrix, embed_texts
from cache_service.embedding.manifest import (
    TOKENIZER,
    WEIGHTS,
    Made,
    Model,
    check_files,
    find_weights,
    onnx_name,
    read_made,
    read_model,
    sha256_of,
)
from cache_service.embedding.onnx import ATTENTION_MASK, EMBEDDING, INPUT_IDS, OnnxEngine
from cache_service.embedding.sentence_transformer import SentenceTransformerEngine
from cache_service.errors import EmbeddingError

LOWEST_COSINE = 0.9999
"""Least cosine between the exported model and sentence-transformers; fp32 gives 1.0000, a wrong mask or pooling 0.9 and less."""

OPSET = 17


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 made or intact, 1 refused or impossible (standard error says why)."""
    parser = argparse.ArgumentParser(
        prog="cache_service.embedding.export", description="Make the embedding model's file."
    )
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder with manifest.toml")
    parser.add_argument("--weights", type=Path, help="folder with the model's files; else the installed package")
    options = parser.parse_args(arguments)
    try:
        model = read_model(options.models_dir)
        if is_intact(options.models_dir, model):
            sys.stdout.write(f"{model.id}: intact\n")
            return 0
        made = export(options.models_dir, model, options.weights)
    except EmbeddingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{model.id}: made, lowest cosine to sentence-transformers {made.lowest_cosine:.6f}\n")
    return 0


def is_intact(models_dir: Path, model: Model) -> bool:
    """Whether the exported files are there, made from these weights, and unaltered."""
    try:
        check_files(models_dir / "cache", read_made(models_dir, model).files)
    except EmbeddingError:
        return False
    return True


def export(models_dir: Path, model: Model, weights: Path | None = None) -> Made:
    """Exports, compares and files the model. Raises EmbeddingError and leaves no model file if the comparison fails."""
    folder = weights or find_weights(model)
    check_files(folder, model.files)
    cache = models_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    final = cache / onnx_name(model)
    temporary = final.with_suffix(".tmp")
    try:
        write_graph(folder, temporary)
        shutil.copyfile(folder / TOKENIZER, cache / TOKENIZER)
        lowest = lowest_cosine(
            OnnxEngine(model, temporary, cache / TOKENIZER),
            SentenceTransformerEngine(models_dir, weights=folder),
            comparison_prompts(models_dir),
        )
        if not lowest >= LOWEST_COSINE:
            final.unlink(missing_ok=True)
            raise EmbeddingError(f"the exported model differs from sentence-transformers: cosine {lowest:.6f}")
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    files = {name: sha256_of(cache / name) for name in (final.name, TOKENIZER)}
    made = Made(model_id=model.id, weights=model.files[WEIGHTS], files=files, lowest_cosine=lowest)
    manifest = cache / "manifest.json"
    partial = manifest.with_suffix(".tmp")
    partial.write_text(json.dumps({model.name: asdict(made)}, indent=2) + "\n", "utf-8")
    partial.replace(manifest)
    return made


def write_graph(folder: Path, target: Path) -> None:
    """Writes transformer, mean pooling and normalising as one graph with free batch size and length."""
    # Read when the libraries are imported; bars and reports of weights that aren't used would only worry whoever runs this once.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        import torch  # here, since it takes seconds and only the export needs it
        import transformers
    except ImportError as error:
        raise EmbeddingError("making the model needs torch: install cache-service[model]") from error
    bert = transformers.BertModel.from_pretrained(
        str(folder), add_pooling_layer=False, attn_implementation="eager", local_files_only=True
    )

    class MeanPooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: Any, mask: Any) -> Any:
            weight = mask.unsqueeze(-1).to(torch.float32)
            # the mask as the attention adds it, made here, where tracing can see that it depends on the input
            added = (1.0 - mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
            hidden = self.bert(
                input_ids=ids, attention_mask=added, token_type_ids=torch.zeros_like(ids)
            ).last_hidden_state
            mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, p=2, dim=1)

    ids = torch.tensor([[101, 1037, 4937, 2006, 102], [101, 4937, 102, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with warnings.catch_warnings():
        # the tracing exporter is deprecated in favour of one that needs another library; the comparison guards the result
        warnings.simplefilter("ignore")
        torch.onnx.export(
            MeanPooled().eval(),
            (ids, mask),
            str(target),
            input_names=[INPUT_IDS, ATTENTION_MASK],
            output_names=[EMBEDDING],
            dynamic_axes={
                INPUT_IDS: {0: "batch", 1: "length"},
                ATTENTION_MASK: {0: "batch", 1: "length"},
                EMBEDDING: {0: "batch"},
            },
            opset_version=OPSET,
            dynamo=False,
        )


def comparison_prompts(models_dir: Path) -> list[str]:
    """The prompts of `comparison_prompts.jsonl`, one a line, each a JSON string."""
    path = models_dir / "comparison_prompts.jsonl"
    try:
        return [str(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise EmbeddingError(f"comparison prompts {path}: {error}") from error


def lowest_cosine(one: Engine, other: Engine, prompts: Sequence[str]) -> float:
    """The least cosine between the two engines' vectors of a prompt."""
    return float((_vectors(one, prompts) * _vectors(other, prompts)).sum(axis=1).min())


def _vectors(engine: Engine, prompts: Sequence[str]) -> Matrix:
    vectors = []
    for outcome in embed_texts(engine, prompts):
        if not isinstance(outcome, Embedding):
            raise outcome
        vectors.append(outcome.vector)
    return np.stack(vectors)


if __name__ == "__main__":
    sys.exit(main())
