"""Nothing is loaded that isn't the file we know, and the word table is made from the weights we know."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cache_service.errors import VerificationError
from cache_service.verification.artefacts import FOLDER, TABLE, load, make_words

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
