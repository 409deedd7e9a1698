// Edit: a picture is drawn or opened, noised to t and made anew; or a part of it is.

import { trajectory } from "./api.js";
import { Chart } from "./chart.js";
import { EMPTY, find, make, pngSource, speak } from "./dom.js";
import { wireDownloads } from "./downloads.js";
import { listenForFiles, openPicture } from "./files.js";
import { normals, paint, readPng, sizeOf, toPng } from "./pixels.js";
import { Player } from "./player.js";
import { sampleBody } from "./request.js";
import { Schedule, digits } from "./schedule.js";
import { Sketch } from "./sketch.js";
import { showImages } from "./snippets.js";
import { keep, recall } from "./sources.js";
import { Task } from "./task.js";
import { mixture } from "./watch.js";

const FRAMES = 24;
const SEED = 1;
/** The samplers that fill in a mask, and what does that well (docs/editing.md). */
const MASKED = ["ddpm", "ddim"];
const FILLING = /** @type {const} */ ({ sampler: "ddim", eta: 1, steps: 50, spacing: "" });

export class Edit {
  /** @param {any} model @param {import("./request.js").Form} form */
  constructor(model, form) {
    this.model = model;
    this.form = form;
    this.title = "Edit";
    this.schedule = new Schedule(model.alpha_bar);
    this.chart = new Chart(find("#edit-timeline"), this.schedule);
    this.eps = normals(sizeOf(model.image_shape), SEED);
    this.count = find("#edit-count");
    this.tiles = find("#edit-tiles");
    this.canvas = find("#edit-x-t");
    this.sketch = new Sketch(find("#sketch"), model.image_shape, brush, () => this.#changed());
    this.task = new Task(find("#edit"), this.#work.bind(this), form.showErrors.bind(form));
    this.player = new Player(find("#edit-player"), this.#showFrame.bind(this));
    /** The name of the picture on the canvas; "": there is none. */
    this.shown = "";
    this.hasMask = false;
    /** The frames of each tile in their order, as base64 PNGs. @type {string[][]} */
    this.frames = [];
    wireDownloads(find("#edit-downloads"), "sample", () => this.body, model, this.task);
    this.#listen();
    this.#showNoised();
  }

  /** @param {import("./address.js").Request} request */
  run(request) {
    return this.task.start(request);
  }

  /** What is on the canvas; null: nothing. */
  get drawing() {
    return this.sketch.isBlank ? null : this.sketch.picture;
  }

  #listen() {
    find("#edit-t").addEventListener("input", () => this.#showNoised());
    find("#sketch-undo").addEventListener("click", () => this.sketch.undo());
    find("#sketch-clear").addEventListener("click", () => this.sketch.clear());
    find("#sketch-colour").hidden = this.model.image_shape[0] === 1;
    listenForFiles(find("#sketch-file"), find("#sketch"), (file) => this.task.also(async () => {
      this.sketch.show(await openPicture(file, this.model.image_shape));
    }));
  }

  /** The picture is another: it gets a name, and is seen with noise. */
  #changed() {
    const { sketch, form } = this;
    const { picture, mask } = sketch;
    const name = sketch.isBlank ? "" : keep(picture, mask, this.model.image_shape);
    this.shown = name;
    form.write({ picture: name });
    if (mask && !this.hasMask) this.#prepareFilling();
    this.hasMask = mask !== null;
    find("#sketch-undo").disabled = !sketch.past.length;
    this.#showNoised();
  }

  /** A first mask: what is under it shall leave no trace, and the sampler has to be one that fills it in. */
  #prepareFilling() {
    const fits = MASKED.includes(this.form.read().sampler);
    this.form.write({ t: this.model.num_timesteps, ...(fits ? {} : FILLING) });
    if (!fits) speak("A mask needs DDPM or DDIM: DDIM with noise, 50 steps, is chosen");
  }

  #showNoised() {
    const { schedule } = this;
    const t = this.form.read().t ?? schedule.T;
    const x_0 = this.sketch.picture;
    paint(this.canvas, x_0.map((value, i) => schedule.signal(t) * value + schedule.noise(t) * this.eps[i]), this.model.image_shape);
    this.chart.show(t);
    find("#edit-formula").replaceChildren(...mixture(schedule, t));
    find("#edit-t").setAttribute("aria-valuetext", `t = ${t}, alpha bar ${digits(schedule.alphaBar(t))}`);
  }

  /** @param {import("./address.js").Request} request @param {AbortSignal} signal */
  async #work(request, signal) {
    this.#showNoised();
    if (request.picture && request.picture !== this.shown) {
      const { picture, mask } = await recall(request.picture, this.model, signal);
      this.hasMask = mask !== null; // the request says how it is filled in
      this.sketch.show(picture, mask);
      this.form.write({ picture: request.picture }); // the name that the address has
      this.shown = request.picture;
    }
    if (!request.picture) {
      // What was drawn and not made before another view was shown is still there.
      this.form.write({ picture: this.shown });
      this.count.textContent = this.shown ? "" : "Draw something, or open a picture";
      return;
    }
    await this.#make(request, signal);
  }

  /** @param {import("./address.js").Request} request */
  #body(request) {
    const { model, sketch } = this;
    const [, H, W] = model.image_shape;
    const { mask } = sketch;
    return {
      ...sampleBody(request, model),
      start: { image: toPng(sketch.picture, model.image_shape), t: request.t ?? model.num_timesteps },
      ...(mask ? { mask: toPng(mask, [1, H, W]), resamplings: request.resamplings ?? 1, jump: request.jump ?? 10 } : {}),
    };
  }

  /** @param {import("./address.js").Request} request @param {AbortSignal} signal */
  async #make(request, signal) {
    const body = this.#body(request);
    const n = request.n ?? 1;
    const frames = trajectory({ ...body, frames: Math.min(FRAMES, this.model.limits.max_frames) }, signal);
    let next = await frames.next();
    this.body = body;
    showImages(body, this.model);
    this.frames = Array.from({ length: n }, () => []);
    this.#reset(request, n);
    this.player.reset(FRAMES);
    this.player.follow();
    for (; !next.done; next = await frames.next()) {
      const { index, x0_hat, t } = next.value;
      this.frames[index - (request.first_index ?? 0)].push(x0_hat);
      if (this.frames.every((one) => one.length > this.player.arrived)) this.player.add();
      this.count.textContent = `t = ${t}`;
    }
    this.player.finish();
    this.count.textContent = `${n} ${n === 1 ? "picture" : "pictures"} in ${next.value.timing.compute_s.toFixed(2)} s`;
    find("#edit-downloads").hidden = false;
    for (const item of this.tiles.children) item.classList.add("is-finished");
    speak(this.count.textContent);
  }

  /** @param {number} position */
  #showFrame(position) {
    this.frames.forEach((one, k) => {
      find("img", this.tiles.children[k]).src = pngSource(one[Math.min(position, one.length - 1)]);
    });
    return `frame ${position + 1} of ${this.frames[0].length}`;
  }

  /** @param {import("./address.js").Request} request @param {number} n */
  #reset(request, n) {
    const { classes } = this.model;
    const first = request.first_index ?? 0;
    find("#edit-player").hidden = false;
    this.tiles.dataset.size = n === 1 ? "one" : n <= 24 ? "few" : "many";
    this.tiles.replaceChildren(...Array.from({ length: n }, (_, k) => {
      const label = request.labels === "each" ? String((first + k) % classes.length) : request.labels;
      const name = label === "any" ? `no. ${first + k}` : classes[Number(label)];
      const use = make("button", { type: "button", "aria-label": `Use the result ${first + k}` }, "Use this");
      use.addEventListener("click", () => this.#use(k));
      const image = make("img", { src: EMPTY, class: "picture", alt: `Result ${first + k}, ${name}` });
      return make("li", {}, image, make("span", {}, name), use);
    }));
  }

  /** Go on with a result. @param {number} k */
  async #use(k) {
    const png = this.frames[k].at(-1);
    if (!png) return;
    this.sketch.show(await readPng(png, this.model.image_shape));
    speak("The result is the picture now");
    find("#sketch .base").focus();
  }
}

/** How the tools are set. */
function brush() {
  return {
    tool: find("#edit [name=tool]:checked").value,
    width: Number(find("#sketch-width").value),
    colour: find("#sketch-colour").hidden ? "#ffffff" : find("#sketch-colour").value,
  };
}
