"""What a reader is warned of, and that there is no warning without a reason."""

from typing import Any

import pytest

from diffusion.evaluation.caveats import caveats

SOUND: dict[str, Any] = {
    "bound": {"train": {}, "test": {}},
    "estimators": {"difference": 0.01, "difference_error": 0.01},
    "classes": ["a", "b"],
    "classifier": {"accuracy": 0.95, "images": 100, "of": "test"},
    "samplers": [{"recognised": 0.9}],
    "floor": {"images": 1000, "kind": "disjoint", "scarce": [], "labels": "balanced"},
    "settings": {"labels": "balanced"},
    "features": "the classifier's last layer before the head",
    "dimensions": 128,
}


def test_a_sound_report_has_none() -> None:
    assert caveats(SOUND) == []
    assert caveats({**SOUND, "estimators": None}) == []
    assert caveats({**SOUND, "classes": [], "classifier": None, "samplers": [{}]}) == []


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"bound": {"train": {}}}, "The data have no test split"),
        (
            {"estimators": {"difference": -0.08, "difference_error": 0.02}},
            "The two estimators of the bound differ by 4.0 standard errors",
        ),
        ({"samplers": [{}]}, "Recognition is left out"),
        ({"features": "EfficientNet-Lite0"}, "they are no FID"),
        ({"classifier": None}, "It is not known how well the classifier"),
        (
            {"classifier": {"accuracy": 0.899, "images": 100, "of": "test"}},
            "The classifier recognises only 89.9% of held-out images",
        ),
        (
            {"dimensions": 2048},
            "1000 samples are fewer than the 2048 dimensions of the features",
        ),
        (
            {"floor": {**SOUND["floor"], "images": 999}},
            "Precision and recall of 999 samples, fewer than 1,000, mean little",
        ),
        (
            {"floor": {**SOUND["floor"], "kind": "repeating"}},
            "The data have hardly more images than there are samples, or fewer",
        ),
        (
            {"floor": {**SOUND["floor"], "kind": "repeating", "scarce": [1]}},
            "The data have hardly more images of the label 1 (b) than there are samples",
        ),
        (
            {"floor": {**SOUND["floor"], "kind": "repeating", "scarce": [0, 1]}},
            "more images of the labels 0 (a), 1 (b) than there are samples, or fewer",
        ),
        ({"floor": {**SOUND["floor"], "labels": "data"}}, "The data have no labels: the floor's"),
    ],
)
def test_each_doubt_is_told(changed: dict[str, Any], warning: str) -> None:
    (found,) = caveats({**SOUND, **changed})
    assert warning in found
