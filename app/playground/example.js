// The image that all lessons show: Algorithm 2's, with all T steps. The server is asked for it once.
// A picture of one's own takes its place where it can.

import { Refused, ask } from "./api.js";
import { readNpz, sizeOf } from "./pixels.js";
import { singleBody } from "./request.js";
import { Schedule } from "./schedule.js";

const TURNS = 40;

/** @typedef {Record<string, import("./pixels.js").Numbers>} Arrays */

export class Example {
  /** @param {any} model */
  constructor(model) {
    this.model = model;
    this.schedule = new Schedule(model.alpha_bar);
    // A learned sigma differs from pixel to pixel and is not sent; the fixed one can be shown.
    this.variance = model.variance === "learned_range" ? "fixed_small" : model.variance;
    this.controller = new AbortController();
    /** @type {Promise<Arrays> | null} */
    this.answer = null;
    /** The user's picture, instead. @type {Float32Array | null} */
    this.own = null;
  }

  /** From now on it is another image. @param {import("./address.js").Request} request */
  choose(request) {
    this.controller.abort();
    this.controller = new AbortController();
    this.answer = null;
    this.own = null;
    this.request = request;
  }

  /** The iterations of the loop that are shown, T..1, evenly spaced. */
  times() {
    return this.schedule.some(Math.max(1, Math.min(TURNS, Math.floor(this.model.limits.max_frames / 2))));
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

  /** The image itself, or the user's. @param {AbortSignal} signal @returns {Promise<Float32Array>} */
  async image(signal) {
    if (this.own) return this.own;
    const { t, x_t } = await this.states(signal);
    const size = sizeOf(this.model.image_shape);
    const last = t.data.indexOf(0);
    return x_t.data.slice(last * size, (last + 1) * size).map((value) => Math.min(Math.max(value, -1), 1));
  }

  /** The request's model, seed and labels: all but how its chain is made. */
  body() {
    const request = /** @type {import("./address.js").Request} */ (this.request);
    const { sampler: _, steps: __, spacing: ___, eta: ____, variance: _____, ...body } = singleBody(request, this.model);
    return body;
  }

  async #ask() {
    const timesteps = this.times().flatMap((t) => [t, t - 1]);
    const response = await ask("denoise-trajectory", {
      body: { ...this.body(), variance: this.variance, timesteps },
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
