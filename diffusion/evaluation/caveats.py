"""What a reader must know before believing a report's numbers: one sentence for each doubt."""

from collections.abc import Iterator, Mapping
from typing import Any

LEAST_ACCURACY = 0.9
"""A classifier that recognises fewer held-out images than this judges samples badly."""
LEAST_OF_SHARES = 1000
"""Samples below which precision and recall mean little."""
MOST_ERRORS = 3
"""Standard errors by which two estimators of one number may differ."""


def caveats(report: Mapping[str, Any]) -> list[str]:
    """List what weakens the numbers of a report, or is missing from it, in whole sentences."""
    return [*_of_the_bound(report), *_of_the_classifier(report), *_of_the_distances(report)]


def _of_the_bound(report: Mapping[str, Any]) -> Iterator[str]:
    if "test" not in report["bound"]:
        yield (
            "The data have no test split: the bound is of training images alone, and nothing tells "
            "whether the model has learned them by heart."
        )
    found = report["estimators"]
    if found and found["difference_error"]:
        errors = abs(found["difference"]) / found["difference_error"]
        if errors > MOST_ERRORS:
            yield (
                f"The two estimators of the bound differ by {errors:.1f} standard errors: do not "
                "believe either before you know why."
            )


def _of_the_classifier(report: Mapping[str, Any]) -> Iterator[str]:
    found = report["classifier"]
    if not report["classes"]:
        return
    if not any("recognised" in row for row in report["samplers"]):
        yield (
            "Recognition is left out: no classifier is at hand, and one cannot be trained on these "
            "data (without labels, or smaller than 8x8 pixels)."
        )
    elif found is None:
        yield "It is not known how well the classifier recognises images that it has not seen."
    elif found["accuracy"] < LEAST_ACCURACY:
        yield (
            f"The classifier recognises only {found['accuracy']:.1%} of held-out images: what it "
            "says of samples, and distances, precision and recall in its features, mean little."
        )


def _of_the_distances(report: Mapping[str, Any]) -> Iterator[str]:
    floor = report["floor"]
    if report["features"].startswith("EfficientNet"):
        yield (
            "The distances are in features of EfficientNet-Lite0, not of Inception-v3: they are no "
            "FID, and are to be compared with others in the same features alone."
        )
    if floor["images"] < report["dimensions"]:
        yield (
            f"{floor['images']} samples are fewer than the {report['dimensions']} dimensions of "
            "the features: the distance is mostly that of the small number, and cannot be "
            "extrapolated."
        )
    if floor["images"] < LEAST_OF_SHARES:
        yield (
            f"Precision and recall of {floor['images']} samples, fewer than {LEAST_OF_SHARES:,}, "
            "mean little: the real images are then so far apart that noise may count as covered."
        )
    if floor["kind"] == "repeating":
        yield (
            f"The data have hardly more images{_of_labels(report)} than there are samples, or "
            "fewer: the floor's sets hold some images more than once, which makes the floor too "
            "high."
        )
    if report["classes"] and floor["labels"] == "data" != report["settings"]["labels"]:
        yield (
            "The data have no labels: the floor's images have the data's mix of classes, samples "
            "as many of each."
        )


def _of_labels(report: Mapping[str, Any]) -> str:
    """Which labels the floor's sets hold images of more than once; "" where they have none."""
    scarce, names = report["floor"]["scarce"], report["classes"]
    if not scarce:
        return ""
    return f" of the label{'s' if len(scarce) > 1 else ''} " + ", ".join(
        f"{label} ({names[label]})" if names[label] != str(label) else names[label]
        for label in scarce
    )
