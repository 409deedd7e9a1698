"""The wheel has everything that an installation needs, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from diffusion.folders import MODELS
from tests.wheel import build

ROOT = Path(__file__).parent.parent
MAX_BYTES = 50_000_000
"""It is 35 MB, of which the network for cifar10 is 25."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel but those that describe it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files(tree: str) -> set[str]:
    """The files of a tree of the repository, by their paths in it."""
    paths = (path for path in (ROOT / tree).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}


def test_every_file_of_the_packages_and_every_model_is_in_it(names: set[str]) -> None:
    models = {f"diffusion/{path}" for path in files("models")}
    assert names == files("app") | files("diffusion") | models


@pytest.mark.parametrize(
    "name",
    [
        "app/playground/index.html",
        "app/playground/main.js",
        "app/jobs/migrations/script.py.mako",
        "app/jobs/migrations/versions/0001_jobs.py",
        "app/py.typed",
        "diffusion/py.typed",
        "diffusion/models/mnist/unet/diffusion_pytorch_model.safetensors",
        "diffusion/models/cifar10/model_card.json",
        "diffusion/models/mnist-classifier/classifier.safetensors",
    ],
)
def test_what_no_import_would_miss_is_in_it(names: set[str], name: str) -> None:
    assert name in names


@pytest.mark.slow
def test_the_models_are_where_an_installed_package_looks(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("diffusion/__init__.py", tmp_path)
        archive.extract("diffusion/folders.py", tmp_path)
        archive.extract("diffusion/models/mnist/model_index.json", tmp_path)
    check = "from diffusion.folders import MODELS; print(*sorted(p.name for p in MODELS.iterdir()))"
    shown = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "mnist\n"
    assert MODELS == ROOT / "models", "and those of a checkout are beside the package"


@pytest.mark.slow
def test_it_is_small_enough_to_be_published(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_BYTES
