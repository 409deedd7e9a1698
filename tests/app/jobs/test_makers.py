"""Who makes the same bytes has the same name, whatever its model is called."""

import dataclasses
from typing import Any

from app.jobs.makers import maker, makers, version_for, versions_by_maker
from app.pool.version import Source, Version
from tests.model_info import MODEL
from tests.served import models_of


def test_whoever_makes_the_same_bytes_has_the_same_name() -> None:
    first, second = (dataclasses.replace(MODEL, device=f"cuda:{i}") for i in range(2))
    assert maker(first) == maker(second)
    assert maker(dataclasses.replace(MODEL, name="other")) == maker(MODEL)
    for field in ("sha256", "fingerprint", "runtime", "precision", "device"):
        changed: dict[str, Any] = {field: "other"}
        assert maker(dataclasses.replace(MODEL, **changed)) != maker(MODEL)


def test_rows_of_older_servers_have_the_name_and_no_fingerprint() -> None:
    assert makers(MODEL) == (maker(MODEL), "m 0 eager float32 cpu")


def test_of_several_versions_that_make_the_same_bytes_the_first_is_taken() -> None:
    versions = [Version(Source("m", "m"), number, known=MODEL) for number in (1, 2)]
    assert versions_by_maker([*versions, Version(Source("n", "n"), 3)])[maker(MODEL)] is versions[0]


def test_a_replaced_version_is_found_too() -> None:
    models, engine = models_of()
    old = models.default.version
    engine.infos["m"] = dataclasses.replace(MODEL, sha256="1")
    models.replace(Source("m", "other"))
    assert version_for(maker(MODEL), models) is old
    assert version_for(maker(engine.infos["m"]), models) is models.default.version
    assert version_for("another", models) is None
