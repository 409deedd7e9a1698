// Where a picture comes from. An address names it: a sample by the request that makes it; a drawn one by a
// word, and it is kept in this tab alone.

import { fromQuery, toQuery } from "./address.js";
import { ask } from "./api.js";
import { readPng, toPng } from "./pixels.js";
import { singleBody } from "./request.js";
import { Mendable } from "./task.js";

const DRAWN = /^drawn-[0-9a-f]{8}$/;

/** @typedef {import("./address.js").Request} Request */
/** What says which image it is. */
const SAMPLE = /** @type {(keyof Request)[]} */ (["labels", "seed", "first_index", "sampler", "steps", "spacing", "eta", "variance", "guidance", "guidance_interval"]);

/** @typedef {{picture: Float32Array, mask: Float32Array | null}} Found */

/**
 * Keep a picture in this tab. Returns its name for addresses.
 * @param {Float32Array} picture @param {Float32Array | null} mask  one channel
 * @param {number[]} shape
 */
export function keep(picture, mask, shape) {
  const [, H, W] = shape;
  const text = JSON.stringify({ picture: toPng(picture, shape), mask: mask && toPng(mask, [1, H, W]) });
  const name = `drawn-${hash(text)}`;
  try {
    sessionStorage.setItem(name, text);
  } catch {
    // storage is full or switched off: the picture is on the screen all the same
  }
  return name;
}

/**
 * The picture that an address names.
 * @param {string} name @param {any} model @param {AbortSignal} signal
 * @returns {Promise<Found>}  raises Mendable for one that was drawn elsewhere, and what `ask` does
 */
export async function recall(name, model, signal) {
  const [, H, W] = model.image_shape;
  if (!DRAWN.test(name)) {
    const { samples } = await (await ask("sample", { body: sampleOf(name, model), signal })).json();
    return { picture: await readPng(samples[0].png, model.image_shape), mask: null };
  }
  const text = stored(name);
  if (!text) throw new Mendable("This link is to a drawn picture. It stays in the tab where it was drawn and is not in the link.");
  const { picture, mask } = JSON.parse(text);
  return { picture: await readPng(picture, model.image_shape), mask: mask && (await readPng(mask, [1, H, W])) };
}

/**
 * The name of a request's first image.
 * @param {Request} request
 */
export function nameOf(request) {
  const entries = SAMPLE.map((field) => [field, request[field]]).filter(([, value]) => value !== null && value !== "");
  return String(new URLSearchParams(entries.map(([field, value]) => [String(field), String(value)])));
}

/** The address at which an image is edited. @param {Request} image  the first of it @param {any} model */
export function editAddress(image, model) {
  const n = Math.min(4, model.limits.max_samples);
  return toQuery("edit", { ...image, picture: nameOf(image), n, first_index: 0 }, model);
}

/**
 * The address of the way between two images.
 * @param {Request} from @param {Request} to  of each the first @param {any} model
 */
export function walkAddress(from, to, model) {
  const isFree = !model.classes.length || model.null_label !== null;
  const labels = isFree && from.labels !== to.labels ? "any" : from.labels;
  const ends = /** @type {const} */ ("pictures");
  return toQuery("between", { ...from, labels, ends, from: nameOf(from), to: nameOf(to), first_index: 0 }, model);
}

/** @param {string} name @param {any} model */
function sampleOf(name, model) {
  const request = { labels: "any", first_index: 0, sampler: "ddpm", steps: null, spacing: "", ...fromQuery(name) };
  return singleBody(/** @type {any} */ (request), model);
}

/** @param {string} name */
function stored(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null; // storage is switched off
  }
}

/** FNV-1a, 8 hex digits: a name, no secret. @param {string} text */
function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, "0");
}
