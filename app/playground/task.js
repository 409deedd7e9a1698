// What a part of the page asks of the server: started, cancelled, tried again, its errors shown.

import { Refused, Unreachable } from "./api.js";
import { make } from "./dom.js";

const UNREACHABLE_SECONDS = 2;
const BUSY = new Set([429, 503]);

/** Something that the user can mend; the message says how. */
export class Mendable extends Error {}

/** @typedef {(request: any, signal: AbortSignal) => Promise<void>} Work */
/** @typedef {(errors: {field: string, message: string}[]) => void} Tell  of fields; none: all is well */

export class Task {
  /**
   * @param {HTMLElement} root  with a header, below which errors are told; where that has data-cancel, work can be
   *   cancelled there. Without a header: with a .message
   * @param {Work} work
   * @param {Tell} onFieldErrors
   */
  constructor(root, work, onFieldErrors = () => {}) {
    this.root = root;
    this.work = work;
    this.onFieldErrors = onFieldErrors;
    this.button = make("button", { type: "button", class: "cancel quiet", hidden: true }, "Cancel");
    this.button.addEventListener("click", () => this.cancel());
    const header = root.querySelector("header");
    if (header && "cancel" in header.dataset) header.append(this.button);
    const message = /** @type {HTMLElement | null} */ (root.querySelector(".message"));
    this.message = message ?? make("div", { class: "message", role: "alert", hidden: true });
    header?.after(this.message);
    /** @type {AbortController | null} */
    this.running = null;
  }

  /** Do the work; what was under way ends. Returns whether it was done. @param {any} request */
  async start(request) {
    this.cancel();
    const controller = new AbortController();
    this.running = controller;
    this.onFieldErrors([]);
    this.#busy(true);
    let done = false;
    while (!done && !controller.signal.aborted) {
      try {
        await this.work(request, controller.signal);
        this.#say(null);
        done = true;
      } catch (error) {
        if (controller.signal.aborted) break;
        const seconds = pause(error);
        this.explain(/** @type {Error} */ (error));
        if (seconds === null) break;
        await this.#wait(seconds, controller.signal);
      }
    }
    if (this.running === controller) {
      this.running = null;
      this.#busy(false);
    }
    return done;
  }

  /** Something smaller beside the work: its errors are shown too. @param {() => Promise<void>} errand */
  async also(errand) {
    try {
      await errand();
      if (!this.running) this.#say(null);
    } catch (error) {
      this.explain(/** @type {Error} */ (error));
    }
  }

  cancel() {
    if (!this.running) return;
    this.running.abort();
    this.running = null;
    this.#say(null);
    this.#busy(false);
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.root.setAttribute("aria-busy", String(busy));
    this.button.hidden = !busy;
  }

  /** All is well again. */
  clear() {
    this.onFieldErrors([]);
    this.#say(null);
  }

  /** Show what went wrong. @param {Error} error */
  explain(error) {
    if (error instanceof Refused && error.errors.length) this.onFieldErrors(error.errors);
    const isExpected = [Refused, Unreachable, Mendable].some((kind) => error instanceof kind);
    if (!isExpected) console.error(error);
    this.#say(error.message);
  }

  /** @param {string | null} text */
  #say(text) {
    const isNew = this.message.hidden && text !== null;
    this.message.hidden = text === null;
    this.message.classList.toggle("is-error", text !== null);
    this.message.replaceChildren(...(text === null ? [] : [make("span", {}, text)]));
    if (isNew) this.#reveal();
  }

  /** Bring the message into sight where the user is at this part of the page, and not at a wrong field. */
  #reveal() {
    const { top, bottom } = this.root.getBoundingClientRect();
    const isHere = bottom > 0 && top < innerHeight;
    if (isHere && !document.activeElement?.matches("[aria-invalid]")) this.message.scrollIntoView({ block: "nearest" });
  }

  /**
   * Count down beside the message, for as long as the server asked for or until the user says now.
   * @param {number} seconds
   * @param {AbortSignal} signal
   */
  async #wait(seconds, signal) {
    // Hidden from screen readers: the message would be read again at every second.
    const left = make("span", { "aria-hidden": true, class: "countdown" });
    const now = make("button", { type: "button" }, "Try now");
    const stop = make("button", { type: "button" }, "Give up");
    stop.addEventListener("click", () => this.cancel());
    this.message.append(left, now, stop);
    const pressed = new Promise((resolve) => {
      now.addEventListener("click", () => resolve(true));
      signal.addEventListener("abort", () => resolve(true));
    });
    for (let rest = seconds; rest > 0; rest--) {
      left.textContent = `Trying again in ${rest} s.`;
      const over = new Promise((resolve) => setTimeout(resolve, 1000, false));
      if (await Promise.race([pressed, over])) return;
    }
  }
}

/** Seconds after which to try again; null: trying again would not help. @param {unknown} error */
function pause(error) {
  if (error instanceof Unreachable) return UNREACHABLE_SECONDS;
  if (error instanceof Refused && BUSY.has(error.status)) return error.retryAfter ?? 5;
  return null;
}
