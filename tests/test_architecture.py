"""Imports go one way, and the light parts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "diffusion": {"app", "fastapi", "starlette", "pydantic", "uvicorn"},
    "app/engine/scheduler.py": {"torch", "asyncio", "threading", "time", "diffusion", "fastapi"},
    "app/engine": {"fastapi", "starlette", "uvicorn", "pydantic"},
    "app/routes": {"torch", "diffusion"},
    "app/client": {"torch", "fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy"},
    "diffusion/unet.py": {"diffusers"},
}
UNPICKLERS = {"pickle", "cPickle", "dill", "joblib", "shelve"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def sources(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_go_one_way(place: str) -> None:
    assert sources(place), f"{place} has moved"
    for path in sources(place):
        assert not FORBIDDEN[place] & set(imported(path)), path


@pytest.mark.parametrize("path", sources("diffusion") + sources("app"), ids=str)
def test_nothing_unpickles(path: Path) -> None:
    assert not UNPICKLERS & set(imported(path))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "load":
            assert not (isinstance(node.value, ast.Name) and node.value.id == "torch"), path


@pytest.mark.parametrize("module", ["app.main", "app.engine.scheduler", "diffusion.pixels"])
def test_the_api_process_does_not_load_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0


def test_the_client_loads_nothing_of_the_server_or_of_torch() -> None:
    check = "import sys, app.client; print(*sys.modules)"
    command = [sys.executable, "-c", check]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {name for name in loaded.split() if name.split(".")[0] in ("app", "diffusion")}
    others = {name for name in ours if not name.startswith("app.client")}
    assert others == {"app", "diffusion", "diffusion.pixels"}
    assert not {"torch", "fastapi", "pydantic", "uvicorn"} & set(loaded.split())
