"""Which files of a repository are fetched."""

import pytest

from diffusion.sources.errors import CheckpointError
from diffusion.sources.hub_files import check_sizes, choose

NESTED = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FP16 = "unet/diffusion_pytorch_model.fp16.safetensors"
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
SHARDS = [f"unet/diffusion_pytorch_model-0000{k}-of-00002.safetensors" for k in (1, 2)]


def chosen(*names: str) -> list[str]:
    return list(choose(dict.fromkeys(names, 10)).all)


def test_the_layout_of_diffusers() -> None:
    others = ["README.md", "images/a.png", "unet/diffusion_pytorch_model.bin", "unet/train.py"]
    assert sorted(chosen(*NESTED, WEIGHTS, *others)) == sorted([*NESTED, WEIGHTS])


def test_the_flat_layout() -> None:
    names = [
        "config.json", "diffusion_pytorch_model.safetensors", "model_index.json",
        "scheduler_config.json",
    ]  # fmt: skip
    assert sorted(chosen(*names, "diffusion_pytorch_model.bin", "run.sh")) == names


def test_the_card_is_fetched_and_weights_come_last() -> None:
    names = chosen(WEIGHTS, "model_card.json", *NESTED)
    assert "model_card.json" in names and names[-1] == WEIGHTS


def test_plain_weights_come_before_half_precision() -> None:
    assert FP16 not in chosen(*NESTED, WEIGHTS, FP16)
    assert FP16 in chosen(*NESTED, FP16)


def test_parts_come_with_their_index() -> None:
    assert chosen(*NESTED, *SHARDS, INDEX)[-3:] == [INDEX, *SHARDS]


@pytest.mark.parametrize("left_out", [INDEX, *SHARDS])
def test_parts_that_are_not_all_there_are_no_weights(left_out: str) -> None:
    names = {*NESTED, *SHARDS, INDEX} - {left_out}
    with pytest.raises(CheckpointError, match=r"no unet/diffusion_pytorch_model\.safetensors"):
        choose(dict.fromkeys(names, 10))


def test_a_name_with_many_parts_costs_no_time() -> None:
    huge = "unet/diffusion_pytorch_model-00001-of-99999.safetensors"
    with pytest.raises(CheckpointError, match="it has no"):
        chosen(*NESTED, huge, INDEX)


def test_pickles_alone_are_refused_with_the_way_out() -> None:
    with pytest.raises(CheckpointError, match=r"pickle, unet/\S+\.bin.*save_pretrained"):
        chosen(*NESTED, "unet/diffusion_pytorch_model.bin")


def test_what_has_no_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"neither unet/config\.json nor config\.json"):
        chosen("README.md", "model_index.json")


def test_other_paths_are_never_chosen() -> None:
    evil = ["../unet/config.json", "/etc/passwd", "unet/../../x.safetensors", "unet\\config.json"]
    assert sorted(chosen(*NESTED, WEIGHTS, *evil)) == sorted([*NESTED, WEIGHTS])


def test_sizes_are_limited() -> None:
    files = choose(dict.fromkeys([*NESTED, WEIGHTS], 10))
    sizes = dict.fromkeys(files.all, 10)
    check_sizes(files, sizes, max_bytes=10)
    with pytest.raises(CheckpointError, match="its weights have 10 bytes; at most 9"):
        check_sizes(files, sizes, max_bytes=9)
    with pytest.raises(CheckpointError, match=r"unet/config\.json has 5000000 bytes"):
        check_sizes(files, {**sizes, "unet/config.json": 5_000_000}, max_bytes=10)


def test_a_model_of_latents_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(CheckpointError, match="it has vqvae/, so its network makes latents"):
        chosen(*NESTED, WEIGHTS, "vqvae/config.json")


def test_parts_of_a_variant_come_with_either_name_of_their_index() -> None:
    parts = [f"unet/diffusion_pytorch_model.fp16-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for index in (
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "unet/diffusion_pytorch_model.fp16.safetensors.index.json",
    ):
        assert chosen(*NESTED, *parts, index)[-3:] == [index, *parts]
