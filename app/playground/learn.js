// Algorithm 1: one turn of its loop at each of some t, with what the network guesses there.

import { ask } from "./api.js";
import { Curve } from "./curve.js";
import { find, make } from "./dom.js";
import { ofAllSteps } from "./example.js";
import { Pixel } from "./pixel.js";
import { paint, readNpz, rounded, toPng } from "./pixels.js";
import { Schedule, digits } from "./schedule.js";
import { Task } from "./task.js";

const TURNS = 40;
/** The value that is white in each picture; errors are shown from 0, black, on. */
const SCALES = { x_0: 1, eps: 2.5, x_t: 1, eps_hat: 2.5, error: 1 };

/**
 * One turn, each image C*H*W floats.
 * @typedef {{t: number, x_0: Float32Array, eps: Float32Array, x_t: Float32Array, eps_hat: Float32Array, error: Float32Array,
 *   loss: number, lazy: number}} Turn  lazy: the loss of a network that passes x_t through
 */

export class Learn {
  /**
   * @param {any} model
   * @param {import("./task.js").Tell} tell
   * @param {import("./example.js").Example} example
   */
  constructor(model, tell, example) {
    this.model = model;
    this.example = example;
    this.schedule = new Schedule(model.alpha_bar);
    this.times = this.schedule.some(TURNS);
    /** @type {Map<number, Turn>} */
    this.turns = new Map();
    /** @type {Float32Array | null} */
    this.x_0 = null;
    this.count = find("#learn-count");
    this.sentence = find("#learn-sentence");
    this.lines = [...document.querySelectorAll("#learn-lines li output")];
    this.figures = [...document.querySelectorAll("#learn-pictures figure")];
    this.curve = new Curve(find("#learn .plot"), this.schedule.T, "mean squared error, no unit", [{ kind: "is-signal", hasArea: true }, { kind: "is-noise" }]);
    this.slider = find("#learn-slider");
    this.slider.max = String(this.times.length - 1);
    this.slider.value = String(this.times.findIndex((t) => t <= this.schedule.half));
    this.slider.addEventListener("input", () => this.#show());
    this.pixel = new Pixel(this.figures, model.image_shape, () => this.#show());
    const { clip } = model;
    const channel = model.image_shape[0] === 3 ? " The numbers are the red channel's." : "";
    find("#learn-note").textContent = clip === null ? channel : `The guess is the one that sampling uses: it follows from the prediction of the picture clipped to ±${clip}. Algorithm 1 itself does not clip it.${channel}`;
    this.task = new Task(find("#learn"), this.#work.bind(this), tell);
  }

  run() {
    this.turns.clear();
    this.curve.reset();
    this.x_0 = null;
    return this.task.start(null);
  }

  /** Tried again, it goes on where it was. @param {null} _ @param {AbortSignal} signal */
  async #work(_, signal) {
    this.count.textContent = "The network is being asked …";
    try {
      this.x_0 ??= rounded(await this.example.image(signal)); // as its PNG has it: eps must be exact
      const shown = this.times[Number(this.slider.value)];
      for (const t of [shown, ...this.times]) {
        if (this.turns.has(t)) continue;
        const turn = await this.#turn(t, this.x_0, signal);
        this.turns.set(t, turn);
        this.curve.add(t, [turn.loss, turn.lazy]);
        this.#show();
      }
    } catch (error) {
      throw ofAllSteps(error);
    } finally {
      if (!signal.aborted) this.count.textContent = "";
    }
    this.count.textContent = `${this.turns.size} of the ${this.schedule.T} possible t, the same noise`;
  }

  /**
   * A chain of one step from x_t on: its first state is x_t, and x0_hat what the network makes of it.
   * @param {number} t @param {Float32Array} x_0 @param {AbortSignal} signal
   * @returns {Promise<Turn>}
   */
  async #turn(t, x_0, signal) {
    const { schedule, model } = this;
    const { T } = schedule;
    const body = {
      ...this.example.body(),
      sampler: "ddim",
      spacing: t === T ? [T] : [T, t],
      start: { image: toPng(x_0, model.image_shape), t },
      timesteps: [t],
    };
    const answer = await ask("denoise-trajectory", { body, accept: "application/x-npz", signal });
    const arrays = readNpz(await answer.arrayBuffer());
    const [x_t, x_0_hat] = [arrays.x_t, arrays.x0_hat].map(({ data }) => data.slice(0, x_0.length));
    const [signalPart, noisePart] = [schedule.signal(t), schedule.noise(t)];
    // Eq. 4 and eq. 15, both solved for the noise.
    const eps = x_t.map((value, i) => (value - signalPart * x_0[i]) / noisePart);
    const eps_hat = x_t.map((value, i) => (value - signalPart * x_0_hat[i]) / noisePart);
    const error = eps.map((value, i) => (value - eps_hat[i]) ** 2);
    return { t, x_0, eps, x_t, eps_hat, error, loss: mean(error), lazy: mean(eps.map((value, i) => (value - x_t[i]) ** 2)) };
  }

  #show() {
    const t = this.times[Number(this.slider.value)];
    const turn = this.turns.get(t);
    this.slider.setAttribute("aria-valuetext", `t = ${t}${turn ? `, squared error ${digits(turn.loss)}` : ""}`);
    this.curve.show(t);
    if (!turn) return;
    for (const figure of this.figures) {
      const canvas = find("canvas", figure);
      const part = /** @type {keyof typeof SCALES} */ (canvas.dataset.part);
      const shown = part === "error" ? turn.error.map((value) => 2 * value - 1) : turn[part];
      paint(canvas, shown, this.model.image_shape, SCALES[part]);
      find("output", figure).textContent = digits(turn[part][this.pixel.at]);
    }
    const texts = ["", `= ${digits(turn.x_0[this.pixel.at])}`, `= ${t}`, `= ${digits(turn.eps[this.pixel.at])}`, `‖…‖² = ${digits(turn.loss)} on average over the pixels`, ""];
    this.lines.forEach((output, k) => (output.textContent = texts[k]));
    this.sentence.replaceChildren(...sentence(turn, this.schedule.alphaBar(t)));
  }
}

/**
 * What is easy and what is hard at this t.
 * @param {Turn} turn
 * @param {number} share  of the picture's variance that is left
 */
function sentence({ t, loss, lazy }, share) {
  const state = [make("var", {}, "x"), make("sub", {}, "t")];
  const what = share < 0.05 ? "there is almost nothing but noise, so the answer is almost the question."
    : share > 0.95 ? "there is little noise left, and the network has to find just that: a grain that is not the picture's own."
    : "picture and noise are both there, and the network has to tell one from the other.";
  return [`At t = ${t} ${what} A network that passed `, ...state, ` through would be off by ${digits(lazy)}; this one is off by ${digits(loss)}.`];
}

/** @param {Float32Array} x */
function mean(x) {
  return x.reduce((sum, value) => sum + value, 0) / x.length;
}
