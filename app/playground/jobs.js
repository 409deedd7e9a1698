// Jobs: started, followed, downloaded and cancelled. The server names a job to whoever started it
// and lists none, so this browser remembers its own.

import { Refused, ask } from "./api.js";
import { find, make, speak } from "./dom.js";
import { wireDownload } from "./downloads.js";
import { sampleBody } from "./request.js";
import { Task } from "./task.js";

const KEY = "jobs";
const POLL_MS = 1000;
const NOT_ENDED = new Set(["waiting", "running"]);
const DOWNLOADS = { ZIP: "application/zip", NumPy: "application/x-npz" };
const SUFFIXES = { ZIP: "zip", NumPy: "npz" };

/**
 * @typedef {{id: string, model: string, seed: number, sampler: string, steps: number, status: string, total: number,
 *   done: number, rate: number | null, left_s: number | null, detail: string | null}} Status
 */

export class Jobs {
  /** @param {any} model @param {import("./request.js").Form} form */
  constructor(model, form) {
    this.model = model;
    this.title = "Jobs";
    this.root = find("#jobs");
    this.list = find("#job-list");
    this.task = new Task(this.root, this.#work.bind(this), form.showErrors.bind(form));
    this.isFollowing = false;
    this.ids = load(); // the newest first
  }

  /** Show how far the jobs are; it starts none, for a link is followed without thinking. */
  run() {
    for (const id of this.ids) this.#row(id);
    this.#follow();
  }

  /** @param {import("./address.js").Request} request */
  async start(request) {
    // Should the answer be lost on its way, trying again finds the job that was started.
    const key = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    await this.task.start({ body: sampleBody(request, this.model), key });
  }

  /** @param {{body: object, key: string}} request @param {AbortSignal} signal */
  async #work({ body, key }, signal) {
    const headers = { Prefer: "respond-async", "Idempotency-Key": key };
    const status = /** @type {Status} */ (await (await ask("sample", { body, headers, signal })).json());
    this.#remember([status.id, ...this.ids.filter((id) => id !== status.id)]);
    this.#show(status);
    speak("The job was accepted");
    this.#follow();
  }

  /** Ask after every job that has not ended, while the view is seen. */
  async #follow() {
    if (this.isFollowing) return;
    this.isFollowing = true;
    const isOver = (/** @type {string} */ id) => !NOT_ENDED.has(this.#row(id).dataset.status ?? "waiting");
    let wasRefused = false;
    while (!this.root.hidden && this.ids.some((id) => !isOver(id))) {
      try {
        for (const id of this.ids.filter((id) => !isOver(id))) await this.#look(id);
        if (wasRefused) this.task.clear();
        wasRefused = false;
      } catch (error) {
        if (!wasRefused) this.task.explain(/** @type {Error} */ (error)); // once: it takes the focus
        wasRefused = true;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    this.isFollowing = false;
  }

  /** Raises Refused 401. @param {string} id */
  async #look(id) {
    try {
      this.#show(await (await ask(`jobs/${id}`)).json());
    } catch (error) {
      // Gone: expired, or cancelled elsewhere. The user mends the key. Whatever else it is passes; the
      // lamp shows it.
      const status = error instanceof Refused ? error.status : 0;
      if (status === 404) this.#forget(id);
      if (status === 401) throw error;
    }
  }

  /** The job's place in the list, the newest first. @param {string} id @returns {HTMLElement} */
  #row(id) {
    const found = this.list.querySelector(`[data-id="${id}"]`);
    if (found) return found;
    const row = make("li", { "data-id": id });
    if (id === this.ids[0]) this.list.prepend(row);
    else this.list.append(row);
    return row;
  }

  /** @param {Status} status */
  #show(status) {
    const row = this.#row(status.id);
    const model = status.model === this.model.name ? "" : `${status.model}, `;
    const name = `${status.total} ${status.total === 1 ? "image" : "images"} of ${model}seed ${status.seed}`;
    if (row.dataset.status !== status.status) row.replaceChildren(...this.#controls(status, name));
    row.dataset.status = status.status;
    const bar = /** @type {HTMLProgressElement} */ (find("progress", row));
    bar.max = status.total;
    bar.value = status.done;
    find(".figure-note", row).textContent = progressText(status);
  }

  /** @param {Status} status @param {string} name */
  #controls(status, name) {
    const isOver = !NOT_ENDED.has(status.status);
    const end = make("button", { type: "button", "aria-label": `${isOver ? "Remove" : "Cancel"} ${name}` }, isOver ? "Remove" : "Cancel");
    end.addEventListener("click", () => this.task.also(async () => {
      await ask(`jobs/${status.id}`, { method: "DELETE" }).catch((error) => {
        if (!(error instanceof Refused && error.status === 404)) throw error;
      });
      this.#forget(status.id);
    }));
    const downloads = status.status === "finished" ? Object.entries(DOWNLOADS).map(([kind, accept]) => {
      const button = /** @type {HTMLButtonElement} */ (make("button", { type: "button", "aria-label": `${kind} of ${name}` }, kind));
      const file = `${status.model}-seed-${status.seed}.${SUFFIXES[/** @type {"ZIP"} */ (kind)]}`;
      wireDownload(button, () => status.id, async (signal, id) => ({ answer: await ask(`jobs/${id}/result`, { accept, signal }), name: file }), this.task);
      return button;
    }) : [];
    return [
      make("b", {}, name), make("span", { class: "figure-note" }), ...downloads, end,
      make("progress", { "aria-label": `Progress of ${name}`, value: 0 }),
    ];
  }

  /** @param {string} id */
  #forget(id) {
    this.#remember(this.ids.filter((other) => other !== id));
    this.#row(id).remove();
  }

  /** @param {string[]} ids */
  #remember(ids) {
    this.ids = ids;
    store(ids);
  }
}

/** @param {Status} status */
function progressText({ status, done, total, left_s, sampler, steps, detail }) {
  const how = `${sampler}, ${steps} ${steps === 1 ? "step" : "steps"}`;
  if (status === "finished") return `${how} · finished`;
  if (!NOT_ENDED.has(status)) return `${how} · ${status}${detail ? `: ${detail}` : ""}`;
  const left = left_s === null ? "" : ` · about ${duration(left_s)} left`;
  return `${how} · ${done} of ${total}${left}${detail ? ` · ${detail}` : ""}`;
}

/** A time in words, about. @param {number} seconds */
function duration(seconds) {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @returns {string[]} */
function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "[]");
  } catch {
    return []; // storage is switched off, or holds something else
  }
}

/** @param {string[]} ids */
function store(ids) {
  try {
    localStorage.setItem(KEY, JSON.stringify(ids));
  } catch {
    // storage is switched off: they are known until the page is closed
  }
}
