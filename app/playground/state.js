// The lamp at the top: can the server be reached, can it serve, what is it doing, with which model.

import { find, make } from "./dom.js";
import { digits } from "./schedule.js";

const EVERY_MS = 2000;

export class State {
  /** @param {{model: any, reload: () => void}} page  model: GET /model, null until it is answered */
  constructor(page) {
    this.page = page;
    this.root = find("#state");
    this.text = find("#state-text");
    this.now = find("#state-now");
    this.wasLost = false;
    this.hasMetrics = true;
    /** @type {{rows: number, at: number} | null} */
    this.before = null;
  }

  /** Look every two seconds, while somebody may be looking at the page. */
  async watch() {
    for (;;) {
      if (!document.hidden) await this.look();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async look() {
    try {
      const [ready, numbers] = await Promise.all([fetch("readyz"), this.#numbers()]);
      this.#show(ready.ok || (await this.#othersLoad(ready)) ? "ready" : "waiting", numbers);
      if (ready.ok && this.wasLost) await this.#welcome();
    } catch {
      this.before = null;
      this.wasLost = true;
      this.root.dataset.state = "lost";
      this.text.textContent = "No connection";
      this.now.replaceChildren(...rows({ Server: "cannot be reached" }));
    }
  }

  /** Is it for other models alone than the page's that the server is not ready? @param {Response} answer */
  async #othersLoad(answer) {
    const { loading = [] } = await answer.json().catch(() => ({})); // a proxy may answer with a page
    return this.page.model && loading.length > 0 && !loading.includes(this.page.model.name);
  }

  /** The metrics; none where they are protected, and then they are not asked for again. */
  async #numbers() {
    if (!this.hasMetrics) return null;
    const answer = await fetch("metrics");
    this.hasMetrics = answer.status !== 401 && answer.status !== 403;
    return this.hasMetrics ? readMetrics(await answer.text()) : null;
  }

  /** A server that comes back may serve another model or need a key: the page is made anew. */
  async #welcome() {
    const before = this.page.model;
    const { model } = before ? await (await fetch(`models/${encodeURIComponent(before.name)}`)).json() : {};
    if (before && ["sha256", "needs_key"].some((name) => model?.[name] !== before[name])) this.page.reload();
    this.wasLost = false;
  }

  /** @param {string} state @param {Record<string, number> | null} metrics */
  #show(state, metrics) {
    const numbers = metrics ?? {};
    const queued = numbers.ddpm_queued_samples ?? 0;
    const rate = this.#rate(numbers.ddpm_engine_rows_total ?? 0);
    this.root.dataset.state = queued && state === "ready" ? "busy" : state;
    const text = state !== "ready" ? "Not ready" : queued ? `${queued} in progress` : "Ready";
    if (this.text.textContent !== text) this.text.textContent = text;
    this.now.replaceChildren(...rows(!metrics ? { Metrics: "need an admin's key" } : {
      "Engines ready": numbers.ddpm_engine_ready ?? 0,
      "Engine restarts": numbers.ddpm_engine_restarts_total ?? 0,
      "Images in progress": queued,
      "Network rows left": (numbers.ddpm_backlog_rows ?? 0).toLocaleString("en"),
      "Network rows per second": Math.round(rate).toLocaleString("en"),
    }));
  }

  /** @param {number} count */
  #rate(count) {
    const now = { rows: count, at: performance.now() };
    const before = this.before ?? now;
    this.before = now;
    return now.at > before.at ? Math.max(0, (1000 * (now.rows - before.rows)) / (now.at - before.at)) : 0;
  }
}

/** @param {import("./models.js").Model} model */
export function showModel(model) {
  find("#model-name").textContent = model.name;
  find("#model-json").href = `models/${encodeURIComponent(model.name)}`;
  const bits = model.quality?.bits_per_dim?.test?.total;
  find("#state-model").replaceChildren(...rows({
    Name: model.name,
    Image: `${model.image_shape[1]} × ${model.image_shape[2]}, ${model.image_shape[0] === 1 ? "grey" : "RGB"}`,
    Parameters: model.parameters.toLocaleString("en"),
    Process: `${model.schedule.replace("_", " ")}, T = ${model.num_timesteps}`,
    ...(model.classes.length ? { Labels: model.classes.length } : { Labels: "none, unconditional" }),
    ...(model.data ? { "Trained on": model.data } : {}),
    ...(bits ? { "Bound on the test set": `${digits(bits)} bits/dim` } : {}),
    Runs: `${model.runtime}, ${model.device}, ${model.precision}`,
    "Same bytes under load": model.batch_invariant ? "yes" : "not guaranteed",
    Weights: model.sha256.slice(0, 8),
  }));
}

/** @param {Record<string, string | number>} entries */
function rows(entries) {
  return Object.entries(entries).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]);
}

/**
 * Each metric's sum over its labels.
 * @param {string} text  in Prometheus' format
 */
function readMetrics(text) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const [, name, value] of text.matchAll(/^(\w+)(?:\{.*\})? (\S+)$/gm)) {
    sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}
