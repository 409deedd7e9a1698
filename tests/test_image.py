"""The image: all that is in it is pinned. How it is run: tests/deploy."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion import __version__
from tests.lock import BLOCK, CPU_BUILDS, with_cpu_builds

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = sorted((ROOT / "deploy").glob("requirements*.txt"))


def name_of(requirement: str) -> str:
    """The name of a package, as indexes compare it."""
    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def requirements(path: Path) -> Iterator[str]:
    text = "".join(f"{line}\n" for line in path.read_text().splitlines() if line[0] not in "#-")
    yield from BLOCK.findall(text)


def commands() -> list[str]:
    """The commands of the Dockerfile's RUN lines."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    runs = re.findall(r"^RUN (.*)$", joined, re.MULTILINE)
    return [command for run in runs for command in re.split(r"&&|\|\|", run)]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_file_that_is_installed_has_a_known_hash(path: Path) -> None:
    found = list(requirements(path))
    assert found
    for requirement in found:
        first, *hashes = requirement.rstrip().split(" \\\n    ")
        assert re.match(r"[\w.-]+==[\w.]+( ; .*)?$", first)
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)


def test_the_locks_name_no_index() -> None:
    assert not [path for path in LOCKS if "://" in path.read_text()]


def test_the_image_has_the_versions_that_the_tests_ran_with() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    tested = {name_of(line): line.partition("==")[2] for line in lines}
    for path in LOCKS:
        for requirement in requirements(path):
            version = requirement.partition("==")[2].split()[0]
            assert tested.get(name_of(requirement), version) == version, requirement.split()[0]


def test_the_image_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"]
    wanted += [*extras["openvino"], *extras["hub"], *extras["postgres"]]
    locked = set(map(name_of, requirements(ROOT / "deploy" / "requirements.txt")))
    assert set(map(name_of, wanted)) <= locked


def test_the_builds_of_torch_for_cpus_have_their_hashes_beside_the_others() -> None:
    (torch,) = (r for r in requirements(ROOT / "deploy/requirements.txt") if name_of(r) == "torch")
    for version, hashes in CPU_BUILDS.items():
        assert torch.startswith(f"torch=={version} ")
        assert all(one in torch for one in hashes)


def test_a_torch_whose_builds_for_cpus_are_not_known_is_not_locked() -> None:
    assert with_cpu_builds("tqdm==4.70.1 \\\n    --hash=sha256:0\n").count("--hash") == 1
    with pytest.raises(KeyError, match="0.0.1"):
        with_cpu_builds("torch==0.0.1 \\\n    --hash=sha256:0\n")


def test_the_base_image_is_pinned_by_its_digest() -> None:
    assert re.search(r"^ARG BASE=[\w.:/-]+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    assert {origin for origin, _ in stages} - {name for _, name in stages} == {"${BASE}"}


def test_without_a_target_the_image_is_that_for_cpus() -> None:
    assert DOCKERFILE.rstrip().endswith("\nFROM cpu")


def test_each_target_has_its_packages() -> None:
    """A stage's packages are those of the stages that it begins with, and its own."""
    begins: dict[str, str] = {}
    own: dict[str, list[str]] = {}
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        origin, name = re.match(r"(\S+)(?: AS (\S+))?", stage).groups()
        begins[name], own[name] = origin, re.findall(r"-r (requirements\S+)", stage)
    for target, last in (("cpu", ""), ("gpu", "-cuda"), ("ray", "-ray")):
        assert f"AS {target}\nCOPY --from=installed-{target} /venv /venv" in DOCKERFILE
        name = f"installed-{target}"
        found: list[str] = []
        while name in begins:
            found, name = [*own[name], *found], begins[name]
        assert found[-1] == f"requirements{last}.txt"
        assert target == "gpu" or found[0] == "requirements.txt"


def test_the_labels_name_this_version() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE


def test_the_image_lists_its_parts() -> None:
    listed = [command for command in commands() if "cyclonedx-py environment" in command]
    assert len(listed) == 3 and all("--output-file /venv/sbom.json" in each for each in listed)


def test_nothing_is_installed_whose_hash_is_not_checked() -> None:
    installs = [command for command in commands() if "pip install" in command]
    assert len(installs) == 7
    for command in installs:
        assert "--require-hashes" in command or "--no-index --no-deps" in command


def test_the_server_is_an_ordinary_user() -> None:
    assert re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE)[-1] == "ddpm"
    assert "DDPM_INSECURE" not in DOCKERFILE, "who runs the image by hand decides that"


def test_the_build_gets_the_files_that_it_copies() -> None:
    allowed = {line.lstrip("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert {source.split("/")[0] for line in copied for source in line.split()} <= allowed
