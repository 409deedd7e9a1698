// Which of the server's models the page shows: the address names it, and the picker changes it.

import { Refused, ask } from "./api.js";
import { find, make } from "./dom.js";

const RETRY_SECONDS = 2;
/** Set while the page is loaded anew for a model that was picked. */
const PICKED = "picked";
/** What an address of older pages has as its model: the first digits of the weights' SHA-256. */
const WEIGHTS = /^[0-9a-f]{8}$/;

/**
 * What GET /model says, whether requests get it that name none, and the names of all models.
 * @typedef {any & {name: string, sha256: string, is_default: boolean, names: string[]}} Model
 */

/**
 * The model that the address names, or else the server's first.
 * @param {AbortSignal} signal
 * @returns {Promise<Model>}  raises Refused 503 while it is not known
 */
export async function chosenModel(signal) {
  const { models } = await (await ask("models", { signal })).json();
  const named = new URLSearchParams(location.search).get("model");
  const entry = models.find((/** @type {any} */ one) => one.name === named) ?? models[0];
  if (!entry.model) throw new Refused(503, { detail: `The model ${entry.name} is ${entry.state}${entry.detail ? `: ${entry.detail}` : ""}.` }, RETRY_SECONDS);
  return { ...entry.model, is_default: entry.default, names: models.map((/** @type {any} */ one) => one.name) };
}

/**
 * Offer all models: the page of another one is loaded.
 * @param {Model} model
 * @param {() => string} query  of the page as it is
 */
export function offerModels(model, query) {
  const picker = /** @type {HTMLSelectElement} */ (find("#model"));
  picker.replaceChildren(...model.names.map((name) => make("option", { value: name }, name)));
  picker.value = model.name;
  picker.addEventListener("change", () => {
    const before = new URLSearchParams(query());
    // What else a request has may not fit another model: its labels, its steps
    const kept = ["view", "seed"].filter((field) => before.has(field));
    const after = new URLSearchParams(kept.map((field) => [field, before.get(field) ?? ""]));
    after.set("model", picker.value);
    sessionStorage.setItem(PICKED, picker.value);
    location.assign(`?${after}`);
  });
  if (sessionStorage.getItem(PICKED) === model.name) picker.focus({ preventScroll: true });
  sessionStorage.removeItem(PICKED);
}

/**
 * What an address says that does not hold here: another model, or other weights. "": nothing.
 * @param {Model} model
 */
export function warning(model) {
  const parameters = new URLSearchParams(location.search);
  const named = parameters.get("model") ?? model.name;
  const isOld = named !== model.name && WEIGHTS.test(named);
  const weights = isOld ? named : parameters.get("weights") ?? "";
  if (named !== model.name && !isOld) return `This server has no model ${named}; this is ${model.name}.`;
  if (model.sha256.startsWith(weights)) return "";
  return `This link was made with other weights (${weights}). The weights of this server (${model.sha256.slice(0, 8)}) make a different picture from the same request.`;
}
