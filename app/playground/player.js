// A slider over frames that are still arriving, and a button that plays them.

import { find } from "./dom.js";

const PLAY_SECONDS = 5;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  /**
   * @param {HTMLElement} root  with a button .play and a range
   * @param {(position: number) => string} show  shows a frame; returns its name for screen readers
   * @param {number} seconds  that playing all takes
   */
  constructor(root, show, seconds = PLAY_SECONDS) {
    this.show = show;
    this.seconds = seconds;
    this.button = find(".play", root);
    this.slider = find("input[type=range]", root);
    this.isPlaying = false;
    this.scheduled = 0; // the animation frame asked for
    this.total = 1;
    this.arrived = 0;
    this.position = 0; // a fraction while playing
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    // Taking hold of it pauses, also where it already is.
    this.slider.addEventListener("pointerdown", () => this.pause());
    this.slider.addEventListener("keydown", (/** @type {KeyboardEvent} */ { key }) => {
      if (/^(Arrow|Home|End|Page)/.test(key)) this.pause();
    });
    this.reset(1);
  }

  /** Nothing has arrived of what will be about `total` frames. @param {number} total */
  reset(total) {
    this.pause();
    this.total = total;
    this.arrived = 0;
    this.position = 0;
    this.slider.max = String(Math.max(1, total - 1));
    this.slider.value = "0";
    this.slider.disabled = this.button.disabled = true;
  }

  /** One more frame is there; the first is shown. */
  add() {
    this.arrived += 1;
    this.slider.disabled = this.button.disabled = false;
    if (this.arrived === 1) this.seek(0);
  }

  /** No more will come. */
  finish() {
    this.total = this.arrived;
    this.slider.max = String(Math.max(1, this.total - 1));
    if (calm.matches && this.position === 0) this.seek(this.total - 1);
  }

  /** Show the frame, or the nearest that is there, if any is. @param {number} position */
  seek(position) {
    if (!this.arrived) return;
    this.position = Math.min(Math.max(position, 0), this.arrived - 1);
    const shown = Math.floor(this.position);
    this.slider.value = String(shown);
    this.slider.style.setProperty("--done", `${(100 * shown) / Math.max(1, this.total - 1)}%`);
    this.slider.setAttribute("aria-valuetext", this.show(shown));
  }

  /** Go by so many frames and stay there. @param {number} frames */
  step(frames) {
    this.pause();
    this.seek(Math.floor(this.position) + frames);
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  pause() {
    cancelAnimationFrame(this.scheduled);
    this.isPlaying = false;
    this.button.textContent = "Play";
  }

  /** Play on, from the start when at the end; waits for frames that have not arrived. */
  play() {
    cancelAnimationFrame(this.scheduled);
    if (this.position >= this.total - 1) this.position = 0;
    this.isPlaying = true;
    this.button.textContent = "Pause";
    let before = performance.now();
    const tick = (/** @type {number} */ now) => {
      const ahead = ((now - before) * this.total) / (1000 * this.seconds);
      before = now;
      this.seek(this.position + ahead);
      if (this.position >= this.total - 1) this.pause();
      else this.scheduled = requestAnimationFrame(tick);
    };
    this.scheduled = requestAnimationFrame(tick);
  }

  /** Play as the frames arrive, unless the user prefers pages that keep still. */
  follow() {
    if (!calm.matches) this.play();
  }
}
