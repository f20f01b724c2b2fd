"""Nothing is loaded that isn't the file we know, and the word table is made from the weights we know."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from cache_service.errors import VerificationError
from cache_service.verification.artefacts import FOLDER, TABLE, TREES, load, make_words
from cache_service.verification.difference import ROUTES

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the shipped files and a word table made from the installed weights."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / FOLDER, folder / FOLDER, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    assert make_words(folder)
    return folder


def test_the_shipped_files_load_and_read_a_pair_the_same_in_both_directions(made: Path) -> None:
    """Swapping the prompts swaps the logits and changes nothing else."""
    encoder = load(made, threads=1).encoder
    one, other = [1037, 2417, 2482], [1037, 2482, 2008, 2003, 2417]  # "a red car", "a car that is red"
    forth, back = encoder.logits(one, other), encoder.logits(other, one)
    assert forth is not None
    assert back is not None
    assert forth == pytest.approx(back[::-1], abs=1e-3)


def test_a_made_table_is_left_alone(made: Path) -> None:
    """Making it again finds it intact."""
    assert not make_words(made)


@pytest.mark.parametrize("name", ["cross_encoder.onnx", "trees.npz", "thresholds.json"])
def test_an_altered_file_is_refused_by_name(made: Path, tmp_path: Path, name: str) -> None:
    """One bit is enough, and the message says which file."""
    folder = tmp_path / "models"
    shutil.copytree(made, folder)
    path = folder / FOLDER / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=name):
        load(folder)


def test_a_missing_table_says_what_makes_it(made: Path, tmp_path: Path) -> None:
    """The message names the file and the command."""
    folder = tmp_path / "models"
    shutil.copytree(made, folder)
    (folder / "cache" / TABLE).unlink()
    with pytest.raises(VerificationError, match="make model"):
        load(folder)


def test_other_weights_are_refused(made: Path, tmp_path: Path) -> None:
    """The frozen word embeddings are those that the verifier was trained with."""
    shutil.copytree(made / FOLDER, tmp_path / "models" / FOLDER)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(VerificationError, match=r"model\.safetensors"):
        make_words(tmp_path / "models", tmp_path)


def own(folder: Path, **changes: object) -> Path:
    """A file as `calibrate` writes it, for images alone."""
    content = {"format": 1, "floor": 0.9, "serve": {"images": dict.fromkeys(ROUTES, 0.5)}, **changes}
    path = folder / "own.json"
    path.write_text(json.dumps(content))
    return path


def test_own_thresholds_go_before_the_shipped_ones_for_their_operation(made: Path, tmp_path: Path) -> None:
    """What was not calibrated keeps the shipped threshold."""
    shipped = load(made, threads=1)
    thresholds = load(made, threads=1, own=own(tmp_path, model=shipped.digest)).thresholds
    assert [thresholds.least("images", kind) for kind in ROUTES] == [0.5] * len(ROUTES)
    assert [thresholds.least("chat", kind) for kind in ROUTES] == [shipped.thresholds.serve[kind] for kind in ROUTES]
    assert thresholds.floor == 0.9


def test_own_thresholds_of_another_model_are_refused(made: Path, tmp_path: Path) -> None:
    """A threshold means nothing for another model's scores."""
    with pytest.raises(VerificationError, match=r"another model .* calibrate` again"):
        load(made, own=own(tmp_path, model="0" * 64))


@pytest.mark.parametrize(
    "changes",
    [
        {"serve": {"images": {"caption": 0.5}}},
        {"serve": {"images": dict.fromkeys(ROUTES, float("nan"))}},
        {"serve": {"images": dict.fromkeys(ROUTES, "0.5")}},
        {"serve": {"images": dict.fromkeys(ROUTES, True)}},
        {"serve": []},
        {"floor": -1},
        {"format": 2},
        {"model": None},
    ],
)
def test_damaged_own_thresholds_are_refused_by_name(made: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    """Nothing is served by half a file."""
    digest = load(made, threads=1).digest
    with pytest.raises(VerificationError, match=r"own\.json"):
        load(made, own=own(tmp_path, **{"model": digest, **changes}))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_what_is_no_file_of_thresholds_is_refused(made: Path, tmp_path: Path, text: str) -> None:
    """Also a missing one."""
    path = tmp_path / "own.json"
    with pytest.raises(VerificationError, match="calibrate"):
        load(made, own=path)
    path.write_text(text)
    with pytest.raises(VerificationError, match="calibrate"):
        load(made, own=path)


def test_a_digest_names_the_model_and_not_its_thresholds(made: Path, tmp_path: Path) -> None:
    """Other trees are another model."""
    before = load(made, threads=1)
    assert before.digest == load(made, threads=1, own=own(tmp_path, model=before.digest)).digest
    folder = tmp_path / "models"
    shutil.copytree(made, folder)
    manifest, trees = folder / FOLDER / "manifest.toml", folder / FOLDER / TREES
    old, new = trees.read_bytes(), trees.read_bytes() + b"\0"  # an archive may end in anything
    trees.write_bytes(new)
    digests = [hashlib.sha256(data).hexdigest() for data in (old, new)]
    manifest.write_text(manifest.read_text().replace(*digests))
    assert load(folder, threads=1).digest != before.digest
