"""Which features distances are measured in, and that Inception's are the library's own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.evaluation import features
from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.features import FeaturesError, check, inception, of_classifier, pick
from diffusion.evaluation.frechet import DistanceTo, moments

REASON = "torch-fidelity, or a torchvision built for this torch, is not installed"


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(1, 2).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def images(count: int, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, 8, 8), generator=generator, dtype=torch.uint8)


def test_the_classifiers_are_averages_of_its_last_convolution(classifier: Classifier) -> None:
    made = of_classifier(classifier)(images(7))
    expected = classifier.features(images(7).float() / 127.5 - 1).mean(dim=(2, 3))
    torch.testing.assert_close(made, expected)


def test_auto_is_the_classifier_without_inceptions_weights(
    classifier: Classifier, hub: Path
) -> None:
    assert pick("auto", classifier, images(4)).name == of_classifier(classifier).name
    with pytest.raises(FeaturesError, match=f"inception: {hub}/.* is missing"):
        pick("inception", classifier, images(4))
    with pytest.raises(FeaturesError, match=f"inception: {hub}/.* is missing"):
        check("inception")


@pytest.mark.usefixtures("hub")
def test_without_a_classifier_auto_is_an_untrained_network() -> None:
    assert pick("auto", None, images(4)).name == "an untrained network's last layer"
    with pytest.raises(FeaturesError, match="features: classifier: there is none"):
        pick("classifier", None, images(4))
    check("classifier")


def test_an_untrained_network_is_always_the_same_and_tells_sets_apart() -> None:
    data = images(200)
    before = torch.get_rng_state()
    extract, again = pick("random", None, data[:100]), pick("random", None, data[:100])
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers move on"
    torch.testing.assert_close(extract(data), again(data), rtol=0, atol=0)
    distance = DistanceTo(moments(extract(data[:100])))
    darker = data[100:] // 4
    assert distance(extract(darker)) > 3 * distance(extract(data[100:]))


class Harm:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_file_that_holds_more_than_tensors_is_not_unpickled(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity", reason=REASON, exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    torch.save({"weight": Harm(trace)}, path)
    with pytest.raises(FeaturesError, match="weights.pth: not a file of Inception's weights"):
        inception(path)
    assert not trace.exists()


def test_inceptions_are_the_librarys(
    classifier: Classifier, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3",
        reason=REASON,
        exc_type=(ImportError, RuntimeError),  # type: ignore[arg-type]
    )
    kind = theirs.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with monkeypatch.context() as patched:  # random weights: the published ones are a download
        patched.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(kind, "load_state_dict", lambda *_: None)
        network = kind("random", ["2048"])
    hub.mkdir(parents=True)
    torch.save(network.state_dict(), hub / features.INCEPTION_FILE)
    made = pick("auto", classifier, images(4))
    assert made.name.startswith("Inception-v3")
    grey, (expected,) = images(2), network(images(2).expand(-1, 3, -1, -1))
    torch.testing.assert_close(made(grey), expected)
    assert made(grey).shape == (2, 2048)
