// Generate: images that take shape as they are made.

import { toQuery } from "./address.js";
import { trajectory } from "./api.js";
import { EMPTY, find, make, pngSource, speak } from "./dom.js";
import { sampleBody } from "./request.js";
import { editAddress, walkAddress } from "./sources.js";
import { Task } from "./task.js";
import { wireDownloads } from "./downloads.js";

/** Where a tile is refreshed on the way, as parts of T, when there are few enough images. */
const PREVIEWS = [1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05];
const MAX_PREVIEWED = 40;

export class Generate {
  /**
   * @param {any} model
   * @param {import("./request.js").Form} form
   * @param {import("./api.js").Offers} offers
   */
  constructor(model, form, offers) {
    this.model = model;
    this.offers = offers;
    this.title = "Generate";
    this.tiles = find("#tiles");
    this.count = find("#generate-count");
    this.progress = find("#generate-progress");
    this.downloads = find("#generate-downloads");
    this.task = new Task(find("#generate"), this.#work.bind(this), form.showErrors.bind(form));
    wireDownloads(this.downloads, "sample", () => this.request && sampleBody(this.request, model), model, this.task);
  }

  /** @param {import("./address.js").Request} request */
  run(request) {
    this.request = request;
    return this.task.start(request);
  }

  /** @param {import("./address.js").Request} request @param {AbortSignal} signal */
  async #work(request, signal) {
    const body = sampleBody(request, this.model);
    const n = request.n ?? 1;
    const frames = trajectory({ ...body, timesteps: this.#shownTimes(n) }, signal);
    let next = await frames.next(); // refused requests leave the old images where they are
    const tiles = this.#reset(request, n);
    let finished = 0;
    for (; !next.done; next = await frames.next()) {
      const { index, t, x_t, x0_hat } = next.value;
      const tile = tiles[index - (request.first_index ?? 0)];
      tile.querySelector("img").src = pngSource(t === this.model.num_timesteps ? x_t : x0_hat);
      if (t === 0) {
        finished += 1;
        this.#tell(finished, n, "");
      }
    }
    const { compute_s } = next.value.timing;
    this.#tell(finished, n, ` in ${compute_s < 10 ? compute_s.toFixed(1) : Math.round(compute_s)} s`);
    this.downloads.hidden = false;
    speak(this.count.textContent);
  }

  /** @param {number} n */
  #shownTimes(n) {
    if (n > MAX_PREVIEWED) return [0];
    const { num_timesteps, limits } = this.model;
    return [0, ...PREVIEWS.slice(0, limits.max_frames - 1).map((part) => Math.round(part * num_timesteps))];
  }

  /** @param {number} finished @param {number} n @param {string} suffix */
  #tell(finished, n, suffix) {
    this.progress.max = n;
    this.progress.value = finished;
    this.progress.hidden = finished === n;
    this.count.textContent = finished === n ? `${n} ${n === 1 ? "image" : "images"}${suffix}` : `${finished} of ${n}`;
  }

  /** Empty tiles, each a link to its image's way from noise. */
  #reset(/** @type {import("./address.js").Request} */ request, /** @type {number} */ n) {
    const { model } = this;
    const first = request.first_index ?? 0;
    this.downloads.hidden = true;
    this.#tell(0, n, "");
    const single = (/** @type {number} */ k) => {
      const label = request.labels === "each" ? String((first + k) % model.classes.length) : request.labels;
      return { ...request, labels: label, first_index: first + k };
    };
    const tiles = Array.from({ length: n }, (_, k) => {
      const { labels } = single(k);
      const name = labels === "any" ? "" : model.classes[Number(labels)];
      const image = make("img", { src: EMPTY, class: "picture", alt: `Image ${first + k}${name && `, label ${name}`}` });
      const caption = make("span", {}, name || `no. ${first + k}`);
      const watch = make("a", { href: toQuery("watch", single(k), model), title: "Watch it being made" }, image, caption);
      return make("li", {}, watch, ...(this.offers.start ? [this.#onward(single(k), single(k + 1))] : []));
    });
    this.tiles.dataset.size = n === 1 ? "one" : n <= 24 ? "few" : "many";
    this.tiles.replaceChildren(...tiles);
    return /** @type {any[]} */ (tiles);
  }

  /** Where an image leads to. @param {import("./address.js").Request} image @param {import("./address.js").Request} next */
  #onward(image, next) {
    const { model } = this;
    return make("p", { class: "onward" },
      make("a", { href: editAddress(image, model), "aria-label": `Edit image ${image.first_index}` }, "Edit"),
      make("a", { href: walkAddress(image, next, model), "aria-label": `Walk from image ${image.first_index} to the next` }, "Walk"));
  }
}
