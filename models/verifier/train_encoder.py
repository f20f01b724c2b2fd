"""Trains the cross-encoder, or its teacher; resumable: every so often everything needed to go on is written, and read at the next start."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from encoder import batches, encode, tensors
from pairs import Pair
from tokenizers import Tokenizer
from torch import Tensor, nn

from cache_service.verification.pair_pieces import pair_pieces

logger = logging.getLogger("train")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn. A step is one batch of `batch` pairs of 28 pieces, fewer of longer ones."""

    batch: int = 32
    rate: float = 2e-4  # AdamW's peak; warm-up over the first 5 %, then linear to 0
    head: float = 1.0  # how many times faster the parts learn that the start weights didn't have
    decay: float = 0.01
    seed: int = 20260101
    save_every: int = 300  # steps
    threads: int = 2
    stop: int | None = None  # steps after which training ends before the schedule does


NEW = ("status", "hidden", "head")  # parts that the start weights didn't have


def train_encoder(
    model: nn.Module,
    epochs: Sequence[Sequence[Pair]],
    reading: tuple[Tokenizer, Tensor],
    checkpoint: Path,
    schedule: Schedule,
    taught: Mapping[Pair, float] | None = None,
) -> None:
    """Trains the model with one pass over each of `epochs`; goes on from the checkpoint if there is one.

    reading: tokenizer and word table. taught: what a teacher thinks how likely some pairs are the same, put for their labels.
    """
    torch.set_num_threads(schedule.threads)
    tokenizer, table = reading
    pairs = [pair for epoch in epochs for pair in epoch]
    first, second = (encode(tokenizer, [getattr(pair, side) for pair in pairs]) for side in ("a", "b"))
    label = np.array([(taught or {}).get(pair, pair.same) for pair in pairs], np.float32)
    optimizer = _optimizer(model, schedule)
    ends = np.cumsum([len(epoch) for epoch in epochs])
    spans = [range(int(end) - len(epoch), int(end)) for epoch, end in zip(epochs, ends, strict=True)]
    plans = [_plan(first, second, span, schedule, epoch) for epoch, span in enumerate(spans)]
    total = sum(len(plan) for plan in plans)
    step = _resume(checkpoint, model, optimizer)
    begun, seen, losses = time.monotonic(), 0, []
    model.train()
    for number, (epoch, batch) in enumerate((e, b) for e, plan in enumerate(plans) for b in plan):
        if number < step:
            continue
        if number == schedule.stop:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _pace(number / total)
        torch.manual_seed(schedule.seed + number)  # dropout is the same after a resume
        made = [_ordered(first[n], second[n], flip) for n, flip in batch]
        known = [k for k, pair in enumerate(made) if pair is not None]
        if not known:
            continue
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(*tensors([pair for pair in made if pair is not None], table))
        target = torch.from_numpy(label[[batch[k][0] for k in known]])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seen += len(known)
        if (number + 1) % schedule.save_every == 0 or number + 1 in (total, schedule.stop):
            _save(checkpoint, model, optimizer, number + 1)
            rate = seen / (time.monotonic() - begun)
            logger.info(
                "epoch %d step %d of %d loss %.4f, %.0f pairs/s", epoch, number + 1, total, np.mean(losses), rate
            )
            losses.clear()
    model.eval()


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    new, old = ([weight for name, weight in named if name.startswith(NEW) == is_new] for is_new in (True, False))
    groups = [{"params": old, "peak": schedule.rate}, {"params": new, "peak": schedule.rate * schedule.head}]
    return torch.optim.AdamW(groups, schedule.rate, weight_decay=schedule.decay, fused=True)


def _plan(
    first: list[list[int]], second: list[list[int]], span: range, schedule: Schedule, epoch: int
) -> list[list[tuple[int, bool]]]:
    """One epoch's batches of (pair, turned round?): of like length, in random order."""
    random = np.random.default_rng(schedule.seed + epoch)
    flips = dict(zip(span, random.random(len(span)) < 0.5, strict=True))
    shuffled = random.permutation(np.array(span))
    chunks = [shuffled[start : start + 2000] for start in range(0, len(shuffled), 2000)]
    plan = []
    for chunk in chunks:
        sizes = [_Length(min(len(first[n]) + len(second[n]) + 3, 64)) for n in chunk]
        plan += [
            [(int(chunk[k]), bool(flips[int(chunk[k])])) for k in batch] for batch in batches(sizes, schedule.batch)
        ]
    return [plan[k] for k in random.permutation(len(plan))]


class _Length:
    """Stands for a pair where only its length is asked for."""

    def __init__(self, length: int) -> None:
        self.ids = range(length)


def _ordered(first: list[int], second: list[int], flip: bool) -> object:
    return pair_pieces(second, first) if flip else pair_pieces(first, second)


def _pace(done: float) -> float:
    """Share of the peak rate at a share of the training."""
    return min(done / 0.05, (1.0 - done) / 0.95) if done < 1.0 else 0.0


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads a checkpoint; the number of steps already done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    logger.info("going on after step %d", state["step"])
    return int(state["step"])


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
