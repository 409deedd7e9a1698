// Values over t that arrive one after the other, T on the left, with a playhead.

import { find, make } from "./dom.js";
import { digits } from "./schedule.js";

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{kind: "is-signal" | "is-noise", hasArea?: boolean}} Series */

export class Curve {
  /**
   * @param {Element} root  a .plot
   * @param {number} T
   * @param {string} unit  of the values
   * @param {Series[]} series
   */
  constructor(root, T, unit, series) {
    this.T = T;
    this.series = series;
    /** The values of each t. @type {Map<number, number[]>} */
    this.values = new Map();
    this.most = 0;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", "0 0 1 1");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.head = make("div", { class: "playhead" });
    this.dots = series.map(({ kind }) => make("i", { class: `dot ${kind}` }));
    this.head.append(...this.dots);
    this.heights = [1, 0.5, 0].map((part) => {
      const mark = make("span", { class: "mark is-y" });
      mark.style.top = `${100 * (1 - part)}%`;
      return { part, mark };
    });
    root.replaceChildren(this.svg, this.head, ...this.heights.map(({ mark }) => mark), ...this.#times(), make("span", { class: "axis is-y" }, unit));
    this.reset();
  }

  reset() {
    this.values.clear();
    this.head.hidden = true;
    this.#draw();
  }

  /** @param {number} t @param {number[]} values  one of each series, 0 or more */
  add(t, values) {
    this.values.set(t, values);
    this.#draw();
  }

  /** Move the playhead to a t; its dots show where there are values. @param {number} t */
  show(t) {
    const values = this.values.get(t);
    this.head.hidden = false;
    this.head.style.left = `${100 * (1 - t / this.T)}%`;
    this.dots.forEach((dot, k) => {
      dot.hidden = !values;
      if (values) dot.style.top = `${100 * (1 - values[k] / this.most)}%`;
    });
  }

  #draw() {
    const points = [...this.values].sort(([a], [b]) => b - a);
    this.most = Math.max(...points.flatMap(([, values]) => values), 1e-9);
    for (const { part, mark } of this.heights) mark.textContent = points.length || !part ? short(part * this.most) : "";
    this.svg.replaceChildren(...this.series.flatMap(({ kind, hasArea }, k) => {
      const line = points.map(([t, values]) => `${1 - t / this.T},${1 - values[k] / this.most}`).join(" L");
      if (!line) return [];
      const [first, last] = [points[0][0], /** @type {[number, number[]]} */ (points.at(-1))[0]].map((t) => 1 - t / this.T);
      return [
        ...(hasArea ? [path(`area ${kind}`, `M${line} L${last},1 L${first},1 Z`)] : []),
        path(`line ${kind}`, `M${line}`),
      ];
    }));
  }

  #times() {
    const { T } = this;
    const marks = [...new Set([T, 0.75 * T, 0.5 * T, 0.25 * T, 0].map(Math.round))].map((t) => {
      const mark = make("span", { class: "mark is-x" }, String(t));
      mark.style.left = `${100 * (1 - t / T)}%`;
      return mark;
    });
    return [...marks, make("span", { class: "axis is-x" }, "timestep ", make("var", {}, "t"), ", in steps")];
  }
}

/** @param {string} name @param {string} d */
function path(name, d) {
  const made = document.createElementNS(SVG, "path");
  made.setAttribute("class", name);
  made.setAttribute("d", d);
  return made;
}

/** A number at an axis. @param {number} value */
function short(value) {
  if (value === 0) return "0";
  return value < 0.01 ? digits(Number(value.toPrecision(2))) : String(Number(value.toPrecision(2)));
}
