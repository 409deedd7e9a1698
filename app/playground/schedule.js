// The process' numbers, t counted as in the paper: 0 is the image, T noise.

export class Schedule {
  /** @param {number[]} alphaBar  for t = 0..T, from GET /model */
  constructor(alphaBar) {
    this.table = alphaBar;
  }

  get T() {
    return this.table.length - 1;
  }

  /** Some of t = T..1, evenly spaced: `count`, or all of fewer. @param {number} count */
  some(count) {
    const { T } = this;
    const length = Math.min(count, T);
    const times = Array.from({ length }, (_, k) => Math.round(T - (k * (T - 1)) / Math.max(1, length - 1)));
    return [...new Set(times)];
  }

  /** Where about half of the image's variance is left: noise and image can both be seen. */
  get half() {
    const times = this.table.map((_, t) => t).slice(1);
    const distance = (/** @type {number} */ t) => Math.abs(this.table[t] - 0.5);
    return times.reduce((best, t) => (distance(t) < distance(best) ? t : best));
  }

  /** What is left of the image's variance (eq. 4). @param {number} t */
  alphaBar(t) {
    return this.table[t];
  }

  /** @param {number} t  1..T */
  alpha(t) {
    return this.table[t] / this.table[t - 1];
  }

  /** Is nothing of the image left? At t = T of a chain with zero terminal SNR. @param {number} t */
  isNoise(t) {
    return this.table[t] === 0;
  }

  /** The coefficient of x_0 in x_t. @param {number} t */
  signal(t) {
    return Math.sqrt(this.table[t]);
  }

  /** The coefficient of eps in x_t. @param {number} t */
  noise(t) {
    return Math.sqrt(1 - this.table[t]);
  }

  /**
   * The coefficients of x_0 and of x_t in the mean of q(x_{t-1} | x_t, x_0) (eq. 7).
   * @param {number} t  1..T
   */
  posterior(t) {
    const [now, before] = [this.table[t], this.table[t - 1]];
    const alpha = this.alpha(t);
    return { ofImage: (Math.sqrt(before) * (1 - alpha)) / (1 - now), ofState: (Math.sqrt(alpha) * (1 - before)) / (1 - now) };
  }

  /**
   * sigma_t of Algorithm 2: from beta~_t (eq. 7) or beta_t; 0 at the last step.
   * @param {number} t  1..T
   * @param {string} variance
   */
  sigma(t, variance) {
    if (t === 1) return 0;
    const beta = 1 - this.alpha(t);
    if (variance === "fixed_large") return Math.sqrt(beta);
    return Math.sqrt(((1 - this.table[t - 1]) / (1 - this.table[t])) * beta);
  }
}

/** Three decimals, or as 7.7·10⁻⁶ where these would be zeros. @param {number} value */
export function digits(value) {
  const size = Math.abs(value);
  if (size >= 0.0005 || size === 0) return value.toFixed(3).replace("-", "−");
  const [mantissa, exponent] = value.toExponential(1).split("e-");
  return `${mantissa.replace("-", "−")}·10⁻${[...exponent].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("")}`;
}

/** A number after a dot: a negative one in parentheses. @param {string} text */
export function factor(text) {
  return text.startsWith("−") ? `(${text})` : text;
}
