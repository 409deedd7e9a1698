// Watch: one image's way from noise, live, and back and forth.

import { trajectory } from "./api.js";
import { Chart } from "./chart.js";
import { find, make, pngSource, speak } from "./dom.js";
import { wireDownloads } from "./downloads.js";
import { Player } from "./player.js";
import { singleBody } from "./request.js";
import { Schedule, digits } from "./schedule.js";
import { editAddress, walkAddress } from "./sources.js";
import { Task } from "./task.js";

const STRIP = 11;

/** @typedef {import("./api.js").Frame} Frame */

export class Watch {
  /**
   * @param {any} model
   * @param {import("./request.js").Form} form
   * @param {import("./api.js").Offers} offers
   */
  constructor(model, form, offers) {
    this.model = model;
    this.offers = offers;
    this.title = "Watch";
    this.schedule = new Schedule(model.alpha_bar);
    this.chart = new Chart(find("#watch-timeline"), this.schedule);
    this.state = find("#watch-x-t");
    this.guess = find("#watch-x-0");
    this.formula = find("#watch-formula");
    this.count = find("#watch-count");
    this.strip = find("#watch-strip");
    this.note = find("#watch-note");
    /** @type {Frame[]} */
    this.frames = [];
    this.player = new Player(find("#watch-timeline"), this.#show.bind(this));
    this.task = new Task(find("#watch"), this.#work.bind(this), form.showErrors.bind(form));
    wireDownloads(find("#watch-downloads"), "denoise-trajectory", () => this.body, model, this.task);
  }

  /** @param {import("./address.js").Request} request */
  run(request) {
    return this.task.start(request);
  }

  /** @param {import("./address.js").Request} request @param {AbortSignal} signal */
  async #work(request, signal) {
    const total = request.frames ?? 11;
    const body = { ...singleBody(request, this.model), frames: total };
    const frames = trajectory(body, signal);
    let next = await frames.next();
    this.body = body;
    this.frames = [];
    this.#describe(request);
    this.player.reset(total);
    this.player.follow();
    for (; !next.done; next = await frames.next()) {
      this.frames.push(next.value);
      this.player.add();
      this.count.textContent = `t = ${next.value.t}`;
    }
    this.player.finish();
    this.#drawStrip();
    const { steps, timing } = next.value;
    this.count.textContent = `${steps} steps in ${timing.compute_s.toFixed(2)} s`;
    speak(`The image is finished after ${steps} steps`);
  }

  /** @param {number} position */
  #show(position) {
    const { t, x_t, x0_hat } = this.frames[position];
    this.state.src = pngSource(x_t);
    this.guess.src = pngSource(x0_hat);
    this.chart.show(t);
    this.formula.replaceChildren(...mixture(this.schedule, t));
    return `t = ${t}, alpha bar ${digits(this.schedule.alphaBar(t))}`;
  }

  /** @param {import("./address.js").Request} request */
  #describe(request) {
    const label = singleBody(request, this.model).labels;
    const name = label === undefined ? "" : ` of label ${this.model.classes[Number(label)]}`;
    this.state.alt = `The state x at t${name}`;
    this.guess.alt = `The model's prediction of the image${name}`;
    find("#watch-onward").hidden = !this.offers.start;
    const single = { ...request, labels: label === undefined ? "any" : String(label) };
    find("#watch-edit").href = editAddress(single, this.model);
    find("#watch-walk").href = walkAddress(single, { ...single, first_index: (request.first_index ?? 0) + 1 }, this.model);
  }

  /** Eleven of the frames, x_t above what the model makes of it, and t below. */
  #drawStrip() {
    const last = this.frames.length - 1;
    const picked = Array.from({ length: STRIP }, (_, k) => this.frames[Math.round((k * last) / (STRIP - 1))]);
    this.strip.replaceChildren(...picked.flatMap(({ t, x_t, x0_hat }, k) => {
      const cells = [...[x_t, x0_hat].map((png) => make("img", { src: pngSource(png), alt: "" })), make("span", {}, String(t))];
      cells.forEach((cell, row) => (cell.style.gridArea = `${row + 1} / ${k + 1}`));
      return cells;
    }));
    this.note.hidden = false;
  }
}

/**
 * x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (eq. 4), with the numbers of t.
 * @param {Schedule} schedule
 * @param {number} t
 */
export function mixture(schedule, t) {
  const number = (/** @type {number} */ value, /** @type {string} */ kind) => make("b", { class: kind }, digits(value));
  return [
    make("var", {}, "x"), make("sub", {}, String(t)), " = ",
    number(schedule.signal(t), "is-signal"), " ", make("var", {}, "x"), make("sub", {}, "0"), " + ",
    number(schedule.noise(t), "is-noise"), " ", make("var", {}, "ε"),
  ];
}
