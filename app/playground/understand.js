// Understand: the lessons, each begun when it comes into sight.

import { Algorithm } from "./algorithm.js";
import { Bits } from "./bits.js";
import { Compare } from "./compare.js";
import { find } from "./dom.js";
import { Example } from "./example.js";
import { Forward } from "./forward.js";
import { Learn } from "./learn.js";

/** The lessons on any picture, the user's too. */
const ON_A_PICTURE = ["learn", "bits"];

/** @typedef {{run: () => Promise<boolean>, task: import("./task.js").Task}} Lesson */

export class Understand {
  /**
   * @param {any} model
   * @param {import("./request.js").Form} form
   * @param {import("./api.js").Offers} offers
   */
  constructor(model, form, offers) {
    this.title = "Understand";
    this.example = new Example(model);
    /** @type {import("./task.js").Tell} */
    const tell = (errors) => {
      form.showErrors(errors);
      // One refusal is enough: lessons still out of sight would take the focus away when they are seen.
      if (errors.length) this.observer.disconnect();
    };
    /** @type {Record<string, Lesson>} */
    const lessons = {
      forward: new Forward(model, tell, this.example, () => this.#begin(ON_A_PICTURE)),
      ...(offers.start ? { learn: new Learn(model, tell, this.example) } : {}),
      algorithm: new Algorithm(model, tell, this.example),
      compare: new Compare(model, tell, this.example),
      ...(offers.bound ? { bits: new Bits(model, tell, this.example) } : {}),
    };
    /** @type {Map<Element, Lesson>} */
    this.lessons = new Map(Object.entries(lessons).map(([id, lesson]) => [find(`#${id}`), lesson]));
    [...this.lessons.keys()].forEach((root, k) => {
      /** @type {HTMLElement} */ (root).hidden = false;
      find(".number", root).textContent = String(k + 1);
    });
    for (const place of document.querySelectorAll(".T")) place.textContent = String(model.num_timesteps);
    /** @type {Set<Element>} */
    this.waiting = new Set();
    this.observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && this.waiting.delete(target)) this.lessons.get(target)?.run();
      }
    });
  }

  /** @param {import("./address.js").Request} request */
  async run(request) {
    this.example.choose(request);
    this.#begin([...this.lessons.keys()].map(({ id }) => id));
  }

  /** Begin lessons anew, each when it is in sight. @param {string[]} ids */
  #begin(ids) {
    this.observer.disconnect(); // and observed again, it reports what is in sight now
    for (const [root, lesson] of this.lessons) {
      if (ids.includes(root.id)) {
        lesson.task.cancel();
        this.waiting.add(root);
      }
      if (this.waiting.has(root)) this.observer.observe(root);
    }
  }
}
