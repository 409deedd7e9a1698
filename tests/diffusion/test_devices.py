"""Which device is picked by name, and how a machine is named."""

import os
import platform

import pytest
import torch

from diffusion.devices import (
    DeviceError,
    describe_machine,
    describe_processor,
    has_bfloat16,
    pick_device,
    total_memory,
)


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(
    has_gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert pick_device("auto") == torch.device(device)


def test_a_device_is_picked_by_its_name() -> None:
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device: '{name}' cannot be used: "):
        pick_device(name)


def test_a_machine_is_named_by_its_kind_and_cores_and_the_gpu_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert describe_machine(torch.device("cpu")) == "x86_64, 16 cores"
    assert describe_machine(torch.device("cuda:1")) == "x86_64, 16 cores, GPU 1"


def test_the_memory_of_this_machine_is_known_where_the_system_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert total_memory(torch.device("cpu")) == 4_096_000
    monkeypatch.delattr(os, "sysconf")
    assert total_memory(torch.device("cpu")) is None


def test_the_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 80 * 10**9

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert total_memory(torch.device("cuda:0")) == 80 * 10**9


def test_a_processor_is_told_from_one_that_can_do_other_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = (
        "processor\t: 0\nmodel name\t: Fast\ncpu MHz\t\t: 2000\nflags\t\t: avx2\n\nprocessor\t: 1\n"
    )
    others = [
        info,
        info.replace("2000", "3000"),  # the same at another moment
        info.replace("Fast", "Slow"),
        info.replace("avx2", "avx2 amx"),
    ]
    described = []
    for text in others:
        monkeypatch.setattr("pathlib.Path.read_text", lambda _, text=text: text)
        described.append(describe_processor())
    assert described[0] == described[1] and len(set(described)) == 3


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_a_cpu_multiplies_bfloat16_where_it_has_the_instructions(
    capabilities: dict[str, bool], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16(torch.device("cpu")) == native


def test_a_gpu_multiplies_bfloat16_from_ampere_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, native in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, is_=capability: is_)
        assert has_bfloat16(torch.device("cuda:0")) == native
