"""GET /docs: a page that runs no script but its own."""

import asyncio
import base64
import hashlib
import re

import httpx
import pytest

from app.main import create_app
from app.routes.docs import policy
from app.settings import Settings
from tests.app.server import Server
from tests.conftest import ServerFor

KEY = "the key of this server"


def get(root_path: str = "") -> httpx.Response:
    app = create_app(Settings(root_path=root_path), on_unusable=print)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(f"{root_path}/docs")

    return asyncio.run(ask())


@pytest.mark.parametrize("root_path", ["", "/lab"])
def test_its_policy_knows_its_script_by_its_hash(root_path: str) -> None:
    answer = get(root_path)
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    csp = answer.headers["content-security-policy"]
    assert f"script-src 'self' 'sha256-{hashed}';" in csp
    assert "default-src 'none'" in csp and "http" not in csp and "eval" not in csp
    assert f"{root_path}/static-offline-docs/swagger-ui.css" in answer.text


def test_another_script_has_another_hash() -> None:
    assert policy("<script>a</script>") != policy("<script>b</script>")
    assert "sha256" not in policy("<p>no script</p>")


@pytest.fixture(scope="module")
def protected(server_for: ServerFor) -> Server:
    return server_for("--protect=docs,page,model,metrics", keys=KEY)


@pytest.mark.slow
def test_behind_a_key_it_works_in_a_browser_which_asks_for_the_key(
    protected: Server,
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from tests.browser import FLAGS, find_chromium

    with sync_api.sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            pytest.skip("no Chromium found: `make test-browser` installs one")
        with playwright.chromium.launch(executable_path=path, args=list(FLAGS)) as browser:
            with pytest.raises(sync_api.Error, match="INVALID_AUTH_CREDENTIALS"):
                browser.new_page().goto(f"{protected.url}/docs")
            credentials = {"username": "anybody", "password": KEY}
            page = browser.new_context(http_credentials=credentials).new_page()
            failed: list[str] = []
            page.on("pageerror", lambda error: failed.append(str(error)))
            page.on("console", lambda line: failed.append(line.text) if line.type == "error" else 0)
            page.goto(f"{protected.url}/docs")
            shown = sync_api.expect(page.locator("#operations-generation-sample"))
            shown.to_be_visible(timeout=60_000)
            assert failed == []
            page.goto(f"{protected.url}/?n=2&steps=2")
            page.locator("#key").fill(KEY)
            page.locator("#run").click()
            tiles = sync_api.expect(page.locator("#tiles img"))
            tiles.to_have_count(2, timeout=60_000)
            state = sync_api.expect(page.locator("#state-now"))
            state.to_have_text("Metricsneed an admin's key")
