"""What Ray Serve is asked for."""

import pytest

from app.settings import SettingError, Settings

WITHOUT_RAY = "Ray is not installed: `make test-cluster` installs it"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's, when it is imported


def test_there_are_always_as_many_engines_or_as_many_as_the_work_needs() -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    from app.cluster.deployments import number

    assert number(Settings(cluster_engines=3)) == {"num_replicas": 3}
    scaling = number(Settings(cluster_engines=2, cluster_max_engines=4))["autoscaling_config"]
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (2, None, 4)
    scaling = number(Settings(cluster_engines=0))["autoscaling_config"]
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, None, 1), (
        "the server asks for the first"
    )


def test_ray_forgets_the_call_that_an_engine_was_started_for_before_that_one_ends() -> None:
    """At no engine it starts one for any call that it remembers to have waited."""
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    from ray.serve._private.constants import RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S

    from app.cluster.deployments import number

    scaling = number(Settings(cluster_engines=0))["autoscaling_config"]
    remembered = scaling.look_back_period_s + RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S
    assert remembered < scaling.downscale_to_zero_delay_s


def test_a_secret_is_refused_where_others_could_read_it() -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    from app.cluster import application

    with pytest.raises(SettingError, match="in the server's environment"):
        application({"api_keys": "a key of thirty-two characters!!!"})


def test_the_application_is_a_server_with_engines() -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    from app.cluster import application

    server = application({"cluster_engine_gpus": "0.5", "shutdown_seconds": "20"})
    bound = server._bound_deployment
    assert (bound.name, bound.num_replicas) == ("server", 1)
    engines = bound.init_args[0]._bound_deployment
    assert engines.name == "engines"
    assert engines.ray_actor_options["num_gpus"] == 0.5
    assert not engines.init_args, "where Python is, each machine knows"
