"""The teacher: MPNet's twelve layers reading both prompts at once. Eight times the cross-encoder's size, it never serves; what it says of
captions is what the cross-encoder learns in its last round but one.

It reads the very pieces and types that the cross-encoder reads: MPNet's vocabulary is BERT's, four places on.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from encoder import HEADS, Layer, copy
from safetensors.torch import load_file
from torch import Tensor, nn

from cache_service.verification.pair_pieces import CLS, MAX_PIECES, SEP, TYPES

LAYERS, HIDDEN, INNER, EPSILON = 12, 768, 3072, 1e-5  # with as many heads as MiniLM
PIECES, BEFORE = 30522, 4  # BERT's vocabulary, and how many special pieces MPNet has before it
START, END, FIRST_POSITION = 0, 2, 2  # MPNet's [CLS] and [SEP]; its positions count from 2
BUCKETS, FARTHEST = 32, 128  # of the distances between two pieces


class Teacher(nn.Module):
    """As `CrossEncoder`: word vectors, types and mask of a pair to one logit; with a bias for how far apart two pieces are, which stays MPNet's."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.position = nn.Embedding(MAX_PIECES, HIDDEN)
        self.status = nn.Embedding(TYPES, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.distance = nn.Embedding(BUCKETS, HEADS)
        self.distance.weight.requires_grad_(False)
        self.layers = nn.ModuleList(Layer(dropout, hidden=HIDDEN, inner=INNER, epsilon=EPSILON) for _ in range(LAYERS))
        self.hidden = nn.Linear(2 * HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, words: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """words: (batch, length, HIDDEN) rows of the word table; types, mask: (batch, length). Returns (batch,)."""
        length = words.shape[1]
        x = self.dropout(self.norm(words + self.position.weight[:length] + self.status(types)))
        bias = self.distance(_buckets(length)).permute(2, 0, 1)[None] + ((1.0 - mask) * -1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        weight = mask[..., None]
        pooled = torch.cat([x[:, 0], (x * weight).sum(1) / weight.sum(1)], dim=-1)
        return self.head(self.dropout(torch.tanh(self.hidden(pooled)))).squeeze(-1)


def load_mpnet(folder: Path, seed: int) -> tuple[Teacher, Tensor]:
    """A teacher that starts from all-mpnet-base-v2 in `folder`, and that model's word table by BERT's ids."""
    torch.manual_seed(seed)
    weights = load_file(folder / "model.safetensors")
    model = Teacher()
    with torch.no_grad():
        positions = weights["embeddings.position_embeddings.weight"][FIRST_POSITION:]
        model.position.weight.copy_(positions[:MAX_PIECES])
        model.status.weight.normal_(std=0.01)
        model.distance.weight.copy_(weights["encoder.relative_attention_bias.weight"])
        copy(model.norm, weights, "embeddings.LayerNorm")
        for number, layer in enumerate(model.layers):
            prefix = f"encoder.layer.{number}"
            for kind in ("weight", "bias"):
                parts = [weights[f"{prefix}.attention.attn.{name}.{kind}"] for name in "qkv"]
                getattr(layer.qkv, kind).copy_(torch.cat(parts))
            copy(layer.out, weights, f"{prefix}.attention.attn.o")
            copy(layer.norm, weights, f"{prefix}.attention.LayerNorm")
            copy(layer.up, weights, f"{prefix}.intermediate.dense")
            copy(layer.down, weights, f"{prefix}.output.dense")
            copy(layer.norm_down, weights, f"{prefix}.output.LayerNorm")
    rows = weights["embeddings.word_embeddings.weight"]
    table = rows[BEFORE : BEFORE + PIECES].clone()
    table[CLS], table[SEP] = rows[START], rows[END]
    return model, table


def _buckets(length: int) -> Tensor:
    """For each two positions the bucket of their distance: exact up to 8, then by its logarithm; one half for each direction."""
    place = torch.arange(length)
    distance = place[:, None] - place[None]
    half, exact = BUCKETS // 2, BUCKETS // 4
    size = distance.abs()
    far = torch.log(size.clamp(min=1) / exact) / math.log(FARTHEST / exact) * (half - exact)
    bucket = torch.where(size < exact, size, (exact + far.long()).clamp(max=half - 1))
    return bucket + half * (distance < 0)
