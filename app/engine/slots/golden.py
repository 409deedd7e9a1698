"""Whether a device makes the bytes of the CPU: asked before a network is served."""

import torch
from torch import Tensor

from app.engine.batch import Batch
from app.engine.beginning import beginnings
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.slots.board import SlotBoard
from app.engine.slots.buffers import Form
from app.engine.slots.kernels import Kernels
from app.engine.slots.queue import Queue
from app.engine.tables import sampler_tables
from app.wire.messages import Submit
from app.wire.starts import Start
from diffusion.config import ProcessConfig
from diffusion.editing import Begun
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import Known, sample

SHAPE = (1, 16, 16)
NULL_LABEL = 2
STEPS = 8
PICTURE, MASK = bytes(range(256)), bytes([0, 100, 255, 255]) * 64
EDITED = Start(kind="image", pictures=(PICTURE,), mask=MASK)
SAMPLES = [
    Submit("", "", 0, (0,), (0,), "ddpm", STEPS),
    Submit("", "", 2**53 - 1, (2**40,), (1,), "ddpm", STEPS, variance="learned_range"),
    Submit("", "", 1, (1,), (1,), "ddim", STEPS, eta=0.5, guidance=1.5),
    Submit("", "", 2, (2,), (0,), "dpmpp", STEPS),
    Submit("", "", 3, (3,), (1,), "unipc", STEPS),
    Submit("", "", 4, (4,), (0,), "ipndm", STEPS),
    Submit("", "", 5, (5,), (0,), "ddpm", STEPS, start=EDITED),
    Submit("", "", 6, (6,), (1,), "ddim", STEPS, start=EDITED, is_encoding=True),
]


def toy(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
    """A network of sums and products, which are the same on every device: eps_hat and v."""
    assert label is not None
    eps_hat = 0.5 * x_t + 0.01 * (t + 7 * label).float()[:, None, None, None]
    return torch.cat([eps_hat, 0.25 * x_t], dim=1)


def begun_of(job: Job) -> Begun:
    """How the job's only chain begins, in a batch of its own."""
    if job.begins is None:
        return Begun()
    known = job.begins.known(0)
    x_t = job.begins.state(0, job.chains[0].index)[None]
    return Begun(x_t, known and Known(known.x_0[None], known.mask[None]))


@torch.inference_mode()
def agrees(kernels: Kernels, queue: Queue, clip: float | None) -> bool:
    """Do samples made by these kernels, in a recorded step, have the bytes of the plain loop on the
    CPU? `clip` is that of the kernels."""
    process = Process.from_config(ProcessConfig(num_timesteps=50))
    form = Form(SHAPE, 2, is_conditional=True, null_label=NULL_LABEL)
    board = SlotBoard(toy, form, (16,), kernels, queue, num_slots=16, max_steps=STEPS)
    tables, begins = sampler_tables(process), beginnings(process, SHAPE)
    network = Network("", board, LatencyCurve({16: 1.0}), tables, begins)
    jobs, expected = [], []
    for submit in SAMPLES:
        jobs.append(Job.of(submit, network, now=0.0))
        table = jobs[-1].table
        seeds, indices = torch.tensor([submit.seed]), torch.tensor(submit.indices)
        condition = Conditioning(torch.tensor(submit.labels), submit.guidance, NULL_LABEL)
        begun = begun_of(jobs[-1])
        *_, last = sample(toy, table, seeds, indices, SHAPE, condition, clip, *begun)
        expected.append(last.x_t[0].numpy().tobytes())
    chains = [chain for job in jobs for chain in job.chains]
    for chain in chains:
        board.seat(chain)
    batch = Batch.with_machine(network, chains)
    batch.steps = STEPS
    call = board.prepare(batch, None)
    board.run(call)
    made = board.finish(call)
    return [made.results[chain] for chain in chains] == expected
