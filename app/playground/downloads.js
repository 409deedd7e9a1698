// Files that are made of what is shown, by the server or here: how far each is, and a way to give it up.

import { ask, received } from "./api.js";
import { make, save, speak } from "./dom.js";
import { Task } from "./task.js";

const MB = 1e6;

/** @typedef {(signal: AbortSignal) => Promise<{answer: Response, name: string}>} Fetch  and the file's name */

/**
 * Have the buttons with a data-accept ask for another representation of what is shown.
 * @param {HTMLElement} root  with the buttons, each with a data-suffix, too
 * @param {string} path
 * @param {() => Record<string, unknown> | undefined} getBody
 * @param {any} model
 * @param {Task} task  whose place for errors is used
 */
export function wireDownloads(root, path, getBody, model, task) {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll("[data-accept]"))) {
    const { accept, suffix } = button.dataset;
    wireDownload(button, getBody, async (signal, body) => {
      const answer = await ask(path, { body, accept, signal });
      return { answer, name: `${model.name}-seed-${answer.headers.get("X-Seed")}.${suffix}` };
    }, task);
  }
}

/**
 * Have a button fetch a file, or make it. Below it is said how far that is; pressed again meanwhile it does nothing.
 * @template T
 * @param {HTMLButtonElement} button
 * @param {() => T | undefined} getWhat  what to fetch; undefined: nothing yet
 * @param {(signal: AbortSignal, what: T) => ReturnType<Fetch>} fetchIt
 * @param {Task} task  whose place for errors is used
 */
export function wireDownload(button, getWhat, fetchIt, task) {
  button.addEventListener("click", async () => {
    const what = getWhat();
    if (what === undefined || button.ariaDisabled === "true") return;
    button.ariaDisabled = "true"; // it keeps the focus, which one that is disabled would lose
    const line = new Line(button);
    try {
      await task.also(() => fetched(line, (signal) => fetchIt(signal, what)));
    } finally {
      line.remove();
      button.ariaDisabled = null;
    }
  });
}

/** @param {Line} line @param {Fetch} fetchIt */
async function fetched(line, fetchIt) {
  try {
    const { answer, name } = await fetchIt(line.signal);
    const file = await received(answer, (done, all) => line.tell(done, all));
    line.signal.throwIfAborted();
    save(file, name);
    speak(`${name} is saved`);
  } catch (error) {
    if (!line.signal.aborted) throw error;
  }
}

/** What is said of a file on its way, with a button that gives it up. */
class Line {
  /** @param {HTMLButtonElement} button  that was pressed */
  constructor(button) {
    this.button = button;
    this.kind = button.textContent ?? "";
    this.controller = new AbortController();
    this.text = make("span", {}, `${this.kind}: being made …`);
    this.bar = /** @type {HTMLProgressElement} */ (make("progress", { "aria-label": `Progress of the ${this.kind}` }));
    this.cancel = make("button", { type: "button", "aria-label": `Cancel the ${this.kind}` }, "Cancel");
    this.cancel.addEventListener("click", () => this.controller.abort());
    this.root = make("span", { class: "download" }, this.text, this.bar, this.cancel);
    button.parentElement?.append(this.root);
    speak(`The ${this.kind} is being made`);
  }

  get signal() {
    return this.controller.signal;
  }

  /** The server has begun to send it. @param {number} done  bytes @param {number | null} all  null: not known */
  tell(done, all) {
    const megabytes = (/** @type {number} */ bytes) => (bytes / MB).toFixed(1);
    this.text.textContent = `${this.kind}: ${megabytes(done)}${all ? ` of ${megabytes(all)}` : ""} MB`;
    if (all) Object.assign(this.bar, { max: all, value: done });
  }

  remove() {
    if (this.root.contains(document.activeElement)) this.button.focus();
    this.root.remove();
  }
}
