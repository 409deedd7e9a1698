"""Which labels fit a model: asked by the server, the command line and the client alike."""

import pytest

from diffusion.labels import LabelError, Labels, check_interval, spread

DIGITS = Labels(num_classes=10, null_label=10)
NO_DROPOUT = Labels(num_classes=2, null_label=None)
UNCONDITIONAL = Labels(num_classes=0, null_label=None)


def test_one_label_is_for_all_samples_and_a_list_has_one_for_each() -> None:
    assert DIGITS.for_each(3, 2) == (3, 3)
    assert DIGITS.for_each([1, 2], 2) == (1, 2)
    assert spread(range(3), 3) == (0, 1, 2)


def test_without_labels_the_network_is_told_the_null_label() -> None:
    assert DIGITS.for_each(None, 2) == (None, None)
    assert DIGITS.for_network((None, 4)) == (10, 4)
    assert UNCONDITIONAL.for_network(UNCONDITIONAL.for_each(None, 2)) is None


@pytest.mark.parametrize(
    ("known", "labels", "guidance", "message"),
    [
        (DIGITS, 10, 0.0, "labels: 10 is not allowed: this model has labels 0..9"),
        (DIGITS, -1, 0.0, "labels: -1 is not allowed: this model has labels 0..9"),
        (DIGITS, [1], 0.0, "labels: [1] is not allowed: 1 labels for n = 2 images; give one, or n"),
        (DIGITS, None, 1.0, "guidance: 1.0 is not allowed: it needs labels, and a model trained"),
        (NO_DROPOUT, 0, 1.0, "guidance: 1.0 is not allowed: it needs labels, and a model trained"),
        (NO_DROPOUT, None, 0.0, "labels: None is not allowed: this model needs labels, 0..1"),
        (UNCONDITIONAL, 0, 0.0, "labels: 0 is not allowed: this model is unconditional"),
    ],
)
def test_what_does_not_fit_is_refused_with_field_value_and_what_is_allowed(
    known: Labels, labels: int | list[int] | None, guidance: float, message: str
) -> None:
    with pytest.raises(LabelError) as error:
        known.for_each(labels, 2, guidance)
    assert str(error.value).startswith(message)


def test_an_interval_of_guidance_falls_within_T_and_needs_guidance() -> None:
    check_interval((1000, 0), 1.0, 1000)
    check_interval((500, 500), 1.0, 1000)
    for interval, guidance, reason in (
        ((1001, 0), 1.0, "it must be [t_high, t_low], falling, within 0..1000"),
        ((100, 200), 1.0, "it must be [t_high, t_low], falling, within 0..1000"),
        ((100, -1), 1.0, "it must be [t_high, t_low], falling, within 0..1000"),
        ((200, 100), 0.0, "it says where guidance applies, and guidance is 0"),
    ):
        with pytest.raises(LabelError) as error:
            check_interval(interval, guidance, 1000)
        assert (error.value.field, error.value.reason) == ("guidance_interval", reason)
