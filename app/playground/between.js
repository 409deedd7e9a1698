// Between: nine pictures on the way from one seed, or one picture, to another.

import { trajectory } from "./api.js";
import { EMPTY, find, make, pngSource, speak } from "./dom.js";
import { wireDownload } from "./downloads.js";
import { listenForFiles, openPicture } from "./files.js";
import { animation } from "./gif.js";
import { paint, readPng, toPng } from "./pixels.js";
import { Player } from "./player.js";
import { singleBody } from "./request.js";
import { showImages } from "./snippets.js";
import { keep, nameOf, recall } from "./sources.js";
import { Mendable, Task } from "./task.js";

const COUNT = 9;
const WEIGHTS = Array.from({ length: COUNT }, (_, k) => k / (COUNT - 1));
const FRAMES = 8;
/** How wide downloads are at least. */
const WIDE = 224;
const DELAY = 12;
const PLAY_SECONDS = 2.5;

/** @typedef {"from" | "to"} End */

export class Between {
  /**
   * @param {any} model
   * @param {import("./request.js").Form} form
   * @param {() => Float32Array | null} drawing  what is on the canvas of Edit
   */
  constructor(model, form, drawing) {
    this.model = model;
    this.form = form;
    this.drawing = drawing;
    this.title = "Between";
    this.count = find("#between-count");
    this.picture = find("#between-picture");
    this.strip = find("#between-strip");
    this.task = new Task(find("#between"), this.#work.bind(this), form.showErrors.bind(form));
    this.player = new Player(find("#between-player"), this.#show.bind(this), PLAY_SECONDS);
    /** The pictures so far, as base64 PNGs. @type {string[]} */
    this.pngs = [];
    for (const end of /** @type {End[]} */ (["from", "to"])) this.#offer(end);
    this.#offerFile("gif", this.#gif.bind(this));
    this.#offerFile("png", this.#png.bind(this));
  }

  /** @param {import("./address.js").Request} request */
  run(request) {
    return this.task.start(request);
  }

  /** The ways to choose a picture for an end. @param {End} end */
  #offer(end) {
    const root = find(`#between-${end}`);
    root.append(find("#between-end").content.cloneNode(true));
    find("canvas", root).setAttribute("aria-label", `The picture at the ${end === "from" ? "beginning" : "end"}`);
    const { image_shape } = this.model;
    const choose = (/** @type {string} */ name) => {
      this.form.write({ [end]: name, ends: "pictures" });
      this.form.element.requestSubmit();
    };
    listenForFiles(find("input[type=file]", root), find("canvas", root), (file) => this.task.also(async () => {
      choose(keep(await openPicture(file, image_shape), null, image_shape));
    }));
    find(".is-sample", root).addEventListener("click", () => {
      choose(nameOf({ ...this.form.read(), seed: Math.floor(Math.random() * 1e6) }));
    });
    find(".is-drawing", root).addEventListener("click", () => {
      const picture = this.drawing();
      if (picture) choose(keep(picture, null, image_shape));
      else this.task.explain(new Mendable("Nothing is drawn yet: the view Edit has the canvas."));
    });
  }

  /**
   * Have a button make a file of the strip, here in the page.
   * @param {string} suffix
   * @param {(pngs: string[], signal: AbortSignal) => Promise<Blob>} make
   */
  #offerFile(suffix, make) {
    const button = /** @type {HTMLButtonElement} */ (find(`#between-downloads [data-suffix=${suffix}]`));
    wireDownload(button, () => this.pngs, async (signal, pngs) => {
      return { answer: new Response(await make(pngs, signal)), name: `${this.model.name}-between.${suffix}` };
    }, this.task);
  }

  /** @param {import("./address.js").Request} request @param {AbortSignal} signal */
  async #work(request, signal) {
    const body = { ...singleBody({ ...request, first_index: 0 }, this.model), n: COUNT, start: await this.#start(request, signal) };
    const frames = trajectory({ ...body, frames: Math.min(FRAMES, this.model.limits.max_frames) }, signal);
    let next = await frames.next();
    showImages(body, this.model);
    this.#reset();
    for (; !next.done; next = await frames.next()) {
      const { index, x0_hat, t } = next.value;
      this.pngs[index] = x0_hat;
      find("img", this.strip.children[index]).src = pngSource(x0_hat);
      while (this.pngs[this.player.arrived]) this.player.add(); // they come in any order
      this.player.seek(this.player.position);
      this.count.textContent = `t = ${t}`;
    }
    this.player.finish();
    this.count.textContent = `${COUNT} pictures in ${next.value.timing.compute_s.toFixed(2)} s`;
    find("#between-downloads").hidden = false;
    speak(this.count.textContent);
    this.player.follow();
  }

  /**
   * Where the chains begin. Two pictures are those of the seeds, unless others are chosen.
   * @param {import("./address.js").Request} request @param {AbortSignal} signal
   */
  async #start(request, signal) {
    const weight = WEIGHTS;
    const { seed, other_seed } = request;
    if (request.ends !== "pictures") return { seeds: [seed, other_seed], weight };
    const names = { from: request.from || nameOf(request), to: request.to || nameOf({ ...request, seed: other_seed }) };
    const images = [];
    for (const end of /** @type {End[]} */ (["from", "to"])) {
      const { picture } = await recall(names[end], this.model, signal);
      paint(find(`#between-${end} canvas`), picture, this.model.image_shape);
      images.push(toPng(picture, this.model.image_shape));
    }
    return { images, t: request.mix_t ?? this.model.num_timesteps, weight };
  }

  #reset() {
    this.pngs = [];
    find("#between-downloads").hidden = true;
    this.player.reset(COUNT);
    this.strip.replaceChildren(...WEIGHTS.map((weight, k) => {
      const image = make("img", { src: EMPTY, class: "picture", alt: "" });
      const button = make("button", { type: "button", "aria-label": `Picture ${k + 1}, weight ${weight}` }, image);
      button.addEventListener("click", () => {
        this.player.pause();
        this.player.seek(k);
      });
      return button;
    }));
  }

  /** @param {number} position */
  #show(position) {
    this.picture.src = pngSource(this.pngs[position]);
    [...this.strip.children].forEach((button, k) => button.setAttribute("aria-current", String(k === position)));
    return `picture ${position + 1} of ${COUNT}, weight ${WEIGHTS[position]}`;
  }

  /** Pictures as canvases. @param {string[]} pngs */
  #canvases(pngs) {
    return Promise.all(pngs.map(async (png) => {
      const canvas = document.createElement("canvas");
      paint(canvas, await readPng(png, this.model.image_shape), this.model.image_shape);
      return canvas;
    }));
  }

  get #scale() {
    return Math.ceil(WIDE / this.model.image_shape[2]);
  }

  /** There and back. @param {string[]} pngs @param {AbortSignal} signal */
  async #gif(pngs, signal) {
    const frames = (await this.#canvases(pngs)).map((canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(0, 0, canvas.width, canvas.height));
    return animation([...frames, ...frames.slice(1, -1).reverse()], this.#scale, DELAY, signal);
  }

  /** Side by side. @param {string[]} pngs @returns {Promise<Blob>} */
  async #png(pngs) {
    const [, H, W] = this.model.image_shape;
    const scale = this.#scale;
    const strip = Object.assign(document.createElement("canvas"), { width: COUNT * W * scale, height: H * scale });
    const context = /** @type {CanvasRenderingContext2D} */ (strip.getContext("2d"));
    context.imageSmoothingEnabled = false;
    (await this.#canvases(pngs)).forEach((canvas, k) => context.drawImage(canvas, k * W * scale, 0, W * scale, H * scale));
    return new Promise((resolve) => strip.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), "image/png"));
  }
}
