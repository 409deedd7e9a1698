"""log, exp, cos and sin from IEEE +, -, *, / and sqrt alone, each operation a kernel of its own.

IEEE 754 says to the last bit what these operations give, whatever the vectors, the batch, the
threads or the device. It does not for torch.log, torch.exp and torch.cos, so that samples made with
those could differ. All functions take and give float64 with errors below 1e-13, which is far less
than float32 can tell apart.
"""

import math

import torch
from torch import Tensor

LOG_2_HIGH = float.fromhex("0x1.62E42FEEp-1")
LOG_2_LOW = math.log(2) - LOG_2_HIGH
"""ln 2 as a sum: multiples of the first part by small integers have no rounding error."""
LOG_SERIES = [2 / (2 * k + 1) for k in range(8)]
EXP_SERIES = [1 / math.factorial(n) for n in range(15)]
COS_SERIES = [(-1) ** k / math.factorial(2 * k) for k in range(8)]
SIN_SERIES = [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)]
"""Coefficients of 2 artanh(s) / s in s^2, e^r in r, and of cos and sin(y) / y in y^2."""


def log(u: Tensor) -> Tensor:
    """Compute ln u for u > 0."""
    # u = m 2^e with 1/2 <= m < 1, and ln m = ln c + 2 artanh((m - c) / (m + c)) with c = sqrt(1/2).
    m, e = torch.frexp(u)
    c = math.sqrt(0.5)
    s = (m - c) / (m + c)
    series = horner(s * s, LOG_SERIES)
    return (e.double() - 0.5) * math.log(2) + s * series


def exp(x: Tensor) -> Tensor:
    """Compute e^x; beyond the logarithms of the least and the largest normal number, about +-708, e
    to the nearer of these."""
    # x = k ln 2 + r: a Taylor series in r, times 2^k, which is written into the exponent's bits.
    k = (x / math.log(2)).round().clamp(-1022, 1023)
    r = (x - k * LOG_2_HIGH - k * LOG_2_LOW).clamp(-0.35, 0.35)
    series = horner(r, EXP_SERIES)
    return series * ((k.long() + 1023) << 52).view(torch.float64)


def cos_sin(word: Tensor) -> Tensor:
    """Compute cos and sin, stacked (2, …), of 2 pi word / 2^32, for int64 words of 32 bits."""
    # The angle to the nearest quarter turn, by Taylor series; then turned by so many quarters.
    quarter = (word + (1 << 29)) >> 30  # nearest quarter turn, 0..4
    angle = (word - (quarter << 30)).double() * (2 * math.pi * 2.0**-32)  # within pi / 4
    y = angle * angle
    cos = horner(y, COS_SERIES)
    sin = angle * horner(y, SIN_SERIES)
    odd = (quarter & 1).bool()
    turned = torch.stack([torch.where(odd, sin, cos), torch.where(odd, cos, sin)])
    sign = 1 - 2 * torch.stack([((quarter + 1) >> 1) & 1, (quarter >> 1) & 1])
    return turned * sign


def horner(y: Tensor, coefficients: list[float]) -> Tensor:
    """Evaluate the polynomial sum_k coefficients[k] y^k."""
    total = torch.full_like(y, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.mul_(y).add_(coefficient)
    return total
