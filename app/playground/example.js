// The image that all lessons show: Algorithm 2's, with all T steps. The server is asked for it once.

import { Refused, ask } from "./api.js";
import { readNpz } from "./pixels.js";
import { singleBody } from "./request.js";

const TURNS = 40;

/** @typedef {Record<string, import("./pixels.js").Numbers>} Arrays */

export class Example {
  /** @param {any} model */
  constructor(model) {
    this.model = model;
    // A learned sigma differs from pixel to pixel and is not sent; the fixed one can be shown.
    this.variance = model.variance === "learned_range" ? "fixed_small" : model.variance;
    this.controller = new AbortController();
    /** @type {Promise<Arrays> | null} */
    this.answer = null;
  }

  /** From now on it is another image. @param {import("./request.js").Request} request */
  choose(request) {
    this.controller.abort();
    this.controller = new AbortController();
    this.answer = null;
    this.request = request;
  }

  /** The iterations of the loop that are shown, T..1, evenly spaced. */
  times() {
    const { num_timesteps: T, limits } = this.model;
    const turns = Math.max(1, Math.min(TURNS, T, Math.floor(limits.max_frames / 2)));
    const times = Array.from({ length: turns }, (_, k) => Math.round(T - (k * (T - 1)) / Math.max(1, turns - 1)));
    return [...new Set(times)];
  }

  /**
   * The states before and after these iterations; raises what `ask` does. After a failure the
   * server is asked again.
   * @param {AbortSignal} signal  of the one who waits; the others wait on
   * @returns {Promise<Arrays>}
   */
  async states(signal) {
    this.answer ??= this.#ask();
    const answer = this.answer;
    try {
      return await answer;
    } catch (error) {
      if (this.answer === answer) this.answer = null;
      throw ofAllSteps(error);
    } finally {
      signal.throwIfAborted();
    }
  }

  /** The image itself. @param {AbortSignal} signal @returns {Promise<Float32Array>} */
  async image(signal) {
    const { t, x_t } = await this.states(signal);
    const size = this.model.image_shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b);
    const last = t.data.indexOf(0);
    return x_t.data.slice(last * size, (last + 1) * size).map((value) => Math.min(Math.max(value, -1), 1));
  }

  async #ask() {
    const request = /** @type {import("./request.js").Request} */ (this.request);
    const { sampler: _, steps: __, spacing: ___, eta: ____, ...body } = singleBody(request, this.model);
    const timesteps = this.times().flatMap((t) => [t, t - 1]);
    const response = await ask("denoise-trajectory", {
      body: { ...body, variance: this.variance, timesteps },
      accept: "application/x-npz",
      signal: this.controller.signal,
    });
    return readNpz(await response.arrayBuffer());
  }
}

/**
 * What is said of an error of a chain with all T steps. No field mends it where the network cannot be
 * told t = 1, of which the server complains as the spacing: no lesson asks for one.
 * @param {unknown} error
 */
export function ofAllSteps(error) {
  const isSpacing = error instanceof Refused && error.errors.some(({ field }) => field === "spacing");
  const detail = "This model cannot take all T steps, as this lesson does: its network cannot be told t = 1.";
  return isSpacing ? new Refused(422, { detail }, null) : error;
}
