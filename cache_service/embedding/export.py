"""Makes the model's files that serve: `python -m cache_service.embedding.export`, what `make model` runs.

The weights come from local files, checked by SHA-256. What was made is compared at once with sentence-transformers on 500
prompts and thrown away if one of them differs; `manifest.json` beside it then holds the digests that the server checks. Where OpenVINO is
installed, its own files are made of that one, which needs no torch.
A second run finds intact files and returns at once, without importing torch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.embedding import openvino
from cache_service.embedding.base import Embedding
from cache_service.embedding.batching import Engine, embed_texts
from cache_service.embedding.manifest import (
    TOKENIZER,
    WEIGHTS,
    Made,
    Model,
    check_files,
    find_weights,
    onnx_name,
    openvino_names,
    read_made,
    read_model,
    sha256_of,
)
from cache_service.embedding.onnx import OnnxEngine
from cache_service.embedding.packed import HIDDEN, IDS, POSITIONS, TEXTS, Matrix
from cache_service.embedding.sentence_transformer import SentenceTransformerEngine
from cache_service.errors import EmbeddingError

LOWEST_COSINE = 0.9999
"""Least cosine between the exported model and sentence-transformers; fp32 gives 1.0000, a wrong mask or pooling 0.9 and less."""

OPSET = 17

FOREIGN = -1e9
"""What is added to the likeness of pieces of different texts: softmax makes it 0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 made or intact, 1 refused or impossible (standard error says why)."""
    parser = argparse.ArgumentParser(
        prog="cache_service.embedding.export", description="Make the embedding model's files."
    )
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder with manifest.toml")
    parser.add_argument("--weights", type=Path, help="folder with the model's files; else the installed package")
    options = parser.parse_args(arguments)
    try:
        model = read_model(options.models_dir)
        made = intact(options.models_dir, model)
        said = "intact"
        if made is None:
            made = export(options.models_dir, model, options.weights)
            said = f"made, lowest cosine to sentence-transformers {made.lowest_cosine:.6f}"
        if openvino.is_installed() and not {*openvino_names(model)} <= made.files.keys():
            lowest = convert(options.models_dir, model, made)
            said += f"; made for OpenVINO, lowest cosine to that {lowest:.6f}"
    except EmbeddingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{model.id}: {said}\n")
    return 0


def intact(models_dir: Path, model: Model) -> Made | None:
    """What was made, if the exported files are there, made from these weights, and unaltered."""
    try:
        made = read_made(models_dir, model)
        check_files(models_dir / "cache", made.files)
    except EmbeddingError:
        return None
    return made


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
    _file(models_dir, model, made)
    return made


def convert(models_dir: Path, model: Model, made: Made) -> float:
    """Makes the files for OpenVINO of the exported one, compares them with it and files them; the lowest cosine.

    Raises EmbeddingError if the comparison fails; what was made before stays as it is.
    """
    cache = models_dir / "cache"
    names = openvino_names(model)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        temporary = Path(folder)
        openvino.convert(cache / onnx_name(model), temporary / names[0])
        lowest = lowest_cosine(
            openvino.OpenVinoEngine(model, temporary / names[0], cache / TOKENIZER),
            OnnxEngine(model, cache / onnx_name(model), cache / TOKENIZER),
            comparison_prompts(models_dir),
        )
        if not lowest >= LOWEST_COSINE:
            raise EmbeddingError(f"the model made for OpenVINO differs from the exported one: cosine {lowest:.6f}")
        for name in names:
            (temporary / name).replace(cache / name)
    _file(models_dir, model, replace(made, files={**made.files, **{name: sha256_of(cache / name) for name in names}}))
    return lowest


def _file(models_dir: Path, model: Model, made: Made) -> None:
    manifest = models_dir / "cache" / "manifest.json"
    partial = manifest.with_suffix(".tmp")
    partial.write_text(json.dumps({model.name: asdict(made)}, indent=2) + "\n", "utf-8")
    partial.replace(manifest)


def write_graph(folder: Path, target: Path) -> None:
    """Writes the transformer over a row of packed texts (see `packed`) as one graph of free length."""
    # Read when the libraries are imported; bars and reports of weights that aren't used would only worry whoever runs this once.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        import torch  # here, since it takes seconds and only the export needs it
        import transformers
    except ImportError as error:
        raise EmbeddingError("making the model needs torch: install cache-service[model]") from error
    bert: Any = transformers.BertModel.from_pretrained(str(folder), add_pooling_layer=False, local_files_only=True)

    class Packed(torch.nn.Module):
        """BERT's encoder with its own weights; query, key and value are one product instead of three."""

        def __init__(self) -> None:
            super().__init__()
            table = bert.embeddings
            self.words, self.norm, self.layers = table.word_embeddings, table.LayerNorm, bert.encoder.layer
            self.heads, self.width = bert.config.num_attention_heads, bert.config.hidden_size
            self.places = torch.nn.Parameter(table.position_embeddings.weight + table.token_type_embeddings.weight[0])
            selves = [layer.attention.self for layer in self.layers]
            self.joined = [
                [
                    torch.cat([getattr(each, kind) for each in (one.query, one.key, one.value)])
                    for kind in ("weight", "bias")
                ]
                for one in selves
            ]

        def forward(self, ids: Any, positions: Any, texts: Any) -> Any:
            functional: Any = torch.nn.functional
            # over the row as a batch of one: [1, heads, pieces, pieces], the same for every layer
            foreign = torch.where(texts[:, None] == texts[None, :], 0.0, FOREIGN)[None, None]
            state = self.norm((self.words(ids) + functional.embedding(positions, self.places))[None])
            for layer, (weight, bias) in zip(self.layers, self.joined, strict=True):
                query, key, value = (
                    part.view(1, -1, self.heads, self.width // self.heads).transpose(1, 2)
                    for part in functional.linear(state, weight, bias).split(self.width, -1)
                )
                likeness = query @ key.transpose(-1, -2) * (self.width // self.heads) ** -0.5 + foreign
                seen = (torch.softmax(likeness, -1) @ value).transpose(1, 2).reshape(1, -1, self.width)
                state = layer.attention.output(seen, state)
                state = layer.output(layer.intermediate(state), state)
            return state[0]

    row = tuple(
        torch.tensor(one) for one in ([101, 1037, 4937, 102, 101, 4937, 102], [0, 1, 2, 3, 0, 1, 2], [0] * 4 + [1] * 3)
    )
    with warnings.catch_warnings(), torch.no_grad():
        # the tracing exporter is deprecated in favour of one that needs another library; the comparison guards the result
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Packed().eval(),
            row,
            str(target),
            input_names=[IDS, POSITIONS, TEXTS],
            output_names=[HIDDEN],
            dynamic_axes={name: {0: "pieces"} for name in (IDS, POSITIONS, TEXTS, HIDDEN)},
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
