"""What can be set, called or counted is documented, and the documents lead where they say."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import typer
from pydantic import SecretStr

from cache_service import cli, errors
from cache_service.api import cache_control, problems
from cache_service.api.app import create_app
from cache_service.api.reference import build_document
from cache_service.cli import app
from cache_service.config import Settings
from cache_service.service import Service

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def _reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["settings", "metrics"])
def test_the_pages_that_are_tables_of_the_code_are_up_to_date(name: str) -> None:
    """Names, values, defaults and meanings are those of the code."""
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert _reference(name) == generator.PAGES[f"{name}.md"](), "run: python docs/generate_reference.py"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name: str) -> None:
    """A setting has a description, in one sentence or more."""
    assert (Settings.model_fields[name].description or "").endswith(".")


@pytest.mark.parametrize("row", problems.TABLE.values(), ids=lambda row: row.code)
def test_every_error_answer_is_documented(row: problems.Problem) -> None:
    """A client's author finds each status and code."""
    assert re.search(rf"^\| {row.status} \| `{row.code}` ", _reference("http"), re.MULTILINE)


def test_every_code_of_an_error_is_documented() -> None:
    """A program that tests for a code finds it on the page."""
    ours = [path for path in (ROOT / "cache_service").rglob("*.py") if "simulator" not in path.parts]
    codes = {code for path in ours for code in re.findall(r"\bcode=\"([a-z_]+)\"", path.read_text("utf-8"))}
    assert codes
    assert not [code for code in codes if f"`{code}`" not in _reference("http")]


def test_every_error_is_answered_and_in_the_tree() -> None:
    """The tree in the docstring of `errors` holds every error, and each has its answer."""
    classes = {
        value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    drawn = set(re.findall(r"[A-Z]\w+", "\n".join(line[:36] for line in (errors.__doc__ or "").splitlines()[2:])))
    assert {cls.__name__ for cls in classes} <= drawn
    assert classes <= set(problems.TABLE)


@pytest.mark.parametrize("name", cache_control.JSON_MEMBERS)
def test_every_directive_is_documented(name: str) -> None:
    """Both as a header's directive and as a member of `/v1/generate`'s `cache`."""
    if name != "tags":
        assert f"`{name.replace('_', '-')}" in _reference("http")
    assert f"`{name}`" in _reference("http")


def _routes() -> list[str]:
    """`METHOD /path` of everything that is served."""
    service = SimpleNamespace(settings=Settings(), admin_token=SecretStr("not used"), tracing=None)
    document = build_document(create_app(cast("Service", service)).routes, version="0", anonymous=True)
    return sorted(f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods)


@pytest.mark.parametrize("route", _routes())
def test_every_route_is_documented(route: str) -> None:
    """Whoever reads the page knows all there is to call."""
    assert f"`{route}`" in _reference("http")


def _commands() -> dict[str, list[str]]:
    """The options of every command, by the command's whole name."""
    found = {}
    unseen = [("", typer.main.get_command(app))]
    while unseen:
        name, command = unseen.pop()
        if isinstance(command, typer.core.TyperGroup):
            unseen += [(f"{name} {sub}".strip(), child) for sub, child in command.commands.items()]
        else:
            options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
            found[name] = [spelling for option in options for spelling in option.opts]
    return found


@pytest.mark.parametrize(("command", "options"), _commands().items(), ids=_commands())
def test_every_command_and_option_is_documented(command: str, options: list[str]) -> None:
    """Each command has its section; options that all share are at the top of the page."""
    top, *sections = re.split(r"^## ", _reference("commands"), flags=re.MULTILINE)
    text = next(section for section in sections if re.match(rf"`{command}\b", section))
    assert not [option for option in options if f"`{option}`" not in text + top and option != "--help"]


def test_every_exit_code_is_documented() -> None:
    """What a script may test for is on the page, with the same numbers as in the code."""
    page = _reference("exit-codes")
    codes = re.findall(r"(\d+) [a-z]", (cli.__doc__ or "").split("Exit codes:")[1])
    assert codes
    assert not [code for code in codes if f"\n| {code} |" not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository has a file at its end."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    dead = [link for link in links if link and not (page.parent / link).exists()]
    assert not dead


def test_the_index_leads_to_every_page() -> None:
    """No page is only found by chance; decision records are reached through their folder."""
    index = (DOCS / "index.md").read_text("utf-8")
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"index.md"}
    assert not {page for page in pages if f"]({page})" not in index and not page.startswith("adr/")}


@pytest.mark.parametrize("record", sorted((DOCS / "adr").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_record_is_a_page_with_four_parts(record: Path) -> None:
    """Context, options, choice and price, in that order, on one page."""
    text = record.read_text("utf-8")
    assert re.findall(r"^\*\*(\w+)", text, re.MULTILINE) == ["Context", "Options", "Choice", "Price"]
    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert len(text.splitlines()) <= 50


def test_decision_records_are_numbered_one_after_the_other() -> None:
    """A number names one of them."""
    numbers = sorted(int(record.name[:4]) for record in (DOCS / "adr").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_glossary_is_in_order_and_every_term_has_a_meaning() -> None:
    """A term is found where one looks for it."""
    rows = re.findall(r"^\| (.+?) \| (.*?) \| .*\|$", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)[2:]
    terms = [term.casefold() for term, _ in rows]
    assert terms == sorted(terms)
    assert all(meaning for _, meaning in rows)


def test_the_readme_is_short() -> None:
    """Not much over a hundred lines: what it is, one command, one request, how right and how fast it is, where to go on."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130
