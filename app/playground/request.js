// The form and the request's body: two forms of one thing. address.js has the third.

import { CHOICES, FIELDS, WORDS } from "./address.js";
import { find, make } from "./dom.js";

const DEFAULT_STEPS = { ddpm: Infinity, ddim: 50, dpmpp: 20, unipc: 20, ipndm: 20 };
/** Samplers without a first step where nothing is left of the image at t = T. */
const NEED_SIGNAL = ["unipc", "ipndm"];
const SEEDS = 1_000_000;
const FRAMES = 60;
/** How far back a picture is noised at first, as a part of T. */
const START = 0.6;

/** @typedef {import("./address.js").Request} Request */

export class Form {
  constructor() {
    /** What the server says of the model; null until then, when the fields can be used already. @type {any} */
    this.model = null;
    this.element = find("#request");
    // Some are outside of the form's element, beside the pictures.
    this.fields = Object.fromEntries(FIELDS.map((name) => [name, this.element.elements.namedItem(name)]));
    this.key = find("#key"); // no part of the request: it must not come into an address
    /** The fields that the user has changed since the form was last written. @type {Set<string>} */
    this.edited = new Set();
    this.fields.seed.max = this.fields.other_seed.max = String(Number.MAX_SAFE_INTEGER);
    addEventListener("input", (/** @type {any} */ { target }) => {
      if (target.form !== this.element) return;
      if (FIELDS.includes(target.name)) this.edited.add(target.name);
      this.refresh("");
    });
  }

  /** Offer what the model and its server can do. @param {import("./models.js").Model} model */
  offer(model) {
    this.model = model;
    this.#offerLabels();
    this.fields.steps.max = String(model.num_timesteps);
    this.fields.frames.max = String(model.limits.max_frames);
    this.fields.mix_t.max = this.fields.t.max = String(model.num_timesteps);
  }

  /** What the user has changed since the form was last written. @returns {Partial<Request>} */
  edits() {
    return Object.fromEntries(Object.entries(this.read()).filter(([name]) => this.edited.has(name)));
  }

  /**
   * What a newcomer sees first: quick, one of each label, and sampled as the model's card recommends.
   * @returns {Request}
   */
  defaults() {
    const { classes, limits, num_timesteps, recommended } = this.model;
    return {
      labels: classes.length ? "each" : "any",
      n: Math.min(classes.length >= 2 && classes.length <= 12 ? classes.length : 8, limits.max_samples),
      seed: drawnSeed(),
      first_index: 0,
      sampler: recommended.sampler ?? "ddim",
      steps: recommended.steps ?? null,
      spacing: !recommended.spacing || recommended.spacing === "even" ? "" : recommended.spacing,
      eta: 0,
      variance: "",
      guidance: recommended.guidance ?? 0,
      guidance_interval: "",
      frames: Math.min(FRAMES, num_timesteps + 1, limits.max_frames),
      picture: "",
      t: Math.round(START * num_timesteps),
      resamplings: 5,
      jump: 5,
      ends: "seeds",
      other_seed: drawnSeed(),
      from: "",
      to: "",
      mix_t: Math.round(num_timesteps / 2),
    };
  }

  /** @returns {Request} */
  read() {
    return /** @type {Request} */ (Object.fromEntries(FIELDS.map((name) => {
      const { value } = this.fields[name];
      return [name, WORDS.has(name) ? value : value === "" ? null : Number(value)];
    })));
  }

  /** Replace what the fields hold. @param {Partial<Request>} request */
  write(request) {
    this.edited.clear();
    for (const [name, value] of Object.entries(request)) this.fields[name].value = value ?? "";
    // An address may hold a word that is not offered here.
    for (const name of CHOICES) if (this.fields[name].selectedIndex < 0) this.fields[name].selectedIndex = 0;
    this.refresh("");
  }

  drawSeed() {
    this.fields.seed.value = String(drawnSeed());
    this.edited.add("seed");
  }

  /** Draw those that are left empty. */
  drawSeeds() {
    if (this.read().seed === null) this.drawSeed();
    if (this.read().other_seed === null) this.fields.other_seed.value = String(drawnSeed());
  }

  /**
   * Show the fields that apply to the view, the sampler and the model.
   * @param {string} view  "": as before
   */
  refresh(view) {
    this.view = view || this.view;
    const { model } = this;
    const { sampler, labels, guidance } = this.read();
    const holds = {
      conditional: !model || model.classes.length > 0,
      guidable: !model || (model.classes.length > 0 && model.null_label !== null),
      ddim: sampler === "ddim",
      ddpm: sampler === "ddpm",
      seeds: this.fields.ends.value === "seeds",
      pictures: this.fields.ends.value === "pictures",
      keyed: Boolean(model?.needs_key),
      several: (model?.names.length ?? 0) > 1,
    };
    for (const field of document.querySelectorAll("[data-field]")) {
      const { views, when } = /** @type {HTMLElement} */ (field).dataset;
      const isHere = !views || views.split(" ").includes(this.view ?? "");
      /** @type {HTMLElement} */ (field).hidden = !(isHere && (!when || holds[/** @type {keyof holds} */ (when)]));
    }
    if (model) {
      this.#showLimits(sampler);
      this.#offerSamplers();
      this.#offerTuned(sampler);
    }
    this.fields.guidance.disabled = labels === "any";
    this.fields.guidance_interval.disabled = labels === "any" || !guidance;
    find("#guidance-hint").hidden = labels !== "any";
    this.fields.guidance.setAttribute("aria-describedby", labels === "any" ? "guidance-hint" : "");
    find("#first-label").textContent = ["generate", "jobs"].includes(this.view ?? "") ? "First image" : "Image";
  }

  /** @param {Request["sampler"]} sampler */
  #showLimits(sampler) {
    const { limits, num_timesteps } = this.model;
    this.fields.n.max = String(this.view === "jobs" ? limits.max_job_samples : limits.max_samples);
    this.fields.steps.placeholder = String(Math.min(DEFAULT_STEPS[sampler], num_timesteps));
  }

  #offerSamplers() {
    const isZero = this.model.alpha_bar.at(-1) === 0;
    for (const option of this.fields.sampler.options) option.disabled = isZero && NEED_SIGNAL.includes(option.value);
  }

  /** @param {Request["sampler"]} sampler */
  #offerTuned(sampler) {
    const { spacing } = this.fields;
    const tuned = find("[value=tuned]", spacing);
    tuned.disabled = !(sampler in this.model.tuned);
    if (tuned.disabled && spacing.value === "tuned") spacing.value = "";
  }

  /** Mark the fields that the server refused. @param {{field: string, message: string}[]} errors */
  showErrors(errors) {
    for (const old of this.element.querySelectorAll(".field-error")) old.remove();
    const fields = { ...this.fields, key: this.key };
    for (const field of Object.values(fields)) {
      field.removeAttribute("aria-invalid");
      describe(field, errorId(field), false);
    }
    for (const { field: path, message } of errors) {
      const field = fields[path.split(".")[0]];
      if (!field) continue;
      field.setAttribute("aria-invalid", "true");
      describe(field, errorId(field), true);
      if (field.closest("details")) field.closest("details").open = true;
      field.closest("[data-field]").append(make("p", { class: "field-error", id: errorId(field) }, message));
    }
    this.element.querySelector("[aria-invalid]")?.focus();
  }

  #offerLabels() {
    const { classes, null_label } = this.model;
    const options = classes.map((/** @type {string} */ name, /** @type {number} */ k) =>
      make("option", { value: k }, name));
    const each = make("option", { value: "each" }, "Each in turn");
    const any = make("option", { value: "any" }, "Any");
    const isFree = !classes.length || null_label !== null;
    this.fields.labels.replaceChildren(each, ...(isFree ? [any] : []), ...options);
    if (!classes.length) this.fields.labels.replaceChildren(any);
  }
}

function drawnSeed() {
  return Math.floor(Math.random() * SEEDS);
}

/** @param {HTMLElement} field */
function errorId(field) {
  return `${field.id}-error`;
}

/**
 * Have screen readers read a text with the field, or not any more.
 * @param {HTMLElement} field
 * @param {string} id  of the text
 * @param {boolean} isRead
 */
function describe(field, id, isRead) {
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((other) => other && other !== id);
  field.setAttribute("aria-describedby", [...others, ...(isRead ? [id] : [])].join(" "));
}

/**
 * The body for POST /sample, only what differs from the server's own defaults.
 * @param {Request} request
 * @param {any} model
 * @returns {Record<string, unknown>}
 */
export function sampleBody(request, model) {
  const { sampler, steps, seed } = request;
  const n = request.n ?? 1;
  const first = request.first_index ?? 0;
  const labels = request.labels === "each"
    ? Array.from({ length: n }, (_, k) => (first + k) % model.classes.length)
    : Number(request.labels);
  /** @type {Record<string, unknown>} */
  const body = {};
  if (!model.is_default) body.model = model.name;
  if (n !== 1) body.n = n;
  if (seed !== null) body.seed = seed;
  if (first) body.first_index = first;
  if (sampler !== "ddpm") body.sampler = sampler;
  if (steps !== null) body.steps = steps;
  if (request.spacing) body.spacing = request.spacing;
  if (sampler === "ddim" && request.eta) body.eta = request.eta;
  if (sampler === "ddpm" && request.variance) body.variance = request.variance;
  if (request.labels !== "any") body.labels = labels;
  if (request.labels !== "any" && request.guidance) {
    body.guidance = request.guidance;
    if (request.guidance_interval) body.guidance_interval = (request.guidance_interval.match(/\d+/g) ?? []).map(Number);
  }
  return body;
}

/** The same for one image of it. @param {Request} request @param {any} model */
export function singleBody(request, model) {
  const body = sampleBody({ ...request, n: 1 }, model);
  if (Array.isArray(body.labels)) body.labels = body.labels[0];
  return body;
}
