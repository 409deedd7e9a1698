"""Files of other projects: their tensors are read, whatever they lie in, and nothing else."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from diffusion.importing.errors import ForeignError
from diffusion.importing.reading import read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(2)}


class Trap:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


def test_a_state_dict_is_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "x.pt")
    assert same(read_tensors(tmp_path / "x.pt"), TENSORS)


def test_a_state_dict_of_an_old_torch_is_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert same(read_tensors(tmp_path / "x.pt"), TENSORS)


def test_a_safetensors_file_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    assert same(read_tensors(tmp_path / "x.safetensors"), TENSORS)


def test_the_names_of_nested_tensors_have_all_keys(tmp_path: Path) -> None:
    weight = TENSORS["a.weight"]
    parameter = nn.Parameter(TENSORS["b.bias"])
    torch.save({"step": 3, "ema": {"net.a": weight, "on": True}, "l": [weight, None, parameter]},
               tmp_path / "x.pt")  # fmt: skip
    expected = {"ema.net.a": weight, "l.0": weight, "l.2": parameter}
    assert same(read_tensors(tmp_path / "x.pt"), expected)


def nowhere(_: Path) -> None:
    pass


def a_folder(path: Path) -> None:
    path.mkdir()


def no_tensors(path: Path) -> None:
    torch.save({"step": 3, "name": "x"}, path)


def a_text(path: Path) -> None:
    path.write_text("not weights at all")


def an_empty_file(path: Path) -> None:
    path.touch()


def half_a_file(path: Path) -> None:
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-200])


def a_whole_module(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def code(path: Path) -> None:
    torch.save({**TENSORS, "args": Trap(path.with_name("trace"))}, path)


def old_code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"args": Trap(path.with_name("trace"))}))


def a_program(path: Path) -> None:
    repacked(path, {"x/constants.pkl": b"", "x/code/x.py": b""})


def repacked(path: Path, more: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a file of torch.save again, with other records."""
    torch.save(TENSORS, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**records, **more}.items():
            archive.writestr(name, content)


def a_compressed_archive(path: Path) -> None:
    repacked(path, {"x/data/9": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)


def a_long_pickle(path: Path) -> None:
    repacked(path, {"x/data.pkl": bytes(70_000_000)})


def a_tar_of_old(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def a_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 143\n")


def a_page(path: Path) -> None:
    path.write_text("<html><head><title>Google Drive - Virus scan warning</title></head></html>")


def a_tensor_of_one_number_in_many_places(path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1_000_000, 1_000_000)}, path)


def a_list_in_itself(path: Path) -> None:
    endless: list[Any] = [torch.ones(1)]
    endless.append(endless)
    torch.save(endless, path)


def lists_of_lists(path: Path) -> None:
    many: list[Any] = []
    for _ in range(7):
        many = [many] * 100
    torch.save(many, path)


REFUSED = {
    nowhere: "no such file",
    a_folder: "not a regular file",
    no_tensors: "no tensors are in it; it must be a state dict of torch.save",
    a_text: "not a whole file of torch.save",
    an_empty_file: "not a whole file of torch.save",
    half_a_file: "not a whole zip archive of torch.save",
    a_whole_module: "it holds more than tensors: torch.nn.modules.linear.Linear. That could run",
    code: "it holds more than tensors: getattr. That could run code",
    old_code: "not a whole file of torch.save",
    a_program: "a TorchScript program, not a state dict; save its state_dict() instead",
    a_compressed_archive: "is compressed, as torch.save never does",
    a_long_pickle: "x/data.pkl has 70000000 bytes, more than",
    a_tar_of_old: "the tar format of PyTorch before 0.1.10, which is not read",
    a_pointer: "a pointer of Git LFS, which only stands for the file",
    a_page: "a web page, not the file",
    a_tensor_of_one_number_in_many_places: "up to tensor a its tensors would take more than the",
    a_list_in_itself: "more than 8 levels",
    lists_of_lists: "more than 1000000 values",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_other_files_are_refused_with_the_reason(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(ForeignError) as raised:
        read_tensors(path)
    assert REFUSED[make] in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")
    assert not (tmp_path / "trace").exists()


def test_a_safetensors_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save_file(TENSORS, path)
    assert read_tensors(path).keys() == TENSORS.keys()


def test_half_a_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ForeignError, match="not a whole safetensors file"):
        read_tensors(path)
