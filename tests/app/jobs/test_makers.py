"""A job is found the version that it was begun with."""

import dataclasses

from app.jobs.makers import version_for, versions_by_maker
from app.pool.makers import maker
from app.pool.version import Source
from tests.model_info import MODEL
from tests.served import models_of

ELSEWHERE = dataclasses.replace(MODEL, machine="another")


def test_of_several_versions_that_make_the_same_bytes_the_first_is_taken() -> None:
    models, _ = models_of(Source("a", "a"), Source("b", "a"), Source("c", "c"))
    assert versions_by_maker(models)[maker(MODEL)] is models.find("a").version


def test_a_replaced_version_is_found_too() -> None:
    models, engine = models_of()
    old = models.default.version
    engine.infos["m"] = dataclasses.replace(MODEL, sha256="1")
    models.replace(Source("m", "other"))
    assert version_for(maker(MODEL), models) is old
    assert version_for(maker(engine.infos["m"]), models) is models.default.version
    assert version_for("another", models) is None


def test_on_another_kind_of_machine_a_version_has_the_weights_and_makes_other_bytes() -> None:
    models, _ = models_of()
    assert version_for(maker(ELSEWHERE), models) is models.default.version
    assert maker(ELSEWHERE) not in versions_by_maker(models)


def test_another_network_of_the_same_weights_is_another_version() -> None:
    models, _ = models_of()
    assert version_for(maker(dataclasses.replace(MODEL, fingerprint="1")), models) is None
