"""From a checkpoint and a request to images: what is refused, and what is made."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch

from diffusion.devices import torch_threads
from diffusion.labels import LabelError
from diffusion.process import Process
from diffusion.samplers import make_table
from diffusion.sampling import Request, RequestError, Source, batches, generate
from diffusion.spacing import Spacing
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Of a model without classes."""
    return Source.open(save_tiny(tmp_path_factory.mktemp("sampling") / "tiny"), "cpu", "eager")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Of a model with two classes and a null label."""
    folder = tmp_path_factory.mktemp("sampling") / "tiny"
    return Source.open(save_tiny(folder, num_classes=2, null_label=True), "cpu", "eager")


def test_without_openvino_auto_is_pytorch_and_openvino_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    tiny = save_tiny(tmp_path / "tiny")
    assert Source.open(tiny, "cpu").runtime == "eager"
    with pytest.raises(RequestError, match="runtime: openvino is not installed; use eager"):
        Source.open(tiny, "cpu", "openvino")


def test_openvino_is_refused_on_another_device_than_a_cpu(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "tiny")
    with pytest.raises(RequestError, match="runtime: openvino runs on the CPU, not on meta"):
        Source.open(tiny, "meta", "openvino")


def test_openvino_makes_the_samples_of_pytorch_nearly(labelled: Source) -> None:
    pytest.importorskip("openvino")
    compiled = Source.open(labelled.checkpoint.folder, "cpu")
    assert compiled.runtime == "openvino", "auto chooses it where it is installed"
    request = Request(seed=1, n=2, labels=[0, 1], sampler="ddim", num_steps=3)
    made, expected = generate(compiled, request), generate(labelled, request)
    torch.testing.assert_close(made, expected, rtol=0, atol=5e-3)


def test_pytorch_leaves_the_processors_to_openvino(labelled: Source) -> None:
    pytest.importorskip("openvino")
    compiled = Source.open(labelled.checkpoint.folder, "cpu")
    seen = set()
    request = Request(seed=1, n=2, labels=[0], num_steps=2)
    with torch_threads(2):
        for source in (labelled, compiled):

            def look(_rows: int, runtime: str = source.runtime) -> None:
                seen.add((runtime, torch.get_num_threads()))

            for _ in batches(source, request, 1, look):
                assert torch.get_num_threads() == 2, "what is done with images has all of them"
    assert seen == {("eager", 2), ("openvino", 1)}


def test_a_sample_is_the_same_whatever_is_made_with_it(labelled: Source) -> None:
    request = Request(seed=5, n=5, labels=[0, 1, 1, 0, 1], sampler="ddim", num_steps=3)
    whole = generate(labelled, request)
    alone = Request(seed=5, n=1, first_index=3, labels=[0], sampler="ddim", num_steps=3)
    assert whole.shape == (5, 1, 8, 8) and whole.dtype == torch.float32
    torch.testing.assert_close(generate(labelled, alone)[0], whole[3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generate(labelled, request, 2), whole, rtol=1e-4, atol=1e-5)


def test_the_rows_of_every_step_are_told(unlabelled: Source) -> None:
    told: list[int] = []
    made = list(batches(unlabelled, Request(0, 5, sampler="dpmpp", num_steps=3), 4, told.append))
    assert [len(x_0) for x_0 in made] == [4, 1]
    assert sum(told) == 5 * 3


def test_no_label_is_the_null_label(labelled: Source) -> None:
    free = Request(1, 2, sampler="ddim", num_steps=2)
    seen: list[list[int]] = []

    def spy(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        assert label is not None
        seen.append(label.tolist())
        return labelled.model(x_t, t, label)

    source = Source(labelled.checkpoint, labelled.process, spy, labelled.device, "eager")
    generate(source, free)
    assert seen == [[2, 2]] * 2


def test_outside_of_its_interval_guidance_costs_no_row(labelled: Source) -> None:
    seen: list[list[int]] = []

    def spy(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        assert label is not None
        seen.append(label.tolist())
        return labelled.model(x_t, t, label)

    source = Source(labelled.checkpoint, labelled.process, spy, labelled.device, "eager")
    T = labelled.process.num_timesteps
    spacing = (T, T // 2, 1)
    generate(source, Request(1, 1, labels=[1], sampler="ddim", spacing=spacing, guidance=1.0,
                             guidance_interval=(T - 1, 2)))  # fmt: skip
    assert seen == [[1], [1], [2], [1]], "the null label, 2, at the second step alone"
    with pytest.raises(LabelError, match="guidance_interval: .* it says where guidance applies"):
        generate(source, Request(1, 1, labels=[1], guidance_interval=(5, 1)))


def test_defaults_depend_on_sampler_and_chain() -> None:
    process = Process.from_beta(torch.linspace(1e-3, 0.2, 100, dtype=torch.float64))
    assert len(Request(0, 1).table(process, "fixed_large", {})) == 100
    assert len(Request(0, 1, sampler="ddim").table(process, "fixed_large", {})) == 50
    assert len(Request(0, 1, sampler="dpmpp").table(process, "fixed_large", {})) == 20
    whole, short = Request(0, 1), Request(0, 1, num_steps=20)
    trained = whole.table(process, "fixed_large", {}).coefficients.c_z[0] ** 2
    assert trained == pytest.approx(process.beta[-1].item())
    small = short.table(process, "fixed_small", {}).coefficients.c_z
    assert torch.equal(short.table(process, "fixed_large", {}).coefficients.c_z, small)


def test_a_request_says_which_timesteps_are_kept() -> None:
    process = Process.from_beta(torch.linspace(1e-3, 0.2, 100, dtype=torch.float64))
    listed = Request(0, 1, spacing=(100, 40, 3)).table(process, "fixed_large", {})
    assert listed.t.tolist() == [99, 39, 2]
    assert torch.equal(  # a short chain, whose variance is the small one
        listed.rows, make_table(process, "ddpm", Spacing((2, 39, 99)), variance="fixed_small").rows
    )
    named = Request(0, 1, sampler="unipc", num_steps=7, spacing="karras").table(
        process, "fixed_large", {}
    )
    expected = Spacing.by_name("karras", 7, process.alpha_bar.tolist())
    assert named.t.tolist() == list(expected.network_t)
    tuned = Request(0, 1, sampler="unipc", num_steps=3, spacing="tuned")
    lists = {"unipc": {"3": [100, 40, 3]}}
    assert tuned.table(process, "fixed_large", lists).t.tolist() == [99, 39, 2]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(0, 1, labels=[2]), "labels: 2 is not allowed: this model has labels 0..1"),
        (Request(0, 3, labels=[0, 1]), "labels: [0, 1] is not allowed: 2 labels for n = 3 images"),
        (Request(0, 1, guidance=1.0), "guidance: 1.0 is not allowed"),
    ],
)
def test_labels_that_do_not_fit_a_conditional_model_are_refused(
    request_: Request, message: str, labelled: Source
) -> None:
    with pytest.raises(LabelError, match=re.escape(message)):
        generate(labelled, request_)


def test_a_model_without_classes_takes_no_label(unlabelled: Source) -> None:
    with pytest.raises(LabelError, match="labels: .* this model is unconditional"):
        generate(unlabelled, Request(0, 1, labels=[0]))


def test_a_model_without_a_null_label_needs_one(tmp_path: Path) -> None:
    source = Source.open(save_tiny(tmp_path / "tiny", num_classes=2), "cpu", "eager")
    with pytest.raises(LabelError, match="labels: None is not allowed: this model needs labels"):
        generate(source, Request(0, 1))
    with pytest.raises(LabelError, match="guidance: .* it needs labels, and a model trained with"):
        generate(source, Request(0, 1, labels=[0], guidance=1.0))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(0, n=0), "n: 0 is not allowed: it must be 1..9007199254740991"),
        (Request(-1, n=1), "seed: -1 is not allowed: it must be 0..9007199254740991"),
        (Request(2**53, n=1), "seed: 9007199254740992 is not allowed"),
        (Request(0, n=1, first_index=-1), "first_index: -1 is not allowed: it must be 0..9007"),
        (Request(0, n=2, first_index=2**53 - 1), "it must be 0..9007199254740990"),
        (Request(0, 1, spacing="tuned"), "spacing: 'tuned' is not allowed: this checkpoint has no"),
        (Request(0, n=1, num_steps=0), "steps: 0 is not allowed: it must be 1..50"),
        (Request(0, n=1, num_steps=51), "steps: 51 is not allowed: it must be 1..50"),
        (
            Request(0, n=1, spacing=(49, 1)),
            "spacing: (49, 1) is not allowed: the list begins with 49",
        ),
        (
            Request(0, n=1, num_steps=2, spacing=(50, 1)),
            "steps: 2 is not allowed: spacing is a list",
        ),
        (Request(0, n=1, sampler="ddim", eta=1.5), "eta: 1.5 is not allowed: it must be 0..1"),
        (Request(0, n=1, sampler="ddim", eta=math.nan), "eta: nan is not allowed"),
        (Request(0, n=1, eta=0.5), "eta: 0.5 is not allowed: it applies to ddim, not to ddpm"),
        (
            Request(0, n=1, sampler="dpmpp", variance="fixed_large"),
            "variance: 'fixed_large' is not allowed: it applies to ddpm, not to dpmpp",
        ),
        (Request(0, n=1, labels=[1], guidance=20.5), "guidance: 20.5 is not allowed: it must be"),
        (Request(0, n=1, labels=[2]), "labels: 2 is not allowed: this model has labels 0..1"),
        (Request(0, n=3, labels=[0, 1]), "2 labels for n = 3 images; give one, or n of them"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_name(
    labelled: Source, request_: Request, message: str
) -> None:
    with pytest.raises((RequestError, LabelError), match=re.escape(message)):
        request_.check(labelled.checkpoint)


def test_a_network_that_takes_log_t_is_sampled_by_chains_that_end_above_t_1(tmp_path: Path) -> None:
    source = Source.open(save_tiny(tmp_path / "tiny", fourier_time=True), "cpu", "eager")
    for refused in (Request(0, n=1), Request(0, n=1, num_steps=50), Request(0, 1, spacing=(50, 1))):
        with pytest.raises(RequestError, match="spacing: .* cannot be told t = 1"):
            refused.check(source.checkpoint)
    for allowed in (Request(0, n=1, num_steps=25), Request(0, n=1, spacing=(50, 20, 2))):
        assert generate(source, allowed).isfinite().all()


def test_the_largest_seed_and_index_are_allowed(labelled: Source) -> None:
    Request(2**53 - 1, n=1, first_index=2**53 - 1).check(labelled.checkpoint)
    with pytest.raises(RequestError):
        Request(2**53 - 1, n=2, first_index=2**53 - 1).check(labelled.checkpoint)
