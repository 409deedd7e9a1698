// The page: loads what is served, then shows the view and the request that the address holds.

import { fromQuery, toQuery } from "./address.js";
import { offers } from "./api.js";
import { Between } from "./between.js";
import { copy, find, speak } from "./dom.js";
import { Edit } from "./edit.js";
import { Generate } from "./generate.js";
import { Jobs } from "./jobs.js";
import { keepKey } from "./key.js";
import { chosenModel, offerModels, warning } from "./models.js";
import { Form } from "./request.js";
import { listenForCopies, showSnippets } from "./snippets.js";
import { State, showModel } from "./state.js";
import { Task } from "./task.js";
import { Teach, enlargeWhole } from "./teach.js";
import { Understand } from "./understand.js";
import { Watch } from "./watch.js";

const RUN = { generate: "Generate", watch: "Watch", edit: "Make anew", between: "Walk", understand: "Show", jobs: "Start a job" };

const VIEWS = /** @type {View[]} */ (Object.keys(RUN));

/** @typedef {keyof typeof RUN} View */

class Page {
  /**
   * The form and the choice of a view can be used at once; what is asked for is done when the model
   * is known.
   * @param {() => void} onEarlyRequest  called when the user asks before that
   */
  constructor(onEarlyRequest) {
    /** What the server says of the model; null until it has. @type {any} */
    this.model = null;
    this.onEarlyRequest = onEarlyRequest;
    this.form = new Form();
    /** What each view shows. @type {Partial<Record<View, string>>} */
    this.shown = {};
    /** @type {View} */
    this.view = "generate";
    this.#listen();
    for (const view of VIEWS) {
      const parameters = new URLSearchParams(location.search);
      parameters.set("view", view);
      find(`nav [data-view=${view}]`).href = `?${parameters}`;
    }
    this.follow(location.search);
    this.form.write(fromQuery(location.search));
  }

  /**
   * Make the views of the model and show what the address says. What the user has changed meanwhile
   * stays.
   * @param {import("./models.js").Model} model
   * @param {import("./api.js").Offers} offered
   */
  meet(model, offered) {
    this.model = model;
    this.form.offer(model);
    const edit = new Edit(model, this.form);
    this.views = {
      generate: new Generate(model, this.form, offered),
      watch: new Watch(model, this.form, offered),
      edit,
      between: new Between(model, this.form, () => edit.drawing),
      understand: new Understand(model, this.form, offered),
      jobs: new Jobs(model, this.form),
    };
    find("nav [data-view=jobs]").hidden = !offered.jobs;
    for (const view of ["edit", "between"]) find(`nav [data-view=${view}]`).hidden = !offered.start;
    if (model.needs_key) keepKey();
    this.defaults = this.form.defaults();
    showModel(model);
    const [, H, W] = model.image_shape;
    document.documentElement.style.setProperty("--aspect", `${W} / ${H}`);
    enlargeWhole(W);
    this.#warnOfTheAddress();
    this.follow(location.search, this.form.edits());
    offerModels(model, () => toQuery(this.view, this.form.read(), model));
  }

  /** Load the page anew, for another model is served; the form keeps what it holds. */
  reload() {
    if (this.model) history.replaceState(null, "", toQuery(this.view, this.form.read(), this.model));
    location.reload();
  }

  /**
   * Show what an address says, and do it unless it is there already.
   * @param {string} query
   * @param {Partial<import("./address.js").Request>} edits  which win over the address
   */
  follow(query, edits = {}) {
    const view = new URLSearchParams(query).get("view");
    this.#turnTo(/** @type {View} */ (view && view in RUN ? view : "generate"));
    if (!this.model) return;
    this.form.write({ ...this.defaults, ...fromQuery(query), ...edits });
    this.run("replace");
  }

  /** @param {"push" | "replace"} how  the address enters the browser's history */
  run(how) {
    if (!this.model) return this.onEarlyRequest();
    this.form.drawSeeds();
    const request = this.form.read();
    const query = toQuery(this.view, request, this.model);
    history[how === "push" ? "pushState" : "replaceState"](null, "", query);
    showSnippets(this.view, request, this.model);
    for (const view of VIEWS) {
      find(`nav [data-view=${view}]`).href = this.shown[view] ?? toQuery(view, request, this.model);
    }
    if (this.shown[this.view] === query) return;
    this.shown[this.view] = query;
    this.views[this.view].run(request);
  }

  /** @param {View} view */
  #turnTo(view) {
    this.view = view;
    for (const name of VIEWS) {
      find(`#${name}`).hidden = name !== view || !this.model;
      const link = find(`nav [data-view=${name}]`);
      if (name === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    find("#run").textContent = RUN[view];
    if (this.model) document.title = `${this.views[view].title} · ${this.model.name} · DDPM playground`;
    this.form.refresh(view);
    this.form.showErrors([]);
  }

  #listen() {
    this.form.element.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.model && this.view === "jobs") this.views.jobs.start(this.form.read());
      delete this.shown[this.view]; // asked for again, it is done again
      this.run("push");
    });
    find("#die").addEventListener("click", () => {
      this.form.drawSeed();
      speak(`Seed ${this.form.read().seed}`);
      this.run("push");
    });
    find("#share").addEventListener("click", async () => {
      await copy(location.href);
      const drawn = /=drawn-/.test(location.search);
      find("#share").textContent = drawn ? "Copied without the drawing" : "Link copied";
      speak(drawn ? "Link copied. The drawing stays in this tab and is not in the link" : "Link copied");
      setTimeout(() => (find("#share").textContent = "Copy link"), 2000);
    });
    addEventListener("popstate", () => this.follow(location.search));
    document.addEventListener("click", (event) => this.#stayHere(event));
    listenForCopies();
  }

  /** Links to a view are followed without loading the page anew. @param {MouseEvent} event */
  #stayHere(event) {
    const link = /** @type {Element} */ (event.target).closest("a[href^='?']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const query = /** @type {string} */ (link.getAttribute("href"));
    history.pushState(null, "", query);
    this.follow(query);
    scrollTo({ top: 0 });
    find("#main").focus({ preventScroll: true });
  }

  #warnOfTheAddress() {
    const message = find("#boot .message");
    message.textContent = warning(this.model);
    message.hidden = !message.textContent;
  }
}

/** @type {[any, import("./api.js").Offers] | null} */
let served = null;
const boot = new Task(find("#boot"), async (_, signal) => {
  served = [await chosenModel(signal), await offers(signal)];
});
const page = new Page(() => {
  if (!boot.running) begin(); // the user had given up, and asks again
});
new Teach();
new State(page).watch();
begin();

async function begin() {
  if (await boot.start(null)) page.meet(.../** @type {[any, import("./api.js").Offers]} */ (served));
}
