"""The console in a real browser: each page, the main flows, with the keyboard alone, and nothing that axe objects to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.conftest import Server

PAGES = {
    "overview": "Overview", "requests": "Requests", "gallery": "Gallery", "entries": "Entries", "keys": "Keys and pools",
    "playground": "Playground", "thresholds": "Thresholds", "purge": "Purge", "alerts": "Alerts", "audit": "Audit log",
    "settings": "Settings",
}  # fmt: skip
FOX, SAME, OTHER = "A red fox in the snow", "a red fox in the snow!", "Two red foxes in the snow"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests here, with an exact hit, a semantic hit, and a miss that the verifier asked for."""
    settings = {"profile": "verified", "log_level": "warning"}
    server = Server(tmp_path_factory.mktemp("console") / "data", settings).start()
    with server.client() as client:
        for prompt in (FOX, FOX, SAME, OTHER):
            client.post("/v1/images/generations", json={"prompt": prompt, "model": "gpt-image-2"}).raise_for_status()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Debian's wrapper script asks the processor for features, which not every sandbox lets it
    binary = "/usr/lib/chromium/chromium" if Path("/usr/lib/chromium/chromium").exists() else shutil.which("chromium")
    assert binary is not None, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, service: Server) -> Iterator[Page]:
    """Logged in; a page that breaks the policy, or a script that fails, fails the test."""
    context = browser.new_context(base_url=service.url, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
    foreign: list[str] = []
    opened.on(
        "request", lambda asked: foreign.append(asked.url) if not asked.url.startswith((service.url, "data:")) else None
    )
    opened.goto("/")
    log_in(opened, service)
    yield opened
    context.close()
    assert not wrong
    assert not foreign


def log_in(page: Page, service: Server) -> None:
    page.get_by_label("Admin token or key").fill((service.data_dir / "admin-token").read_text().strip())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


def visit(page: Page, name: str) -> None:
    page.goto(f"/#/{name}")
    page.locator("[aria-busy]").wait_for(state="detached")


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:100] for node in one['nodes'][:2]]}" for one in found]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_every_page_is_accessible_and_fits(page: Page, scheme: str, width: int) -> None:
    """In light, in dark, and on a phone: no violation of axe's rules, nothing that scrolls sideways, a heading of its own."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 844})
    for name, title in PAGES.items():
        visit(page, name)
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_login_and_logout(browser: Browser, service: Server) -> None:
    """Nothing is shown before; a wrong token says so; after the logout the same page asks again."""
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    page.goto("/#/audit")
    expect(page.get_by_role("navigation")).to_be_hidden()
    assert violations(page) == []
    page.get_by_label("Admin token or key").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("neither")
    page.get_by_label("Admin token or key").fill((service.data_dir / "admin-token").read_text().strip())
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    expect(page.get_by_role("cell", name="login").first).to_be_visible()
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Admin token or key")).to_be_visible()
    context.close()


def test_why_a_hit_was_one_and_a_thumb_down(page: Page) -> None:
    """Prompt and match side by side, the words that differ marked; feedback acts at once, and is on record."""
    visit(page, "requests?decision=hit")
    page.get_by_role("row").filter(has_text="semantic hit").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Answered by")).to_be_visible()
    expect(page.locator("mark").first).to_have_text("!")
    page.get_by_role("button", name="This hit was wrong").click()
    expect(page.get_by_role("status").filter(has_text="not served any more")).to_be_visible()
    assert violations(page) == []
    visit(page, "alerts")
    page.get_by_role("button", name=re.compile("Take back")).first.click()
    visit(page, "audit")
    expect(page.get_by_role("cell", name="feedback.wrong").first).to_be_visible()


def test_why_a_miss_was_one(page: Page) -> None:
    """The nearest prompt that the verifier kept from answering, its reason, and the steps."""
    visit(page, "requests?decision=miss")
    page.get_by_role("row").filter(has_text=OTHER).get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Nearest, but kept from answering")).to_be_visible()
    assert set(page.locator("mark").all_text_contents()) == {"Two", "foxes", "A", "fox"}
    expect(page.get_by_role("row", name=re.compile("7 generate"))).to_contain_text("s")


def test_the_playground_leads_to_a_hit_without_a_mouse(page: Page) -> None:
    """The second time the same prompt is a hit; tab and enter are enough."""
    visit(page, "playground")
    for decision in ("miss", "exact hit"):
        page.get_by_label("Prompt").fill("A quiet harbour at night")
        page.get_by_label("Prompt").focus()
        for _ in range(4):
            page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Send")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main .badge").first).to_have_text(decision)
    expect(page.get_by_role("img", name=re.compile("Picture 1 of"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("7 generate"))).to_contain_text("not reached")
    assert violations(page) == []


def test_pictures_lead_to_similar_ones(page: Page) -> None:
    visit(page, "gallery")
    page.get_by_role("link").filter(has_text=FOX).first.click()
    expect(page.get_by_role("img", name=re.compile("Output 1 of"))).to_be_visible()
    assert page.get_by_role("img", name=re.compile("Output 1 of")).evaluate("picture => picture.naturalWidth") > 0
    expect(page.get_by_role("heading", name="Similar entries")).to_be_visible()
    assert violations(page) == []


def test_entries_are_found_by_words(page: Page) -> None:
    visit(page, "entries")
    page.get_by_label("Words").fill("tw*")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("1 entries")
    expect(page.get_by_role("cell", name=OTHER)).to_be_visible()


def test_a_purge_counts_first(page: Page) -> None:
    """What is counted goes, and nothing else; the question can be answered with no."""
    visit(page, "playground")
    page.get_by_label("Prompt").fill("Something to be forgotten")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#main .badge").first).to_have_text("miss")
    visit(page, "purge")
    page.get_by_label("This very prompt").fill("Something to be forgotten")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("1 entry would go.")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete 1 entry").click()
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("1 entry would go.")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete 1 entry").click()
    expect(page.get_by_text("1 entry is gone.")).to_be_visible()
    page.get_by_label("This very prompt").fill("")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("name what to purge")).to_be_visible()


def test_a_key_is_made_shown_once_and_revoked(page: Page, service: Server) -> None:
    visit(page, "keys")
    page.get_by_label("Name", exact=True).fill("dashboard")
    page.get_by_label("Role").select_option("viewer")
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("pre").inner_text()
    assert secret.startswith("cs-")
    with service.client(headers={"authorization": f"Bearer {secret}"}) as viewer:
        assert viewer.get("/admin/stats").status_code == 200
        assert violations(page) == []
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Revoke dashboard").click()
        expect(page.get_by_text(re.compile("^revoked "))).to_be_visible()
        assert viewer.get("/admin/stats").status_code == 401
    page.reload()
    expect(page.get_by_role("heading", name="Keys made here")).to_be_visible()
    assert secret not in page.content()


def test_another_threshold_says_what_it_would_change(page: Page) -> None:
    visit(page, "thresholds")
    slider = page.get_by_role("slider", name="Threshold")
    slider.focus()
    slider.press("End")
    expect(page.get_by_role("status").filter(has_text=re.compile("becomes? "))).to_contain_text("At 1.000")


def test_labelled_pairs_show_true_and_false_hits_by_threshold(page: Page, service: Server, tmp_path: Path) -> None:
    """Those of a file, and a near miss that was judged on its page."""
    with service.client() as client:
        asked = {"prompt": "Three red foxes in the snow", "model": "gpt-image-2"}
        near = client.post("/v1/images/generations", json=asked).raise_for_status().headers["x-request-id"]
    visit(page, f"requests/{near}")
    page.get_by_role("button", name="Rightly kept apart").click()
    page.get_by_role("link", name="threshold explorer").click()
    expect(page.get_by_text("0 of 0 same pairs would be hits, and 0 of 1 different ones")).to_be_visible()
    file = tmp_path / "pairs.jsonl"
    file.write_text(f'{{"a": "{FOX}", "b": "{SAME}", "same": true}}\n{{"a": "{FOX}", "b": "{OTHER}", "same": null}}\n')
    page.get_by_label("File of pairs").set_input_files(file)
    expect(page.get_by_text("1 of 1 same pairs would be hits, and 0 of 1 different ones")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("slider", name="Threshold").press("End")
    expect(page.get_by_text("At 1.000: 0 of 1 same pairs")).to_be_visible()
    file.write_text("no JSON\n")
    page.get_by_label("File of pairs").set_input_files(file)
    expect(page.get_by_text("Line 1 is no")).to_be_visible()


def test_the_first_page_says_what_to_do(page: Page) -> None:
    """While only the simulator is there: what it is, and the first request to copy."""
    expect(page.get_by_role("heading", name="The built-in simulator answers")).to_be_visible()
    expect(page.get_by_text("/v1/images/generations")).to_be_visible()
    for chart in page.locator(".charts img").all():
        assert chart.get_attribute("alt")
        chart.scroll_into_view_if_needed()
        assert chart.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 0


def test_a_prompt_is_never_markup(page: Page, service: Server) -> None:
    """Whatever a client sends is shown as text."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> cat"
    with service.client() as client:
        client.post("/v1/images/generations", json={"prompt": evil, "model": "gpt-image-2"}).raise_for_status()
    for name in ("requests", "entries", "gallery"):
        visit(page, name)
        expect(page.get_by_text("onerror").first).to_be_visible()
        assert "owned" not in page.title()
