"""A headless Chromium, and servers with tiny models for the page to talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from tests.app.playground.pages import DAMAGED, KEY, LIMITS, refuse  # noqa: E402
from tests.browser import FLAGS, find_chromium  # noqa: E402

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")  # Playwright's event loop must not outlive the module
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            pytest.skip("no Chromium found: `make test-browser` installs one and runs these tests")
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labels, and one of them makes the network's output NaN."""
    folder = save_tiny(tmp_path_factory.mktemp("page") / "tiny", num_classes=4, null_label=True)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["class_embedding.weight"][DAMAGED] = 3e38
    save_file(tensors, weights)
    return folder


@pytest.fixture(scope="session")
def tiny(server_for: ServerFor, checkpoint: Path) -> Server:
    return server_for(f"--checkpoint={checkpoint}", *LIMITS, engine=REAL)


@pytest.fixture(scope="session")
def keyed(server_for: ServerFor, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Needs a key, keeps 60 samples of its holder, and takes seconds for them."""
    tiny = save_tiny(tmp_path_factory.mktemp("keyed") / "tiny", num_timesteps=1000)
    server = server_for(f"--checkpoint={tiny}", "--max-client-samples=60", keys=KEY)
    server.client.headers["Authorization"] = f"Bearer {KEY}"
    return server


@pytest.fixture
def errors() -> list[str]:
    """What the browser's console complains of; a test that expects some takes them away."""
    return []


@pytest.fixture
def page(browser: Browser, errors: list[str]) -> Iterator[Page]:
    """A fresh page that may reach this machine only."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.route(lambda url: not url.startswith("http://127.0.0.1"), refuse)
    tab = context.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    yield tab
    context.close()
    assert errors == []
