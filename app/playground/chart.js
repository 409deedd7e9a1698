// The coefficients of x_0 and of eps in x_t (eq. 4) over t, T on the left as in the paper's Fig. 2,
// with a playhead; t counts steps of the forward process.

import { find, make } from "./dom.js";
import { digits } from "./schedule.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 200;

export class Chart {
  /**
   * @param {HTMLElement} root  with a .legend and a .plot
   * @param {import("./schedule.js").Schedule} schedule
   */
  constructor(root, schedule) {
    this.schedule = schedule;
    this.head = make("div", { class: "playhead" });
    this.signal = make("i", { class: "dot is-signal" });
    this.noise = make("i", { class: "dot is-noise" });
    this.head.append(this.signal, this.noise);
    this.share = make("output");
    this.level = make("output");
    this.time = make("output");
    find(".legend", root).replaceChildren(
      make("span", { class: "is-time" }, make("var", {}, "t"), " = ", this.time),
      make("span", { class: "is-signal" }, "image √", make("var", { class: "bar-over" }, "α"), make("sub", {}, "t"), " = ", this.share),
      make("span", { class: "is-noise" }, "noise √(1 − ", make("var", { class: "bar-over" }, "α"), make("sub", {}, "t"), ") = ", this.level));
    find(".plot", root).replaceChildren(this.#curves(), this.head, ...this.#axes());
  }

  /** Numbers at both axes, and what they count. */
  #axes() {
    const { T } = this.schedule;
    const marks = [...new Set([T, 0.75 * T, 0.5 * T, 0.25 * T, 0].map(Math.round))].map((t) => {
      const mark = make("span", { class: "mark is-x" }, String(t));
      mark.style.left = `${100 * (1 - t / T)}%`;
      return mark;
    });
    for (const value of [1, 0.5, 0]) {
      const mark = make("span", { class: "mark is-y" }, String(value));
      mark.style.top = `${100 * (1 - value)}%`;
      marks.push(mark);
    }
    return [
      ...marks,
      make("span", { class: "axis is-y" }, "coefficients in eq. 4"),
      make("span", { class: "axis is-x" }, "timestep ", make("var", {}, "t"), `, in steps: ${T} is noise, 0 the image`),
    ];
  }

  /** Move the playhead. @param {number} t */
  show(t) {
    const { schedule } = this;
    this.head.style.left = `${100 * (1 - t / schedule.T)}%`;
    this.signal.style.top = `${100 * (1 - schedule.signal(t))}%`;
    this.noise.style.top = `${100 * (1 - schedule.noise(t))}%`;
    this.time.textContent = String(t);
    this.share.textContent = digits(schedule.signal(t));
    this.level.textContent = digits(schedule.noise(t));
  }

  #curves() {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    const { schedule } = this;
    const times = Array.from({ length: POINTS + 1 }, (_, k) => Math.round((schedule.T * k) / POINTS));
    const line = (/** @type {(t: number) => number} */ height) =>
      times.map((t) => `${1 - t / schedule.T},${1 - height(t)}`).join(" L");
    const share = line((t) => schedule.signal(t));
    const add = (/** @type {string} */ name, /** @type {string} */ d) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      path.setAttribute("d", d);
      svg.append(path);
    };
    add("grid", "M0,0.5 L1,0.5");
    add("area is-signal", `M${share} L0,1 L1,1 Z`);
    add("line is-signal", `M${share}`);
    add("line is-noise", `M${line((t) => schedule.noise(t))}`);
    return svg;
  }
}
