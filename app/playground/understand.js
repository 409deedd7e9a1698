// Understand: three lessons, each begun when it comes into sight.

import { Algorithm } from "./algorithm.js";
import { Compare } from "./compare.js";
import { find } from "./dom.js";
import { Example } from "./example.js";
import { Forward } from "./forward.js";

export class Understand {
  /** @param {any} model @param {import("./request.js").Form} form */
  constructor(model, form) {
    this.title = "Understand";
    this.example = new Example(model);
    /** @type {Map<Element, Forward | Algorithm | Compare>} */
    this.lessons = new Map();
    /** @type {import("./task.js").Tell} */
    const tell = (errors) => {
      form.showErrors(errors);
      // One refusal is enough: lessons still out of sight would take the focus away when they are seen.
      if (errors.length) this.observer.disconnect();
    };
    for (const [id, lesson] of Object.entries({
      forward: new Forward(model, tell, this.example),
      algorithm: new Algorithm(model, tell, this.example),
      compare: new Compare(model, tell, this.example),
    })) {
      this.lessons.set(find(`#${id}`), lesson);
    }
    for (const place of document.querySelectorAll(".T")) place.textContent = String(model.num_timesteps);
    /** @type {Set<Element>} */
    this.waiting = new Set();
    this.observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.#begin(target);
    });
  }

  /** @param {import("./request.js").Request} request */
  async run(request) {
    this.request = request;
    this.example.choose(request);
    this.observer.disconnect(); // and observed again, it reports what is in sight now
    for (const [root, lesson] of this.lessons) {
      lesson.task.cancel();
      this.waiting.add(root);
      this.observer.observe(root);
    }
  }

  /** @param {Element} root */
  #begin(root) {
    if (!this.waiting.delete(root)) return;
    this.lessons.get(root)?.run(/** @type {import("./request.js").Request} */ (this.request));
  }
}
