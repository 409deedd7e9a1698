// One pixel, marked in all pictures of a lesson, whose numbers are shown: by click or by arrow keys.

import { find, make } from "./dom.js";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Pixel {
  /**
   * @param {Element[]} figures  each with a canvas of the image's shape
   * @param {number[]} shape  C, H, W
   * @param {() => void} onChange  called when another pixel is chosen
   */
  constructor(figures, [, H, W], onChange) {
    this.H = H;
    this.W = W;
    this.onChange = onChange;
    this.marks = figures.map((figure) => this.#frame(find("canvas", figure)));
    this.row = Math.floor(H / 2);
    this.column = Math.floor(W / 2);
    this.#mark();
  }

  /** Where it is in the first channel of an image of C*H*W floats. */
  get at() {
    return this.row * this.W + this.column;
  }

  /** @param {HTMLCanvasElement} canvas */
  #frame(canvas) {
    const mark = make("i", { class: "pixel" });
    const frame = make("div", { class: "framed" });
    canvas.replaceWith(frame);
    frame.append(canvas, mark);
    canvas.addEventListener("click", ({ offsetX, offsetY }) => {
      this.#choose(Math.floor((offsetY * this.H) / canvas.clientHeight), Math.floor((offsetX * this.W) / canvas.clientWidth));
    });
    canvas.addEventListener("keydown", (event) => {
      const move = MOVES[/** @type {keyof MOVES} */ (event.key)];
      if (!move) return;
      event.preventDefault();
      this.#choose(this.row + move[0], this.column + move[1]);
    });
    return mark;
  }

  /** @param {number} row @param {number} column */
  #choose(row, column) {
    this.row = Math.min(Math.max(row, 0), this.H - 1);
    this.column = Math.min(Math.max(column, 0), this.W - 1);
    this.#mark();
    this.onChange();
  }

  #mark() {
    const { H, W } = this;
    const place = {
      left: `${(100 * this.column) / W}%`, top: `${(100 * this.row) / H}%`, width: `${100 / W}%`, height: `${100 / H}%`,
    };
    for (const mark of this.marks) Object.assign(mark.style, place);
  }
}
