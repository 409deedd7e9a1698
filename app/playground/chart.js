// alpha_bar_t and the noise level over t, T on the left as in the paper's Fig. 2, with a playhead.

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
    this.alphaBar = make("output");
    this.level = make("output");
    this.time = make("output");
    find(".legend", root).replaceChildren(
      make("span", { class: "is-time" }, make("var", {}, "t"), " = ", this.time),
      make("span", { class: "is-signal" }, make("var", { class: "bar-over" }, "α"), make("sub", {}, "t"), " = ", this.alphaBar),
      make("span", { class: "is-noise" }, "noise level √(1 − ", make("var", { class: "bar-over" }, "α"), make("sub", {}, "t"), ") = ", this.level));
    find(".plot", root).replaceChildren(this.#curves(), this.head,
      make("span", { class: "end is-left" }, `t = ${schedule.T}, noise`),
      make("span", { class: "end is-right" }, "0, image"));
  }

  /** Move the playhead. @param {number} t */
  show(t) {
    const { schedule } = this;
    this.head.style.left = `${100 * (1 - t / schedule.T)}%`;
    this.signal.style.top = `${100 * (1 - schedule.alphaBar(t))}%`;
    this.noise.style.top = `${100 * (1 - schedule.noise(t))}%`;
    this.time.textContent = String(t);
    this.alphaBar.textContent = digits(schedule.alphaBar(t));
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
    const alphaBar = line((t) => schedule.alphaBar(t));
    const add = (/** @type {string} */ name, /** @type {string} */ d) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      path.setAttribute("d", d);
      svg.append(path);
    };
    add("area is-signal", `M${alphaBar} L0,1 L1,1 Z`);
    add("line is-signal", `M${alphaBar}`);
    add("line is-noise", `M${line((t) => schedule.noise(t))}`);
    return svg;
  }
}
