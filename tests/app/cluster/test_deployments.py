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
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (2, 2, 4)
    scaling = number(Settings(cluster_engines=0))["autoscaling_config"]
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 1, 1)


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
