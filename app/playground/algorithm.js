// Algorithm 2, line by line, with the numbers that the server computed.

import { find } from "./dom.js";
import { Pixel } from "./pixel.js";
import { paint, sizeOf } from "./pixels.js";
import { Player } from "./player.js";
import { Schedule, digits, factor } from "./schedule.js";
import { Task } from "./task.js";

const SECONDS = 30;
/** The value that is white: noise is seldom beyond 2.5. */
const SCALES = { x_t: 1, eps: 2.5, z: 2.5, x_prev: 1 };
/** From which line on a picture of the turn is known. */
const KNOWN_FROM = { x_t: 1, eps: 2, z: 3, x_prev: 4 };

/**
 * One turn of the loop, each image C*H*W floats.
 * @typedef {{t: number, x_t: Float32Array, x_0_hat: Float32Array, eps: Float32Array, z: Float32Array, x_prev: Float32Array}} Turn
 */

export class Algorithm {
  /**
   * @param {any} model
   * @param {import("./task.js").Tell} tell
   * @param {import("./example.js").Example} example
   */
  constructor(model, tell, example) {
    this.model = model;
    this.example = example;
    this.schedule = new Schedule(model.alpha_bar);
    this.lines = [...document.querySelectorAll("#algorithm-lines li")];
    this.figures = [...document.querySelectorAll("#algorithm-pictures figure")];
    this.count = find("#algorithm-count");
    /** @type {Turn[]} */
    this.turns = [];
    /** @type {{line: number, turn: number}[]} */
    this.moments = [];
    const root = find("#algorithm-player");
    this.player = new Player(root, this.#show.bind(this), SECONDS);
    find(".back", root).addEventListener("click", () => this.player.step(-1));
    find(".forth", root).addEventListener("click", () => this.player.step(1));
    this.task = new Task(find("#algorithm"), this.#work.bind(this), tell);
    this.pixel = new Pixel(this.figures, model.image_shape, () => {
      const moment = this.moments[Math.floor(this.player.position)];
      if (moment) this.#showNumbers(this.turns[moment.turn]);
    });
    find("#algorithm-note").textContent = this.#note();
  }

  run() {
    return this.task.start(null);
  }

  /** @param {null} _ @param {AbortSignal} signal */
  async #work(_, signal) {
    const { T } = this.schedule;
    this.count.textContent = `The server is taking ${T} steps …`;
    try {
      this.turns = this.#turns(await this.example.states(signal));
    } finally {
      this.count.textContent = "";
    }
    this.count.textContent = `${this.turns.length} of the ${T} iterations of the loop are shown`;
    this.moments = [
      { line: 1, turn: 0 },
      ...this.turns.flatMap((_, turn) => [2, 3, 4].map((line) => ({ line, turn }))),
      { line: 5, turn: this.turns.length - 1 },
      { line: 6, turn: this.turns.length - 1 },
    ];
    this.player.reset(this.moments.length);
    this.moments.forEach(() => this.player.add());
    this.player.finish();
    const start = this.moments.findIndex(({ line, turn }) => line === 4 && this.turns[turn].t <= this.schedule.half);
    this.player.seek(Math.max(start, 0));
  }

  /**
   * What happened at each turn: eps_theta is eq. 15 solved for eps, z what line 4 must have added.
   * @param {Record<string, import("./pixels.js").Numbers>} arrays
   * @returns {Turn[]}
   */
  #turns(arrays) {
    const times = [...arrays.t.data];
    const size = sizeOf(this.model.image_shape);
    const image = (/** @type {string} */ name, /** @type {number} */ t) => {
      const k = times.indexOf(t);
      return arrays[name].data.subarray(k * size, (k + 1) * size);
    };
    return this.example.times().map((t) => {
      const { signal, noise, sigma } = this.#scales(t);
      const [x_t, x_0_hat, x_prev] = [image("x_t", t), image("x0_hat", t), image("x_t", t - 1)];
      const eps = x_t.map((value, i) => (value - signal * x_0_hat[i]) / noise);
      const z = x_t.map((value, i) => (sigma ? (x_prev[i] - this.#mean(t, value, eps[i], x_0_hat[i])) / sigma : 0));
      return { t, x_t, x_0_hat, eps, z, x_prev };
    });
  }

  /**
   * Line 4 without its noise; where alpha_t is 0, by which it would divide, the same by eq. 7.
   * @param {number} t @param {number} x_t @param {number} eps @param {number} x_0_hat
   */
  #mean(t, x_t, eps, x_0_hat) {
    if (this.schedule.isNoise(t)) return this.schedule.signal(t - 1) * x_0_hat;
    const { outer, inner } = this.#scales(t);
    return outer * (x_t - inner * eps);
  }

  /** @param {number} t */
  #scales(t) {
    const { schedule } = this;
    const alpha = schedule.alpha(t);
    return {
      signal: schedule.signal(t),
      noise: schedule.noise(t),
      outer: 1 / Math.sqrt(alpha),
      inner: (1 - alpha) / schedule.noise(t),
      sigma: schedule.sigma(t, this.example.variance),
    };
  }

  /** @param {number} position */
  #show(position) {
    const { line, turn } = this.moments[position];
    const shown = this.turns[turn];
    for (const element of this.lines) {
      element.setAttribute("aria-current", Number(element.getAttribute("data-line")) === line ? "step" : "false");
    }
    for (const figure of this.figures) {
      const canvas = find("canvas", figure);
      const part = /** @type {keyof typeof SCALES} */ (canvas.dataset.part);
      paint(canvas, shown[part], this.model.image_shape, SCALES[part]);
      figure.classList.toggle("is-unknown", line < KNOWN_FROM[part]);
    }
    this.#showNumbers(shown);
    return `line ${line}, t = ${shown.t}`;
  }

  /** @param {Turn} turn */
  #showNumbers(turn) {
    const { at } = this.pixel;
    const { outer, inner, sigma } = this.#scales(turn.t);
    const [x_t, eps, z, x_prev] = [turn.x_t[at], turn.eps[at], turn.z[at], turn.x_prev[at]].map(digits);
    const isFirst = turn.t === this.schedule.T;
    this.#write(1, isFirst ? `= ${x_t}` : "");
    this.#write(2, `t = ${turn.t}`);
    this.#write(3, `= ${z}`);
    const mean = this.schedule.isNoise(turn.t)
      ? `${this.schedule.signal(turn.t - 1).toFixed(4)} · ${factor(digits(turn.x_0_hat[at]))}`
      : `${outer.toFixed(4)} ( ${x_t} − ${inner.toFixed(4)} · ${factor(eps)} )`;
    this.#write(4, `${x_prev} = ${mean} + ${digits(sigma)} · ${factor(z)}`);
    this.#write(6, turn.t === 1 ? `= ${x_prev}` : "");
    [x_t, eps, z, x_prev].forEach((text, k) => (find("output", this.figures[k]).textContent = text));
  }

  /** @param {number} line @param {string} text */
  #write(line, text) {
    find("output", this.lines[line - 1]).textContent = text;
  }

  #note() {
    const { clip, variance, image_shape } = this.model;
    return [
      clip === null ? "" : `Before each step the model's prediction of the image is clipped to ±${clip}, as in the paper's code; the noise shown is what follows from the clipped prediction.`,
      variance === "learned_range" ? "This model has learned its own σ; the fixed, small one is used here." : "",
      this.schedule.isNoise(this.schedule.T) ? "At t = T nothing of the image is left: α is 0, by which line 4 would divide. Its limit is shown there: √ᾱ of t − 1 times the model's prediction of the image, plus noise." : "",
      image_shape[0] === 3 ? "The numbers are the red channel's." : "",
      "Pictures of noise show −2.5 as black and 2.5 as white.",
    ].filter(Boolean).join(" ");
  }
}
