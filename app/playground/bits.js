// The bound of eq. 5 for one picture, term by term as the server has them.

import { bound } from "./api.js";
import { Curve } from "./curve.js";
import { find, make } from "./dom.js";
import { Pixel } from "./pixel.js";
import { paint, readPng, rounded, sizeOf, toPng } from "./pixels.js";
import { Schedule, digits, factor } from "./schedule.js";
import { Task } from "./task.js";

const TERMS = 100;
/** White and black of the difference of the two means, in standard deviations of q. */
const DEVIATIONS = 0.5;

/** @typedef {import("./api.js").Term} Term */
/** Images of C*H*W floats. @typedef {Record<"x_t" | "x_0" | "x_0_hat" | "posterior" | "guess" | "difference", Float32Array>} Pictures */

export class Bits {
  /**
   * @param {any} model
   * @param {import("./task.js").Tell} tell
   * @param {import("./example.js").Example} example
   */
  constructor(model, tell, example) {
    this.model = model;
    this.example = example;
    this.schedule = new Schedule(model.alpha_bar);
    // Each term counts as a sample: at most half of what fits, for other lessons and users ask too.
    const { max_queue_samples, max_client_samples } = model.limits;
    const most = Math.floor(Math.min(max_queue_samples, max_client_samples) / 2);
    this.places = this.schedule.some(Math.max(2, Math.min(TERMS, most)));
    /** Those that have come, by t. @type {Map<number, Term>} */
    this.terms = new Map();
    this.count = find("#bits-count");
    this.bar = find("#bits-bar");
    this.numbers = find("#bits-numbers");
    this.reading = find("#bits-reading");
    this.formula = find("#bits-formula");
    this.figures = [...document.querySelectorAll("#bits-pictures figure")];
    find("#bits-channel").hidden = model.image_shape[0] !== 3;
    this.curve = new Curve(find("#bits .plot"), this.schedule.T, "bits per dimension, for each step", [{ kind: "is-signal", hasArea: true }]);
    this.slider = find("#bits-slider");
    this.slider.max = String(this.places.length - 1);
    this.slider.value = String(this.places.findIndex((t) => t <= this.schedule.half));
    this.slider.addEventListener("input", () => this.#show());
    this.pixel = new Pixel(this.figures, model.image_shape, () => this.#write());
    this.task = new Task(find("#bits"), this.#work.bind(this), tell);
  }

  run() {
    return this.task.start(null);
  }

  /** @param {null} _ @param {AbortSignal} signal */
  async #work(_, signal) {
    this.count.textContent = "The network is being asked …";
    this.terms.clear();
    this.curve.reset();
    this.numbers.replaceChildren();
    this.bar.replaceChildren();
    /** @type {Pictures | null} */
    this.pictures = null;
    try {
      this.x_0 = rounded(await this.example.image(signal));
      const terms = bound(this.#body(this.x_0), signal);
      let next = await terms.next();
      for (; !next.done; next = await terms.next()) this.#add(next.value);
      this.#sum(next.value.images[0]);
    } finally {
      if (!signal.aborted) this.count.textContent = "";
    }
    this.count.textContent = `${this.terms.size} of the ${this.schedule.T} terms, spread over the chain`;
    this.#show();
  }

  /** @param {Float32Array} x_0 */
  #body(x_0) {
    const { guidance: _, guidance_interval: __, first_index: ___, ...body } = /** @type {any} */ (this.example.body());
    return { ...body, images: toPng(x_0, this.model.image_shape), terms: this.places.length };
  }

  /** @param {Term} term */
  #add(term) {
    this.terms.set(term.t, term);
    // L_0 is the decoder's and of another kind: it would hide the rest.
    if (term.t > 1) this.curve.add(term.t, [term.bits_per_dim]);
    this.count.textContent = `${this.terms.size} terms`;
    if (this.terms.size === 1) this.#show();
  }

  /** @param {import("./api.js").Bound} found */
  #sum({ bits_per_dim, standard_error, L_T, L_0 }) {
    const total = bits_per_dim ?? 0;
    const between = total - L_T - (L_0 ?? 0);
    const parts = [["L_T", L_T], ["L_t-1", between], ["L_0", L_0 ?? 0]];
    this.bar.replaceChildren(...parts.map(([name, value]) => {
      const part = make("i", { "data-part": name });
      part.style.flexGrow = String(1000 * Math.max(Number(value), 0)); // a sum below 1 would not fill it
      return part;
    }));
    const item = (/** @type {string} */ part, /** @type {Node[]} */ name, /** @type {number} */ value) =>
      make("li", { "data-part": part }, ...name, ` = ${digits(value)}`);
    const L = (/** @type {string} */ index) => [make("var", {}, "L"), make("sub", {}, index)];
    const bits = Math.round(total * sizeOf(this.model.image_shape));
    this.numbers.replaceChildren(
      item("L_T", L("T"), L_T), item("L_t-1", [new Text("∑ "), ...L("t−1")], between), item("L_0", L("0"), L_0 ?? 0),
      make("li", {}, make("b", {}, `${digits(total)} bits/dim`), standard_error === null ? "" : ` ± ${digits(standard_error)}`,
        `: ${bits.toLocaleString("en")} bits for the picture; its plain pixels take 8 each`));
  }

  /** The term nearest to the slider's t, with its pictures. */
  async #show() {
    const place = this.places[Number(this.slider.value)];
    const near = [...this.terms.keys()].sort((a, b) => Math.abs(a - place) - Math.abs(b - place))[0];
    const term = this.terms.get(near);
    if (!term) return;
    this.shown = term;
    this.slider.setAttribute("aria-valuetext", `t = ${near}, ${digits(term.bits_per_dim)} bits per dimension`);
    this.curve.show(near);
    const pictures = await this.#pictures(term);
    if (this.shown !== term) return; // the slider has moved on
    this.pictures = pictures;
    for (const figure of this.figures) {
      const canvas = find("canvas", figure);
      const part = /** @type {keyof Pictures} */ (canvas.dataset.part);
      paint(canvas, pictures[part], this.model.image_shape, part === "difference" ? DEVIATIONS : 1);
    }
    this.#write();
  }

  /**
   * The mean of q(x_{t-1} | x_t, x_0), eq. 7, and the same with the network's x_0_hat for x_0.
   * @param {Term} term @returns {Promise<Pictures>}
   */
  async #pictures({ t, x_t: state, x0_hat }) {
    const x_0 = /** @type {Float32Array} */ (this.x_0);
    const shape = this.model.image_shape;
    const [x_t, x_0_hat] = await Promise.all([readPng(state, shape), readPng(x0_hat, shape)]);
    const { ofImage, ofState } = this.schedule.posterior(t);
    const sigma = this.schedule.sigma(Math.max(t, 2), "fixed_small"); // at t = 1 q has none
    const mean = (/** @type {Float32Array} */ image) => image.map((value, i) => ofImage * value + ofState * x_t[i]);
    const [posterior, guess] = [mean(x_0), mean(x_0_hat)];
    return { x_t, x_0, x_0_hat, posterior, guess, difference: guess.map((value, i) => (value - posterior[i]) / sigma) };
  }

  /** The numbers of the term and of the pixel. */
  #write() {
    const { shown, pictures } = this;
    if (!shown || !pictures) return;
    const { t } = shown;
    const { at } = this.pixel;
    const { ofImage, ofState } = this.schedule.posterior(t);
    const L = t === 1 ? "0" : String(t - 1);
    this.reading.replaceChildren(
      make("span", { class: "is-time" }, make("var", {}, "t"), " = ", make("output", {}, String(t))),
      make("span", { class: "is-signal" }, make("var", {}, "L"), make("sub", {}, L), " = ", make("output", {}, digits(shown.bits_per_dim)), " bits/dim"));
    const value = (/** @type {keyof Pictures} */ part) => digits(pictures[part][at]);
    for (const figure of this.figures) find("output", figure).textContent = value(/** @type {keyof Pictures} */ (find("canvas", figure).dataset.part));
    this.formula.textContent = `${value("posterior")} = ${digits(ofImage)} · ${factor(value("x_0"))} + ${digits(ofState)} · ${factor(value("x_t"))}`;
  }
}
