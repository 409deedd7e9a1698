"""How lists of timesteps are compared."""

import pytest
import torch

from benchmarks.tuning import GAMMAS, SEED, labels, lists, rms_difference
from diffusion.sampling import Request, Source, generate
from diffusion.spacing import Spacing
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("tuning") / "tiny"
    return Source.open(save_tiny(folder, num_classes=2, null_label=True), "cpu", "eager")


def test_there_is_a_list_for_each_gamma_and_distance(source: Source) -> None:
    found = lists(source, 2, 5)
    assert len(found) == 2 * len(GAMMAS)
    assert all(len(Spacing.of_paper_t(kept, 50)) == 5 for kept in found.values())


def test_the_teachers_own_list_differs_by_nothing(source: Source) -> None:
    kept = (50, 20, 3)
    request = Request(SEED, 3, labels=labels(source, 3), sampler="ddim", spacing=kept)
    teacher = generate(source, request)
    assert rms_difference(source, "ddim", kept, teacher) == 0
    assert rms_difference(source, "ddim", kept, teacher + 2) == pytest.approx(2, rel=1e-5)
    assert torch.equal(generate(source, request), teacher)
