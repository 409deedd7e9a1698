"""Which kernels a step of the paper's network spends its time in, and the memory that it takes."""

import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.step import Step, main
from benchmarks.gpu.variants import Inputs, prepare
from benchmarks.networks import NETWORKS

SIZE, CALLS, KERNELS = 256, 3, 15


@torch.inference_mode()
def run(step: Step) -> None:
    """Three calls in bfloat16, channels last; the trace is written beside the results."""
    name, size = ("tiny", 2) if step.tiny else ("paper", SIZE)
    with tempfile.TemporaryDirectory() as folder:
        model = NETWORKS[name](Path(folder) / name).model()
    network = prepare(model, "bf16-nhwc", step.device)
    inputs = Inputs.of(model, size, step.device)
    network(inputs.x_t, inputs.t)
    is_gpu = step.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=activities) as profiled:
        for _ in range(CALLS):
            network(inputs.x_t, inputs.t)
        if is_gpu:
            torch.cuda.synchronize()
    profiled.export_chrome_trace(str(step.out.parent / "profile.json.gz"))
    spent = "self_device_time_total" if is_gpu else "self_cpu_time_total"
    # On a GPU the kernels themselves; the operations that launched them have their time as well
    kind = "CUDA" if is_gpu else "CPU"
    events = [event for event in profiled.key_averages() if event.device_type.name == kind]
    events.sort(key=lambda event: getattr(event, spent), reverse=True)
    total = sum(getattr(event, spent) for event in events)
    for event in events[:KERNELS]:
        step.write(
            "kernel",
            {
                "name": event.key,
                "calls": event.count // CALLS,
                "share": getattr(event, spent) / total,
            },
        )
    peak = torch.cuda.max_memory_allocated(step.device) if is_gpu else None
    step.write("memory", {"network": name, "size": size, "peak_bytes": peak})


if __name__ == "__main__":
    main("profile", run)
