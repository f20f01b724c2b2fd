"""The cross-encoder: MiniLM's six layers reading both prompts at once, its word embeddings frozen, six token types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from cache_service.verification.pair_pieces import TYPES, PairPieces, pair_pieces

HIDDEN, HEADS, INNER, POSITIONS, EPSILON = 384, 12, 1536, 64, 1e-12  # MiniLM-L6's shape, positions cut to what is read


class Layer(nn.Module):
    """One layer of BERT: attention and feed-forward, each added to its input and normalised."""

    def __init__(self, dropout: float, *, hidden: int = HIDDEN, inner: int = INNER, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, epsilon)
        self.up = nn.Linear(hidden, inner)
        self.down = nn.Linear(inner, hidden)
        self.norm_down = nn.LayerNorm(hidden, epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: (batch, length, hidden); bias: added to the scores, which are (batch, HEADS, length, length)."""
        batch, length, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, hidden // HEADS).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (hidden // HEADS) ** -0.5 + bias, dim=-1)
        heard = (weights @ v).transpose(1, 2).reshape(batch, length, hidden)
        x = self.norm(x + self.dropout(self.out(heard)))
        return self.norm_down(x + self.dropout(self.down(nn.functional.gelu(self.up(x)))))


class CrossEncoder(nn.Module):
    """Word vectors, types and mask of a pair to one logit: above 0, the model thinks both ask for the same."""

    def __init__(self, layers: int = 6, dropout: float = 0.1) -> None:
        super().__init__()
        self.position = nn.Embedding(POSITIONS, HIDDEN)
        self.status = nn.Embedding(TYPES, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(layers))
        self.hidden = nn.Linear(2 * HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, words: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """words: (batch, length, HIDDEN) rows of the word table; types, mask: (batch, length). Returns (batch,)."""
        x = words + self.position.weight[: words.shape[1]] + self.status(types)
        x = self.dropout(self.norm(x))
        hidden_from = ((1.0 - mask) * -1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, hidden_from)
        weight = mask[..., None]
        mean = (x * weight).sum(1) / weight.sum(1)
        pooled = torch.cat([x[:, 0], mean], dim=-1)
        return self.head(self.dropout(torch.tanh(self.hidden(pooled)))).squeeze(-1)


def load_minilm(folder: Path, layers: int, seed: int) -> tuple[CrossEncoder, Tensor]:
    """A cross-encoder that starts from the embedding model in `folder`, and that model's word table."""
    torch.manual_seed(seed)
    weights = load_file(folder / "model.safetensors")
    model = CrossEncoder(layers)
    with torch.no_grad():
        model.position.weight.copy_(weights["embeddings.position_embeddings.weight"][:POSITIONS])
        first = weights["embeddings.token_type_embeddings.weight"][0]
        model.status.weight.copy_(first + 0.02 * torch.randn(TYPES, HIDDEN))
        copy(model.norm, weights, "embeddings.LayerNorm")
        for number, layer in enumerate(model.layers):
            prefix = f"encoder.layer.{number}"
            for kind in ("weight", "bias"):
                parts = [weights[f"{prefix}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
                getattr(layer.qkv, kind).copy_(torch.cat(parts))
            copy(layer.out, weights, f"{prefix}.attention.output.dense")
            copy(layer.norm, weights, f"{prefix}.attention.output.LayerNorm")
            copy(layer.up, weights, f"{prefix}.intermediate.dense")
            copy(layer.down, weights, f"{prefix}.output.dense")
            copy(layer.norm_down, weights, f"{prefix}.output.LayerNorm")
    return model, weights["embeddings.word_embeddings.weight"]


def copy(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Takes over one module's weight and bias."""
    for kind in ("weight", "bias"):
        getattr(module, kind).copy_(weights[f"{name}.{kind}"])


def load_tokenizer(folder: Path) -> Tokenizer:
    """The embedding model's tokenizer, without padding and cutting."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The pieces of each text without special ones, as the model is given them."""
    encodings = tokenizer.encode_batch([clean(text) for text in texts], add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def clean(text: str) -> str:
    """A text without its closing punctuation, which changes no request."""
    return text.strip().rstrip(" .!?,;")


def batches(pairs: Sequence[PairPieces], size: int) -> Iterator[list[int]]:
    """Numbers of pairs of about one length together, so that little is padded; `size` pairs of 28 pieces a batch."""
    order = sorted(range(len(pairs)), key=lambda n: len(pairs[n].ids))
    start = 0
    while start < len(order):
        length = len(pairs[order[min(start + size, len(order)) - 1]].ids)
        count = max(8, min(size, size * 28 // max(length, 28)))
        yield order[start : start + count]
        start += count


def tensors(pairs: Sequence[PairPieces], table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Word vectors, types and mask of a batch, padded to its longest pair."""
    length = max(len(pair.ids) for pair in pairs)
    ids, types, mask = (np.zeros((len(pairs), length), dtype) for dtype in (np.int64, np.int64, np.float32))
    for row, pair in enumerate(pairs):
        ids[row, : len(pair.ids)] = pair.ids
        types[row, : len(pair.types)] = pair.types
        mask[row, : len(pair.ids)] = 1.0
    return table[torch.from_numpy(ids)], torch.from_numpy(types), torch.from_numpy(mask)


@torch.inference_mode()
def score(
    model: nn.Module, table: Tensor, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], size: int = 64
) -> np.ndarray:
    """Both orders' logits of each pair of piece lists, shape (pairs, 2); NaN where a pair is too long to be read."""
    model.eval()
    scores = np.full((len(pairs), 2), np.nan, np.float32)
    for order in (0, 1):
        made = [pair_pieces(*(pair if order == 0 else pair[::-1])) for pair in pairs]
        known = [number for number, pair in enumerate(made) if pair is not None]
        read = [pair for pair in made if pair is not None]
        for batch in batches(read, size):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(*tensors([read[n] for n in batch], table))
            scores[[known[n] for n in batch], order] = logits.float().numpy()
    return scores


def write_json(path: Path, value: object) -> None:
    """Writes JSON, readable and ending in a line break."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
