// A request as an address: what it consists of, and in which views.

/** Fields whose values are chosen from a list. */
export const CHOICES = ["sampler", "spacing", "variance", "labels", "ends"];
/** Fields that are no numbers. */
export const WORDS = new Set([...CHOICES, "guidance_interval", "picture", "from", "to"]);
/** Those that one view has alone. */
const OWN = /** @type {Record<string, string[]>} */ ({
  edit: ["picture", "t", "resamplings", "jump"],
  between: ["ends", "other_seed", "from", "to", "mix_t"],
});
export const FIELDS = ["labels", "n", "seed", "first_index", "sampler", "steps", "spacing", "eta", "variance", "guidance", "guidance_interval", "frames", ...new Set(Object.values(OWN).flat())];

/**
 * What the form says. `labels`: "any", "each" one after the other, or a label's number.
 * A number is null where its field is empty.
 * @typedef {{labels: string, n: number | null, seed: number | null, first_index: number | null,
 *   sampler: "ddim" | "ddpm" | "dpmpp" | "unipc" | "ipndm", steps: number | null, spacing: string, eta: number | null, variance: string,
 *   guidance: number | null, guidance_interval: string, frames: number | null, picture: string, t: number | null,
 *   resamplings: number | null, jump: number | null, ends: "seeds" | "pictures", other_seed: number | null, from: string,
 *   to: string, mix_t: number | null}} Request  picture, from, to: names of sources.js
 */

/**
 * The address that shows this again. Pictures depend on the weights too.
 * @param {string} view
 * @param {Request} request
 * @param {any} model
 */
export function toQuery(view, request, model) {
  const parameters = new URLSearchParams({ view });
  const others = new Set(Object.entries(OWN).flatMap(([owner, names]) => (owner === view ? [] : names)));
  for (const name of OWN[view] ?? []) others.delete(name);
  for (const [name, value] of Object.entries(request)) {
    if (value !== null && value !== "" && !others.has(name)) parameters.set(name, String(value));
  }
  parameters.set("model", model.name);
  parameters.set("weights", model.sha256.slice(0, 8));
  return `?${parameters}`;
}

/**
 * The fields that an address names.
 * @param {string} query
 * @returns {Partial<Request>}
 */
export function fromQuery(query) {
  const parameters = new URLSearchParams(query);
  // With a sampler, what it leaves out are that sampler's defaults, not what the card recommends.
  const request = /** @type {any} */ (parameters.has("sampler") ? { steps: null, spacing: "", guidance: 0 } : {});
  for (const name of FIELDS) {
    const value = parameters.get(name);
    if (value !== null) request[name] = WORDS.has(name) ? value : numberOrNull(value);
  }
  return request;
}

/** @param {string} text */
function numberOrNull(text) {
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? null : value;
}
