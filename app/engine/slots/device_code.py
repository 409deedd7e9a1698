"""The kernels' code for a GPU, in Triton: `diffusion.noise`, `diffusion.exact_math` and
`diffusion.reverse.step`, operation by operation, so that the bytes are the same.

No product and sum may become one operation, which would round once instead of twice: launch these
with enable_fp_fusion=False. In float32 a quotient is tl.div_rn, as `/` may be an approximation;
in float64 it is exact. A program does BLOCK groups of four numbers of one row's image, as many as
Philox makes at once.
"""

import math

import triton
import triton.language as tl

from app.engine.slots.buffers import COEFFICIENTS, PLAN, Row
from diffusion import exact_math, noise
from diffusion.sampler_table import HISTORY, StepCoefficients

_AT = {name: i for i, name in enumerate(StepCoefficients._fields)}
SEED, INDEX, LABEL = tl.constexpr(Row.SEED), tl.constexpr(Row.INDEX), tl.constexpr(Row.LABEL)
READ, WRITE, NULL = tl.constexpr(Row.READ), tl.constexpr(Row.WRITE), tl.constexpr(Row.NULL)
DRAW, LEFT = tl.constexpr(Row.DRAW), tl.constexpr(Row.LEFT)
FRESH, KNOWN = tl.constexpr(Row.FRESH), tl.constexpr(Row.KNOWN)
KNOWN_DRAWS = tl.constexpr(noise.KNOWN)
PAST, NUMBERS = tl.constexpr(HISTORY), tl.constexpr(PLAN)
SQRT_ALPHA_BAR = tl.constexpr(_AT["sqrt_alpha_bar"])
SQRT_ONE_MINUS_ALPHA_BAR = tl.constexpr(_AT["sqrt_one_minus_alpha_bar"])
C_X, C_0, C_Z = tl.constexpr(_AT["c_x"]), tl.constexpr(_AT["c_0"]), tl.constexpr(_AT["c_z"])
C_H1 = tl.constexpr(_AT["c_h1"])
P_X, P_0 = tl.constexpr(_AT["p_x"]), tl.constexpr(_AT["p_0"])
LOG_SMALL, LOG_LARGE = tl.constexpr(_AT["log_sigma_small"]), tl.constexpr(_AT["log_sigma_large"])
K_0, K_Z = tl.constexpr(_AT["k_0"]), tl.constexpr(_AT["k_z"])
ONE_PLUS_W, W = tl.constexpr(COEFFICIENTS), tl.constexpr(COEFFICIENTS + 1)
LIMIT = tl.constexpr(COEFFICIENTS + 2)

MULTIPLIER_0, MULTIPLIER_1 = (tl.constexpr(m) for m in noise.MULTIPLIER)
WEYL_0, WEYL_1 = (tl.constexpr(w) for w in noise.WEYL)
ROUNDS = tl.constexpr(noise.ROUNDS)
LN_2, SQRT_HALF = tl.constexpr(math.log(2)), tl.constexpr(math.sqrt(0.5))
LN_2_HIGH = tl.constexpr(exact_math.LOG_2_HIGH)
LN_2_LOW = tl.constexpr(exact_math.LOG_2_LOW)
LOG_SERIES = tl.constexpr(tuple(exact_math.LOG_SERIES))
LOG_COUNT = tl.constexpr(len(exact_math.LOG_SERIES))
EXP_SERIES = tl.constexpr(tuple(exact_math.EXP_SERIES))
EXP_COUNT = tl.constexpr(len(exact_math.EXP_SERIES))
COS_SERIES = tl.constexpr(tuple(exact_math.COS_SERIES))
COS_COUNT = tl.constexpr(len(exact_math.COS_SERIES))
SIN_SERIES = tl.constexpr(tuple(exact_math.SIN_SERIES))
SIN_COUNT = tl.constexpr(len(exact_math.SIN_SERIES))
TURN = tl.constexpr(2 * math.pi * 2.0**-32)
"""The angle of a word."""
TO_INTEGER = tl.constexpr(1.5 * 2.0**52)
"""Added and taken away again it leaves a float64 rounded to an integer, half to even."""


@triton.jit
def horner(y, coefficients: tl.constexpr, count: tl.constexpr):
    """exact_math.horner, of so many coefficients; float64."""
    total = tl.full(y.shape, coefficients[count - 1], tl.float64)
    for k in tl.static_range(count - 2, -1, -1):
        total = total * y
        total = total + coefficients[k]
    return total


@triton.jit
def log(u):
    """exact_math.log of normal numbers u > 0."""
    bits = u.to(tl.int64, bitcast=True)
    e = ((bits >> 52) & 0x7FF) - 1022
    m = ((bits & 0xFFFFFFFFFFFFF) | (1022 << 52)).to(tl.float64, bitcast=True)
    s = (m - SQRT_HALF) / (m + SQRT_HALF)
    series = horner(s * s, LOG_SERIES, LOG_COUNT)
    return (e.to(tl.float64) - 0.5) * LN_2 + s * series


@triton.jit
def exp(x):
    """exact_math.exp; NaN for NaN."""
    k = (x / LN_2 + TO_INTEGER) - TO_INTEGER
    k = tl.where(k < -1022.0, -1022.0, tl.where(k > 1023.0, 1023.0, k))
    r = x - k * LN_2_HIGH - k * LN_2_LOW
    r = tl.where(r < -0.35, -0.35, tl.where(r > 0.35, 0.35, r))
    power = ((k.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    return horner(r, EXP_SERIES, EXP_COUNT) * power


@triton.jit
def box_muller(a, b):
    """noise._box_muller of uint32 words: two float32 numbers."""
    u = (a.to(tl.float64) + 0.5) * 2.3283064365386963e-10  # 2^-32
    radius = tl.sqrt(log(u) * -2.0)
    word = b.to(tl.int64)
    quarter = (word + (1 << 29)) >> 30
    angle = (word - (quarter << 30)).to(tl.float64) * TURN
    y = angle * angle
    cos = horner(y, COS_SERIES, COS_COUNT)
    sin = angle * horner(y, SIN_SERIES, SIN_COUNT)
    is_odd = (quarter & 1) == 1
    cos_sign = (1 - 2 * (((quarter + 1) >> 1) & 1)).to(tl.float64)
    sin_sign = (1 - 2 * ((quarter >> 1) & 1)).to(tl.float64)
    turned_cos = tl.where(is_odd, sin, cos) * cos_sign
    turned_sin = tl.where(is_odd, cos, sin) * sin_sign
    return (turned_cos * radius).to(tl.float32), (turned_sin * radius).to(tl.float32)


@triton.jit
def normal(seed, index, draw, block):
    """noise.normal: the four numbers of each block, of one sample's draw."""
    c0 = block.to(tl.uint32)
    c1 = (draw + tl.zeros_like(block)).to(tl.uint32)
    c2 = ((index & 0xFFFFFFFF) + tl.zeros_like(block)).to(tl.uint32)
    c3 = ((index >> 32) + tl.zeros_like(block)).to(tl.uint32)
    k0 = ((seed & 0xFFFFFFFF) + tl.zeros_like(block)).to(tl.uint32)
    k1 = ((seed >> 32) + tl.zeros_like(block)).to(tl.uint32)
    m0, m1 = tl.full(c0.shape, MULTIPLIER_0, tl.uint32), tl.full(c0.shape, MULTIPLIER_1, tl.uint32)
    w0, w1 = tl.full(c0.shape, WEYL_0, tl.uint32), tl.full(c0.shape, WEYL_1, tl.uint32)
    for _ in tl.static_range(ROUNDS):
        high_0, low_0 = tl.umulhi(c0, m0), c0 * m0
        high_1, low_1 = tl.umulhi(c2, m1), c2 * m1
        c0, c1 = high_1 ^ c1 ^ k0, low_1
        c2, c3 = high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + w0, k1 + w1
    first_cos, first_sin = box_muller(c0, c1)
    second_cos, second_sin = box_muller(c2, c3)
    return first_cos, second_cos, first_sin, second_sin


@triton.jit
def enter(
    x, rows, t, bad, clock, x_in, t_in, label_in, B, D,
    HAS_LABEL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What the network takes, as ReferenceKernels.enter; and no row is bad yet."""
    row, part = tl.program_id(0), tl.program_id(1)
    now = tl.load(clock)
    draw = tl.load(rows + DRAW * B + row) + now
    if part == 0:
        if HAS_LABEL:
            tl.store(label_in + row, tl.load(rows + LABEL * B + row))
        tl.store(t_in + row, tl.load(t + now * B + row))
        tl.store(bad + now * B + row, 0)
    block = part * BLOCK + tl.arange(0, BLOCK)
    source = x + tl.load(rows + READ * B + row) * D
    target = x_in + row.to(tl.int64) * D
    if (draw == 0) & (tl.load(rows + FRESH * B + row) > 0):
        seed, index = tl.load(rows + SEED * B + row), tl.load(rows + INDEX * B + row)
        n0, n1, n2, n3 = normal(seed, index, draw, block.to(tl.int64))
        tl.store(target + 4 * block, n0, mask=4 * block < D)
        tl.store(target + 4 * block + 1, n1, mask=4 * block + 1 < D)
        tl.store(target + 4 * block + 2, n2, mask=4 * block + 2 < D)
        tl.store(target + 4 * block + 3, n3, mask=4 * block + 3 < D)
    else:
        for i in tl.static_range(4):
            at = 4 * block + i
            tl.store(target + at, tl.load(source + at, mask=at < D), mask=at < D)


@triton.jit
def leave(
    x, past, ring, known, rows, plan, places, bad, clock, x_in, out, B, D,
    HAS_CLIP: tl.constexpr, HAS_V: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The step by what the network gave, as ReferenceKernels.leave; the clock is not set."""
    row, part = tl.program_id(0), tl.program_id(1)
    now = tl.load(clock)
    if tl.load(rows + LEFT * B + row) > now:
        draw = tl.load(rows + DRAW * B + row) + now
        numbers = plan + (now * B + row) * NUMBERS
        block = part * BLOCK + tl.arange(0, BLOCK)
        is_noisy = tl.load(numbers + C_Z) != 0.0
        z0, z1, z2, z3 = normal_or_zero(is_noisy, rows, row, B, draw + 1, block)
        is_known = tl.load(rows + KNOWN * B + row) >= 0
        w0, w1, w2, w3 = normal_or_zero(is_known, rows, row, B, draw + KNOWN_DRAWS + 1, block)
        for i in tl.static_range(4):
            z = z0 if i == 0 else (z1 if i == 1 else (z2 if i == 2 else z3))
            w = w0 if i == 0 else (w1 if i == 1 else (w2 if i == 2 else w3))
            at = 4 * block + i
            update(
                x, past, ring, known, rows, places, bad, x_in, out, numbers, z, w, at, draw, now,
                row, B, D, HAS_CLIP, HAS_V,
            )  # fmt: skip


@triton.jit
def normal_or_zero(is_drawn, rows, row, B, draw, block):
    """The four numbers of each block, of a draw of a row's sample; zeros where none is needed."""
    if is_drawn:
        seed, index = tl.load(rows + SEED * B + row), tl.load(rows + INDEX * B + row)
        n0, n1, n2, n3 = normal(seed, index, draw, block.to(tl.int64))
    else:
        n0 = tl.zeros_like(block).to(tl.float32)
        n1, n2, n3 = n0, n0, n0
    return n0, n1, n2, n3


@triton.jit
def update(
    x, past, ring, known, rows, places, bad, x_in, out, numbers, z, w, at, draw, now, row, B, D,
    HAS_CLIP: tl.constexpr, HAS_V: tl.constexpr,
):  # fmt: skip
    """diffusion.reverse.step for the numbers `at` of a row's image, and what is known of it."""
    is_here = at < D
    width = 2 * D if HAS_V else D  # of a row of the output
    x_t = tl.load(x_in + row.to(tl.int64) * D + at, mask=is_here, other=0.0)
    eps_hat = guided(out, rows, numbers, at, is_here, row, B, width)
    x_0_hat = predict_x_0(x_t, eps_hat, numbers, HAS_CLIP)
    x_prev = tl.load(numbers + C_X) * x_t
    x_prev = x_prev + tl.load(numbers + C_0) * x_0_hat
    history = past + tl.load(rows + READ * B + row) * PAST * D
    x_prev = with_history(x_prev, history, numbers, at, is_here, draw, D)
    if HAS_V:
        v = tl.load(out + row.to(tl.int64) * width + D + at, mask=is_here, other=0.0)
        z = z * learned_sigma(v, numbers)
    c_z = tl.load(numbers + C_Z)
    noise_term = tl.where(c_z != 0.0, c_z * z, 0.0)
    x_prev = x_prev + noise_term
    picture = tl.load(rows + KNOWN * B + row)
    x_prev = with_known(x_prev, known, picture, numbers, w, at, is_here, D)
    m = tl.load(numbers + P_X) * x_t
    m = m + tl.load(numbers + P_0) * x_0_hat

    write = tl.load(rows + WRITE * B + row)
    tl.store(x + write * D + at, x_prev, mask=is_here)
    tl.store(past + (write * PAST + draw % PAST) * D + at, m, mask=is_here)
    is_bad = is_here & ~(tl.abs(x_prev) < float("inf"))
    if tl.max(is_bad.to(tl.int32), axis=0) > 0:
        tl.store(bad + now * B + row, 1)
    place = tl.load(places + now * B + row)
    if place >= 0:
        tl.store(ring + place * 3 * D + at, x_t, mask=is_here)
        tl.store(ring + (place * 3 + 1) * D + at, x_0_hat, mask=is_here)
        tl.store(ring + (place * 3 + 2) * D + at, x_prev, mask=is_here)


@triton.jit
def guided(out, rows, numbers, at, is_here, row, B, width):
    """eps_hat, mixed with what the network gives without a label: (1 + w) eps_hat - w without."""
    eps_hat = tl.load(out + row.to(tl.int64) * width + at, mask=is_here, other=0.0)
    null = tl.load(rows + NULL * B + row)
    if null >= 0:
        without = tl.load(out + null * width + at, mask=is_here, other=0.0)
        eps_hat = tl.load(numbers + ONE_PLUS_W) * eps_hat - tl.load(numbers + W) * without
    return eps_hat


@triton.jit
def predict_x_0(x_t, eps_hat, numbers, HAS_CLIP: tl.constexpr):
    """x_0_hat (eq. 15), clipped."""
    x_0_hat = x_t - tl.load(numbers + SQRT_ONE_MINUS_ALPHA_BAR) * eps_hat
    x_0_hat = tl.div_rn(x_0_hat, tl.load(numbers + SQRT_ALPHA_BAR) + tl.zeros_like(x_0_hat))
    if HAS_CLIP:
        clip = tl.load(numbers + LIMIT)
        x_0_hat = tl.where(x_0_hat < -clip, -clip, tl.where(x_0_hat > clip, clip, x_0_hat))
    return x_0_hat


@triton.jit
def with_history(x_prev, history, numbers, at, is_here, draw, D):
    """x_prev and what the sampler takes of the steps before."""
    for back in tl.static_range(1, PAST + 1):
        c_h = tl.load(numbers + C_H1 + back - 1)
        if c_h != 0.0:  # else what is there may be of another chain, and no number
            column = (draw + PAST - back) % PAST
            m = tl.load(history + column * D + at, mask=is_here, other=0.0)
            x_prev = x_prev + c_h * m
    return x_prev


@triton.jit
def learned_sigma(v, numbers):
    """What z is multiplied with besides c_z: the sigma that v chooses (IDDPM, eq. 15)."""
    small, large = tl.load(numbers + LOG_SMALL), tl.load(numbers + LOG_LARGE)
    log_sigma = small + (v + 1.0) * 0.5 * (large - small)
    return exp(log_sigma.to(tl.float64)).to(tl.float32)


@triton.jit
def with_known(x_prev, known, picture, numbers, w, at, is_here, D):
    """diffusion.reverse.with_known: the part that a picture keeps, drawn anew."""
    if picture >= 0:
        x_0 = tl.load(known + picture * 2 * D + at, mask=is_here, other=0.0)
        mask = tl.load(known + (picture * 2 + 1) * D + at, mask=is_here, other=0.0)
        drawn = tl.load(numbers + K_0) * x_0
        drawn = drawn + tl.load(numbers + K_Z) * w
        kept = (1.0 - mask) * drawn
        x_prev = mask * x_prev + kept
    return x_prev
