"""The steps of `benchmarks.gpu_session`: each a module that runs by itself and writes its results
as lines of JSON."""
