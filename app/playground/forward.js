// The forward process on one image, as in the paper's Fig. 2.

import { Chart } from "./chart.js";
import { find } from "./dom.js";
import { listenForFiles, openPicture } from "./files.js";
import { normals, paint, sizeOf } from "./pixels.js";
import { Schedule, digits } from "./schedule.js";
import { Task } from "./task.js";
import { mixture } from "./watch.js";

const SEED = 1;

export class Forward {
  /**
   * @param {any} model
   * @param {import("./task.js").Tell} tell
   * @param {import("./example.js").Example} example
   * @param {() => void} onOwn  called when the example has become a picture of the user's
   */
  constructor(model, tell, example, onOwn) {
    this.model = model;
    this.example = example;
    this.onOwn = onOwn;
    this.count = find("#forward-count");
    this.schedule = new Schedule(model.alpha_bar);
    this.chart = new Chart(find("#forward-timeline"), this.schedule);
    this.slider = find("#forward-slider");
    this.formula = find("#forward-formula");
    this.canvases = ["T", "t", "previous", "0"].map((name) => find(`#forward-${name}`));
    // One eps for every t: then x_t and x_{t-1} differ by what the step does, not by chance.
    this.eps = normals(sizeOf(model.image_shape), SEED);
    const { T } = this.schedule;
    this.slider.max = String(T - 1);
    this.slider.value = String(T - this.schedule.half);
    this.slider.addEventListener("input", () => this.#show());
    this.task = new Task(find("#forward"), this.#work.bind(this), tell);
    listenForFiles(find("#forward-file"), find("#forward-0"), (file) => this.task.start({ file }));
  }

  run() {
    return this.task.start({});
  }

  /** The user's own picture, or the one that all lessons show. @param {{file?: Blob}} source @param {AbortSignal} signal */
  async #work({ file }, signal) {
    if (file) {
      this.count.textContent = "";
      this.x_0 = await openPicture(file, this.model.image_shape);
      this.example.own = this.x_0;
      this.onOwn();
    } else {
      this.count.textContent = `The server is taking ${this.schedule.T} steps …`;
      try {
        this.x_0 = await this.example.image(signal);
      } finally {
        if (!signal.aborted) this.count.textContent = "";
      }
    }
    this.#show();
  }

  #show() {
    const { schedule, x_0, eps } = this;
    if (!x_0) return;
    const t = schedule.T - Number(this.slider.value);
    const mixed = (/** @type {number} */ at) =>
      x_0.map((value, i) => schedule.signal(at) * value + schedule.noise(at) * eps[i]);
    [schedule.T, t, t - 1, 0].forEach((at, k) => paint(this.canvases[k], mixed(at), this.model.image_shape));
    this.chart.show(t);
    this.formula.replaceChildren(...mixture(schedule, t));
    this.slider.setAttribute("aria-valuetext", `t = ${t}, alpha bar ${digits(schedule.alphaBar(t))}`);
  }
}
