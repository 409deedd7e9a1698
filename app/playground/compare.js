// Samplers side by side from the same x_T.

import { trajectory } from "./api.js";
import { find, make, pngSource } from "./dom.js";
import { ofAllSteps } from "./example.js";
import { Task } from "./task.js";

const FRAMES = 8;
const NAMES = { ddpm: "DDPM", ddim: "DDIM", dpmpp: "DPM-Solver++" };
/** From the quickest to Algorithm 2 itself; Infinity: all T steps. */
const ROWS = /** @type {[keyof typeof NAMES, number][]} */ ([
  ["dpmpp", 10], ["dpmpp", 20], ["ddim", 10], ["ddim", 50], ["ddpm", 50], ["ddpm", Infinity],
]);

/** @typedef {import("./api.js").Frame} Frame */

export class Compare {
  /**
   * @param {any} model
   * @param {import("./task.js").Tell} tell
   * @param {import("./example.js").Example} example
   */
  constructor(model, tell, example) {
    this.model = model;
    this.example = example;
    this.variance = example.variance; // so that Algorithm 2 makes the image of the other lessons
    this.count = find("#compare-count");
    this.body = find("#compare-table tbody");
    /** @type {{image: HTMLImageElement, frame: Frame}[]} */
    this.cells = [];
    this.task = new Task(find("#compare"), this.#work.bind(this), tell);
    for (const choice of document.querySelectorAll("#compare [name=shown]")) {
      choice.addEventListener("change", () => this.cells.forEach((cell) => this.#paint(cell)));
    }
  }

  run() {
    return this.task.start(this.example.body());
  }

  /** @param {object} body @param {AbortSignal} signal */
  async #work(body, signal) {
    const T = this.model.num_timesteps;
    const frames = Math.min(FRAMES, this.model.limits.max_frames);
    this.cells = [];
    this.#head(frames);
    const rows = new Map(ROWS.map(([sampler, steps]) => {
      const kept = Math.min(steps, T);
      return [
        `${NAMES[sampler]}, ${kept} ${kept === 1 ? "step" : "steps"}`,
        { sampler, steps: kept, ...(sampler === "ddpm" ? { variance: this.variance } : {}) },
      ];
    }));
    this.body.replaceChildren();
    try {
      for (const [name, row] of rows) {
        this.count.textContent = name;
        await this.#row(name, frames, { ...body, ...row, frames }, signal);
      }
    } catch (error) {
      throw ofAllSteps(error);
    } finally {
      this.count.textContent = "";
    }
  }

  /** @param {string} name @param {number} columns @param {object} body @param {AbortSignal} signal */
  async #row(name, columns, body, signal) {
    const [sampler, steps] = name.split(", ");
    const time = make("span", {}, `${steps}`);
    const pictures = Array.from({ length: columns }, () => make("td"));
    this.body.append(make("tr", {}, make("th", { scope: "row" }, make("b", {}, sampler), time), ...pictures));
    const frames = trajectory(body, signal);
    let next = await frames.next();
    for (let k = 0; !next.done; next = await frames.next(), k++) {
      const frame = next.value;
      const image = /** @type {HTMLImageElement} */ (make("img", { class: "picture", alt: `${name}, t = ${frame.t}`, title: `t = ${frame.t}` }));
      // A chain shorter than the table's columns ends in the last one all the same.
      pictures[frame.t === 0 ? columns - 1 : k].replaceChildren(image);
      const cell = { image, frame };
      this.cells.push(cell);
      this.#paint(cell);
    }
    time.textContent = `${steps}, ${next.value.timing.compute_s.toFixed(2)} s`;
  }

  /** @param {{image: HTMLImageElement, frame: Frame}} cell */
  #paint({ image, frame }) {
    const shown = find("#compare [name=shown]:checked").value;
    image.src = pngSource(frame[/** @type {"x_t" | "x0_hat"} */ (shown)]);
  }

  /** @param {number} columns */
  #head(columns) {
    const T = this.model.num_timesteps;
    const cells = Array.from({ length: columns }, (_, k) => {
      const t = Math.round(T * (1 - k / (columns - 1)));
      return make("th", { scope: "col" }, String(t));
    });
    find("#compare-table thead").replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Sampler; t ="), ...cells));
  }
}
