"""Both CPU runtimes: the same outputs as PyTorch, and the same bytes for a row in any batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.engine.runtime import (
    CUDAGraphRuntime,
    EagerRuntime,
    OpenVINORuntime,
    Runtime,
    RuntimeUnavailable,
    make_runtime,
    powers_of_two,
)
from app.engine.warmup import invariant_sizes
from diffusion.checkpoint import open_checkpoint
from diffusion.openvino.model import examples
from diffusion.parameterization import EpsModel
from tests.processor import needs_bfloat16
from tests.tiny import save_tiny

LARGEST = 33


def needs_gpu(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test, which is skipped where there is none."""
    is_there = torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(not is_there, reason="needs a GPU")(test))


@pytest.fixture
def on_gpu() -> torch.device:
    return torch.device("cuda")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EpsModel:
    folder = tmp_path_factory.mktemp("runtime")
    return open_checkpoint(save_tiny(folder / "tiny", num_classes=3, channels=3)).eps_model()


@pytest.fixture(scope="module")
def shipped() -> EpsModel:
    return open_checkpoint("mnist").eps_model()


def runtime_of(name: str, model: EpsModel, threads: int, max_batch: int) -> Runtime:
    return make_runtime(name, model, torch.device("cpu"), threads, max_batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_row_has_the_same_bytes_in_every_batch_size_and_at_every_place(
    name: str, threads: int, shipped: EpsModel
) -> None:
    runtime = runtime_of(name, shipped, threads, max_batch=32)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(LARGEST, *shipped.config.image_shape, generator=generator)
    t = torch.randint(1000, (LARGEST,), generator=generator)
    label = torch.randint(11, (LARGEST,), generator=generator)
    expected: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        for size in invariant_sizes(runtime, shipped):
            for start in range(0, LARGEST - size + 1, max(1, size // 2)):
                rows = slice(start, start + size)
                made = runtime(x_t[rows], t[rows], label[rows])
                for row, eps_hat in zip(range(start, start + size), made, strict=True):
                    first = expected.setdefault(row, eps_hat.clone())
                    assert torch.equal(eps_hat, first), f"row {row}, batch of {size}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_the_runtime_computes_what_pytorch_does(name: str, model: EpsModel) -> None:
    runtime = runtime_of(name, model, 1, max_batch=4)
    x_t = torch.randn(4, *model.config.image_shape, generator=torch.Generator().manual_seed(1))
    t, label = torch.tensor([0, 1, 20, 49]), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(runtime(x_t, t, label), model(x_t, t, label), atol=1e-5, rtol=1e-5)


@needs_bfloat16
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_in_bfloat16_the_sizes_that_are_used_give_a_row_the_same_bytes(
    name: str, threads: int, shipped: EpsModel
) -> None:
    runtime = make_runtime(name, shipped, torch.device("cpu"), threads, 8, "bfloat16")
    assert runtime.precision == "bfloat16"
    sizes = invariant_sizes(runtime, shipped)
    assert sizes and set(sizes) <= set(runtime.batch_sizes)
    rows = examples(shipped, 8)
    exact = shipped(*rows)
    made = {size: runtime(*(column[:size] for column in rows)) for size in sizes}
    for size, eps_hat in made.items():
        assert torch.equal(eps_hat, made[sizes[-1]][:size])
    assert 0 < (made[8] - exact).square().mean().sqrt() < 0.02


@pytest.mark.slow
def test_openvino_is_batch_invariant_in_every_size(threads: int, model: EpsModel) -> None:
    runtime = runtime_of("openvino", model, threads, max_batch=LARGEST)
    assert invariant_sizes(runtime, model) == (1, 2, 4, 8, 16, 32, 33)


def test_eager_is_batch_invariant_in_four_rows_at_least(threads: int, shipped: EpsModel) -> None:
    assert invariant_sizes(runtime_of("eager", shipped, threads, 16), shipped)[:1] == (4,)


def test_warm_up_notices_a_runtime_that_is_not_batch_invariant(model: EpsModel) -> None:
    class Leaky(EagerRuntime):
        """A row's output depends on its neighbours'."""

        def __call__(
            self, x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None
        ) -> torch.Tensor:
            return super().__call__(x_t, t, label) + x_t.mean() * 1e-6

    assert invariant_sizes(Leaky(model, torch.device("cpu"), 16), model) == ()


def test_warm_up_leaves_out_the_sizes_that_differ(model: EpsModel) -> None:
    class OtherKernel(EagerRuntime):
        """From 8 rows up another algorithm runs."""

        def __call__(
            self, x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None
        ) -> torch.Tensor:
            return super().__call__(x_t, t, label) * (1 if len(x_t) < 8 else 1 + 1e-6)

    assert invariant_sizes(OtherKernel(model, torch.device("cpu"), 16), model) == (4,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_learned_time_embedding_warms_up_within_its_rows(name: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny", learned_time=True)
    model = open_checkpoint(folder).eps_model()
    assert invariant_sizes(runtime_of(name, model, 1, 4), model)


def test_auto_is_openvino_on_a_cpu(model: EpsModel) -> None:
    assert isinstance(runtime_of("auto", model, 1, 2), OpenVINORuntime)


def test_openvino_is_refused_on_a_gpu(model: EpsModel) -> None:
    with pytest.raises(RuntimeUnavailable, match="openvino runs on the CPU, not on cuda"):
        make_runtime("openvino", model, torch.device("cuda"), 1, 2)


def test_cuda_graphs_are_refused_on_a_cpu(model: EpsModel) -> None:
    with pytest.raises(RuntimeUnavailable, match="cuda-graph runs on a GPU, not on cpu"):
        runtime_of("cuda-graph", model, 1, 2)


@needs_gpu
def test_a_cuda_graph_gives_the_bytes_of_the_kernels_that_it_recorded(
    tmp_path: Path, on_gpu: torch.device
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny", num_classes=3)).eps_model()
    eager = make_runtime("eager", model, on_gpu, 1, 4)
    graph = make_runtime("cuda-graph", model, on_gpu, 1, 8)  # 4 rows on each lane
    made = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x_t = torch.randn(8, 1, 8, 8, generator=generator).to(on_gpu)
        t = torch.randint(50, (8,), generator=generator).to(on_gpu)
        label = torch.randint(3, (8,), generator=generator).to(on_gpu)
        parts = zip(x_t.chunk(2), t.chunk(2), label.chunk(2), strict=True)
        made.append((torch.cat([eager(*part) for part in parts]), graph(x_t, t, label)))
    for by_kernels, by_graph in made:  # an output outlives the calls after it
        assert torch.equal(by_kernels, by_graph)
    assert not torch.equal(made[0][1], made[1][1])


@needs_gpu
def test_a_gpu_runs_one_size_whose_rows_are_the_same_at_every_place(
    shipped: EpsModel, on_gpu: torch.device
) -> None:
    runtime = make_runtime("auto", shipped, on_gpu, 1, 64)
    assert isinstance(runtime, CUDAGraphRuntime)
    assert runtime.batch_sizes == (64,) == invariant_sizes(runtime, shipped)


def test_eager_keeps_to_powers_of_two_from_four_up(model: EpsModel) -> None:
    assert runtime_of("eager", model, 1, 1).batch_sizes == (4,)
    assert runtime_of("eager", model, 1, 12).batch_sizes == (4, 8)
    assert runtime_of("eager", model, 1, 32).batch_sizes == (4, 8, 16, 32)


def test_batch_sizes_are_powers_of_two_and_the_largest() -> None:
    assert powers_of_two(1, first=1) == (1,)
    assert powers_of_two(16, first=1) == (1, 2, 4, 8, 16)
    assert powers_of_two(12, first=4) == (4, 8, 12)
