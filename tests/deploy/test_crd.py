"""A trimmed schema refuses what the published one does, and fields that nobody knows."""

import jsonschema
import pytest

from tests.deploy.crd import schema_of

COUNT = {"type": "integer", "minimum": 1, "description": "How many.", "default": 1}
SPEC = {"type": "object", "properties": {"count": COUNT, "template": {"type": "object"}}}
DEFINITION = {
    "spec": {
        "group": "example.org",
        "names": {"kind": "Thing"},
        "versions": [
            {"name": "v1beta1", "storage": False, "schema": {"openAPIV3Schema": {}}},
            {
                "name": "v1",
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "spec": SPEC,
                        },
                    }
                },
            },
        ],
    }
}
THING = {"apiVersion": "example.org/v1", "kind": "Thing"}


def test_what_fits_is_accepted_with_any_pod() -> None:
    thing = {**THING, "spec": {"count": 2, "template": {"anything": 1}}}
    assert jsonschema.Draft202012Validator(schema_of(DEFINITION)).is_valid(thing)


@pytest.mark.parametrize(
    "wrong",
    [
        {**THING, "spec": {"count": 0}},
        {**THING, "spec": {"count": "2"}},
        {**THING, "spec": {"cuont": 2}},
        {**THING, "apiVersion": "example.org/v1beta1"},
        {**THING, "kind": "Other"},
    ],
    ids=["too small", "another type", "misspelt", "another version", "another kind"],
)
def test_what_does_not_fit_is_refused(wrong: dict) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of(DEFINITION))


def test_descriptions_and_defaults_are_left_out() -> None:
    count = schema_of(DEFINITION)["properties"]["spec"]["properties"]["count"]
    assert count == {"type": "integer", "minimum": 1}
