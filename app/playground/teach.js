// For teaching: full screen with larger pictures and without the form, and keys that play and step.

import { find, speak } from "./dom.js";

const BUSY = "a, button, input, select, summary, pre, canvas, textarea";
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export class Teach {
  constructor() {
    this.root = document.documentElement;
    this.button = find("#teach");
    this.button.addEventListener("click", () => this.#toggle());
    document.addEventListener("fullscreenchange", () => this.#follow());
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  get isOn() {
    return "teaching" in this.root.dataset;
  }

  async #toggle() {
    if (document.fullscreenElement) return document.exitFullscreen();
    // A phone that has no full screen for pages shows the larger pictures all the same.
    if (this.root.requestFullscreen && !this.isOn) return this.root.requestFullscreen().catch(() => this.#set(true));
    this.#set(!this.isOn);
  }

  #follow() {
    this.#set(Boolean(document.fullscreenElement));
  }

  /** @param {boolean} isOn */
  #set(isOn) {
    if (isOn) this.root.dataset.teaching = "";
    else delete this.root.dataset.teaching;
    this.button.setAttribute("aria-pressed", String(isOn));
    if (isOn) speak("Space plays, the arrow keys step");
  }

  /** Space plays what has a Play button; when teaching, arrows move the slider in sight. @param {KeyboardEvent} event */
  #press(event) {
    const isElsewhere = /** @type {Element} */ (event.target).closest(BUSY) && event.target !== this.button;
    if (isElsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
    const slider = this.#slider();
    const step = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
    const play = /** @type {HTMLElement | null | undefined} */ (slider?.parentElement?.querySelector(".play"));
    if (event.key === " " && play && event.target !== this.button) play.click();
    else if (step && slider && this.isOn) this.#move(slider, step);
    else return;
    event.preventDefault();
  }

  /** @param {HTMLInputElement} slider @param {number} step */
  #move(slider, step) {
    slider.dispatchEvent(new PointerEvent("pointerdown")); // what plays pauses
    slider.valueAsNumber += slider.dir === "rtl" ? -step : step;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** The slider of frames or of t that is nearest to the middle of the screen. */
  #slider() {
    const sliders = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("main :is(.timeline, .player) > input[type=range]")]);
    const distance = (/** @type {Element} */ element) => Math.abs(element.getBoundingClientRect().top - innerHeight / 2);
    return sliders.filter((slider) => slider.checkVisibility() && !slider.disabled).sort((a, b) => distance(a) - distance(b))[0];
  }
}

/**
 * Have pictures enlarged by whole pixels of the screen, also after the user has zoomed.
 * @param {number} width  of a picture
 */
export function enlargeWhole(width) {
  const set = () => document.documentElement.style.setProperty("--step", `${width / devicePixelRatio}px`);
  addEventListener("resize", set);
  set();
}
