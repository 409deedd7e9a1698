// A picture that is drawn on with mouse, finger, pen or keys, and on it a mask: what is to be made anew.

import { find } from "./dom.js";
import { paint, sizeOf } from "./pixels.js";

const UNDO_STEPS = 100;
const MOVES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/** @typedef {"pen" | "eraser" | "mask" | "keep"} Tool */
/** @typedef {{picture: ImageData, mask: ImageData}} Moment */

export class Sketch {
  /**
   * @param {HTMLElement} root  with two canvases, .base and .mask, and a .cursor
   * @param {number[]} shape  C, H, W
   * @param {() => {tool: Tool, width: number, colour: string}} brush  as the tools are set
   * @param {() => void} onChange  called when a stroke has ended, and when another picture is there
   */
  constructor(root, shape, brush, onChange) {
    this.shape = shape;
    this.brush = brush;
    this.onChange = onChange;
    this.root = root;
    this.canvas = find(".base", root);
    this.cursor = find(".cursor", root);
    const [, H, W] = shape;
    const context = (/** @type {HTMLCanvasElement} */ canvas) => {
      Object.assign(canvas, { width: W, height: H });
      return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    };
    this.base = context(this.canvas);
    this.over = context(find(".mask", root));
    /** @type {Moment[]} */
    this.past = [];
    this.place = [Math.floor(W / 2) + 0.5, Math.floor(H / 2) + 0.5];
    this.#blank();
    this.#listen();
  }

  /** The picture, C*H*W floats in [-1, 1]. */
  get picture() {
    const [C, H, W] = this.shape;
    const { data } = this.base.getImageData(0, 0, W, H);
    const x = new Float32Array(sizeOf(this.shape));
    for (let i = 0; i < H * W; i++) for (let c = 0; c < C; c++) x[c * H * W + i] = data[4 * i + c] / 127.5 - 1;
    return x;
  }

  /** The mask as a picture, H*W floats: 1 is made anew, -1 kept. null: there is none. */
  get mask() {
    const [, H, W] = this.shape;
    const { data } = this.over.getImageData(0, 0, W, H);
    const x = Float32Array.from({ length: H * W }, (_, i) => (data[4 * i + 3] > 127 ? 1 : -1));
    return x.some((value) => value > 0) ? x : null;
  }

  get isBlank() {
    return this.picture.every((value) => value === -1) && !this.mask;
  }

  /**
   * Show another picture; `undo` brings back the one before.
   * @param {Float32Array} x @param {Float32Array | null} mask  as `mask` gives it
   */
  show(x, mask = null) {
    this.#remember();
    paint(this.canvas, x, this.shape);
    this.over.clearRect(0, 0, this.over.canvas.width, this.over.canvas.height);
    mask?.forEach((value, i) => {
      const W = this.shape[2];
      if (value > 0) this.#fill(this.over, i % W, Math.floor(i / W));
    });
    this.onChange();
  }

  undo() {
    const before = this.past.pop();
    if (!before) return;
    this.base.putImageData(before.picture, 0, 0);
    this.over.putImageData(before.mask, 0, 0);
    this.onChange();
  }

  clear() {
    this.#remember();
    this.#blank();
    this.onChange();
  }

  #blank() {
    const { width, height } = this.canvas;
    this.base.fillStyle = "#000";
    this.base.fillRect(0, 0, width, height);
    this.over.clearRect(0, 0, width, height);
  }

  #remember() {
    const { width, height } = this.canvas;
    this.past.push({ picture: this.base.getImageData(0, 0, width, height), mask: this.over.getImageData(0, 0, width, height) });
    if (this.past.length > UNDO_STEPS) this.past.shift();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.#remember();
      this.place = this.#at(event);
      this.#draw(this.place, this.place);
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const between of [...event.getCoalescedEvents?.() ?? [], event]) {
        const place = this.#at(between);
        this.#draw(this.place, place);
        this.place = place;
      }
    });
    canvas.addEventListener("lostpointercapture", () => this.onChange());
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#steer(event));
    canvas.addEventListener("focus", () => this.#point());
  }

  /** Arrow keys move the cursor, and draw with Shift; Space makes a dot. @param {KeyboardEvent} event */
  #steer(event) {
    const move = MOVES[/** @type {keyof MOVES} */ (event.key)] ?? (event.key === " " ? [0, 0] : null);
    if (!move) return;
    event.preventDefault();
    const [, H, W] = this.shape;
    const within = (/** @type {number} */ value, /** @type {number} */ size) => Math.min(Math.max(Math.floor(value) + 0.5, 0.5), size - 0.5);
    const place = [within(this.place[0] + move[0], W), within(this.place[1] + move[1], H)];
    if (event.shiftKey || event.key === " ") {
      this.#remember();
      this.#draw(event.key === " " ? place : this.place, place);
      this.onChange();
    }
    this.place = place;
    this.#point();
  }

  #point() {
    const [, H, W] = this.shape;
    const [x, y] = this.place.map(Math.floor);
    Object.assign(this.cursor.style, { left: `${(100 * x) / W}%`, top: `${(100 * y) / H}%`, width: `${100 / W}%`, height: `${100 / H}%` });
  }

  /** In pixels of the picture. @param {PointerEvent} event */
  #at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [((event.clientX - left) * this.canvas.width) / width, ((event.clientY - top) * this.canvas.height) / height];
  }

  /** @param {number[]} from @param {number[]} to */
  #draw(from, to) {
    const { tool, width, colour } = this.brush();
    const isOver = tool === "mask" || tool === "keep";
    const context = isOver ? this.over : this.base;
    context.globalCompositeOperation = tool === "keep" ? "destination-out" : "source-over";
    context.strokeStyle = isOver ? this.#maskColour : tool === "eraser" ? "#000" : colour;
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0] + 0.001, to[1]); // a line of no length would leave no dot
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  get #maskColour() {
    return getComputedStyle(this.root).getPropertyValue("--mask").trim() || "#f0a35e";
  }

  /** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y */
  #fill(context, x, y) {
    context.fillStyle = this.#maskColour;
    context.fillRect(x, y, 1, 1);
  }
}
