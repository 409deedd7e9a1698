"""Packages import in one direction, and the light parts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CORE = "diffusion"
"""The science's modules that are in no package of their own."""

MAY_IMPORT: dict[str, set[str]] = {
    # the service
    "app.cli": {
        "app.client", "app.cluster", "app.door", "app.flags", "app.serve", "app.settings", CORE,
        "diffusion.cli",
    },
    "app.cluster": {
        "app.address", "app.environment", "app.local_engines", "app.logs", "app.main", "app.pool",
        "app.serve", "app.settings", "app.tasks", "app.tls", "app.wire", CORE,
    },
    "app.serve": {
        "app.address", "app.door", "app.environment", "app.http", "app.local_engines", "app.logs",
        "app.main", "app.pool", "app.settings", "app.tasks", "app.tls", CORE,
    },
    "app.main": {
        "app.door", "app.generation", "app.http", "app.jobs", "app.local_engines", "app.pool",
        "app.routes", "app.settings", "app.wire", CORE,
    },
    "app.local_engines": {"app.pool", "app.settings", "app.wire"},
    "app.flags": {"app.environment", "app.settings"},
    "app.health": {"app.address", "app.settings"},
    "app.address": {"app.settings"},
    "app.tls": {"app.settings", "app.small_file"},
    "app.routes": {
        "app.door", "app.generation", "app.http", "app.jobs", "app.pool", "app.settings",
        "app.wire",
    },
    "app.door": {"app.http", "app.settings", "app.small_file"},
    "app.http": set(),
    "app.jobs": {"app.generation", "app.pool", "app.settings", "app.tasks", "app.wire", CORE},
    "app.generation": {"app.settings", "app.wire", CORE, "diffusion.data"},
    "app.pool": {"app.tasks", "app.wire", CORE},
    "app.engine": {"app.logs", "app.wire", CORE, "diffusion.openvino"},
    "app.wire": {CORE},
    "app.small_file": set(),
    "app.client": {CORE, "diffusion.data"},
    "app.settings": {"app.environment", CORE},
    "app.environment": set(),
    "app.logs": set(),
    "app.tasks": set(),
    # the science
    "diffusion.cli": {CORE, "diffusion.commands", "diffusion.importing", "diffusion.training"},
    "diffusion.commands": {
        CORE, "diffusion.data", "diffusion.evaluation", "diffusion.importing", "diffusion.sampling",
        "diffusion.training", "diffusion.tuning",
    },
    "diffusion.importing": {CORE},
    "diffusion.tuning": {CORE, "diffusion.sampling"},
    "diffusion.evaluation": {CORE, "diffusion.data", "diffusion.sampling", "diffusion.training"},
    "diffusion.training": {CORE, "diffusion.data"},
    "diffusion.sampling": {CORE, "diffusion.openvino"},
    "diffusion.openvino": {CORE},
    "diffusion.data": {CORE},
    CORE: set(),
}  # fmt: skip
"""Each package, and those that it may import besides itself. A line lower down imports nothing from
a line higher up of the same tree."""

LIGHT_MODULES = {
    "app/wire/messages.py": {
        "app.wire.bound",
        "app.wire.model_info",
        "app.wire.starts",
        "diffusion.config",
        "diffusion.spacing",
    },
    "app/wire/model_info.py": {"diffusion.config"},
    "app/wire/bound.py": set(),
    "app/wire/starts.py": set(),
    "app/settings/__init__.py": {
        "app.environment",
        "app.settings.cluster",
        "app.settings.models",
        "app.settings.security",
        "app.settings.server",
        "app.settings.values",
        "diffusion.cores",
    },
    "app/settings/models.py": {
        "app.settings.values",
        "diffusion.config",
        "diffusion.folders",
        "diffusion.sources.hub_files",
        "diffusion.sources.hub_id",
    },
    "app/settings/cluster.py": {"app.settings.values"},
    "app/settings/security.py": {"app.settings.values"},
    "app/settings/server.py": {"app.settings.values"},
    "app/settings/values.py": set(),
    "app/environment.py": set(),
    "app/pool/errors.py": set(),
    "app/generation/errors.py": set(),
    "app/jobs/errors.py": set(),
}
"""Modules that everybody may import, and all that they import of ours."""

FORBIDDEN_LIBRARIES = {
    "diffusion": {"fastapi", "starlette", "pydantic", "uvicorn"},
    "app/engine/scheduler.py": {"torch", "asyncio", "threading", "time", "diffusion"},
    "app/engine/line.py": {"torch", "asyncio", "threading", "time", "diffusion"},
    "app/engine": {"fastapi", "starlette", "uvicorn", "pydantic"},
    "app/pool": {"torch", "fastapi", "starlette", "pydantic"},
    "app/generation": {"torch", "fastapi", "starlette"},
    "app/jobs": {"torch", "fastapi", "starlette"},
    "app/routes": {"torch", "diffusion", "sqlalchemy"},
    "app/client": {"torch", "fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy"},
    "app/settings": {"sqlalchemy", "fsspec", "torch"},
    "diffusion/unet.py": {"diffusers"},
    "diffusion/unet_blocks.py": {"diffusers"},
    "diffusion/unet_fit.py": {"diffusers", "torch"},
    "diffusion/unet_plan.py": {"diffusers", "torch"},
}
UNPICKLERS = {"pickle", "cPickle", "dill", "joblib", "shelve"}
READS_PICKLES = "diffusion/importing/reading.py"
"""The one module that reads pickles, by PyTorch's restricted unpickler."""


def sources(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The names that a module imports, each as long as it can be: a module of ours, not its
    package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield longer if is_ours(longer) else node.module


def is_ours(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def package(name: str) -> str:
    """The line of MAY_IMPORT to which a module belongs."""
    parts = name.split(".")
    while parts and ".".join(parts) not in MAY_IMPORT:
        parts.pop()
    return ".".join(parts)


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] in ("app", "diffusion")}


def modules() -> list[Path]:
    empty = {ROOT / "app" / "__init__.py", ROOT / "diffusion" / "__main__.py"}
    return [path for path in sources("app") + sources("diffusion") if path not in empty]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_what_the_table_allows(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    mine = package(name)
    assert mine, f"{name} has no line in the table"
    others = {package(other) for other in ours(path)} - {mine}
    assert others <= MAY_IMPORT[mine]


def test_the_table_goes_one_way() -> None:
    order = {name: place for place, name in enumerate(MAY_IMPORT)}
    for name, others in MAY_IMPORT.items():
        same_tree = {other for other in others if other.split(".")[0] == name.split(".")[0]}
        upwards = {other for other in same_tree if order[other] <= order[name]}
        assert not upwards, name


def test_the_table_has_no_line_that_nothing_needs() -> None:
    used: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for path in modules():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        used[package(name)] |= {package(other) for other in ours(path)} - {package(name)}
    assert used == MAY_IMPORT


@pytest.mark.parametrize("place", LIGHT_MODULES)
def test_what_everybody_imports_imports_next_to_nothing(place: str) -> None:
    assert ours(ROOT / place) <= LIGHT_MODULES[place]


@pytest.mark.parametrize("place", FORBIDDEN_LIBRARIES)
def test_a_package_keeps_to_its_subject(place: str) -> None:
    assert sources(place), f"{place} has moved"
    for path in sources(place):
        libraries = {name.split(".")[0] for name in imported(path)}
        assert not FORBIDDEN_LIBRARIES[place] & libraries, path


@pytest.mark.parametrize("path", sources("diffusion") + sources("app"), ids=str)
def test_nothing_unpickles(path: Path) -> None:
    assert not UNPICKLERS & {name.split(".")[0] for name in imported(path)}
    if path != ROOT / READS_PICKLES:
        assert not torch_loads(path)


def torch_loads(path: Path) -> list[ast.Call]:
    """The calls of torch.load in a module; fails where that is used without being called."""
    calls, uses = [], 0
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and is_torch_load(node.func):
            calls.append(node)
        uses += is_torch_load(node)
    assert uses == len(calls), path
    return calls


def is_torch_load(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr != "load":
        return False
    return isinstance(node.value, ast.Name) and node.value.id == "torch"


def test_the_import_alone_reads_pickles_and_of_them_tensors_alone() -> None:
    (call,) = torch_loads(ROOT / READS_PICKLES)
    flags = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    assert flags["weights_only"] is True
    module = READS_PICKLES.removesuffix(".py").replace("/", ".")
    readers = {path.relative_to(ROOT).as_posix() for path in modules() if module in ours(path)}
    assert readers == {
        "diffusion/commands/features.py", "diffusion/commands/import_checkpoint.py"
    }  # fmt: skip


@pytest.mark.parametrize(
    "module", ["app.main", "app.engine.scheduler", "app.pool.pool", "diffusion.pixels"]
)
def test_the_api_process_does_not_load_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0


def test_the_client_loads_nothing_of_the_server_or_of_torch() -> None:
    check = "import sys, app.client; print(*sys.modules)"
    command = [sys.executable, "-c", check]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in loaded.split() if name.split(".")[0] in ("app", "diffusion")}
    others = {name for name in names if not name.startswith("app.client")}
    assert others == {"app", "diffusion", "diffusion.pixels"}
    assert not {"torch", "fastapi", "pydantic", "uvicorn"} & set(loaded.split())
