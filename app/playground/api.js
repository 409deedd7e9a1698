// The HTTP contract, as the page uses it. Addresses are relative: the service may live under a path.

import { authorization } from "./key.js";

/** An answer other than success: RFC 9457 problem details. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{detail?: string, title?: string, errors?: {field: string, message: string}[]}} problem
   * @param {number | null} retryAfter  seconds
   */
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `The server answered with status ${status}.`);
    this.status = status;
    // A key that is missing or wrong is a field to mend, like others.
    this.errors = status === 401 ? [{ field: "key", message: this.message }] : problem.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

/** No answer, or one that broke off. */
export class Unreachable extends Error {}

/**
 * @param {string} path
 * @param {{method?: string, body?: object, accept?: string, headers?: Record<string, string>,
 *   signal?: AbortSignal}} options  with a body: POST
 * @returns {Promise<Response>}  of success; raises Refused or Unreachable
 */
export async function ask(path, { body, accept = "application/json", signal, ...more } = {}) {
  const headers = /** @type {Record<string, string>} */ ({ Accept: accept, ...authorization(), ...more.headers });
  if (body) headers["Content-Type"] = "application/json";
  const method = more.method ?? (body ? "POST" : "GET");
  const options = { method, headers, body: body && JSON.stringify(body), signal };
  const response = await reached(fetch(path, options));
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After"));
  throw new Refused(response.status, problem, seconds > 0 ? seconds : null);
}

/**
 * The body of an answer, as it arrives.
 * @param {Response} answer
 * @param {(done: number, all: number | null) => void} tell  bytes; null: the server has not said how many
 * @returns {Promise<Blob>}  raises Unreachable
 */
export async function received(answer, tell) {
  const all = Number(answer.headers.get("Content-Length")) || null;
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reached(reader.read());
    if (done) return new Blob(parts, { type: answer.headers.get("Content-Type") ?? "" });
    parts.push(value);
    size += value.length;
    tell(size, all);
  }
}

/**
 * The frames of /denoise-trajectory, each as soon as the server has it.
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Frame, Done>}  raises Refused or Unreachable
 *
 * @typedef {{index: number, t: number, x_t: string, x0_hat: string}} Frame  base64 PNGs
 * @typedef {{seed: number, steps: number, timing: {queued_s: number, compute_s: number}}} Done
 */
export function trajectory(body, signal) {
  return streamed("denoise-trajectory", "frame", body, signal);
}

/**
 * The terms of /bound, each as soon as the server has it.
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Term, {images: Bound[]}>}  raises Refused or Unreachable
 *
 * @typedef {{index: number, t: number, bits_per_dim: number, x_t: string, x0_hat: string}} Term  base64 PNGs
 * @typedef {{bits_per_dim: number | null, standard_error: number | null, L_T: number, L_0: number | null}} Bound
 */
export function bound(body, signal) {
  return streamed("bound", "term", body, signal);
}

/**
 * @param {string} path
 * @param {string} part  the name of the events that are yielded
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any, any>}  returns the data of the event `done`
 */
async function* streamed(path, part, body, signal) {
  const response = await ask(path, { body, accept: "text/event-stream", signal });
  for await (const { name, data } of events(/** @type {ReadableStream} */ (response.body))) {
    if (name === part) yield data;
    if (name === "done") return data;
    if (name === "error") throw new Refused(data.status, data, null);
  }
  throw new Unreachable("The connection broke before the answer was complete.");
}

/**
 * Server-sent events. (EventSource can only GET.)
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<{name: string, data: any}>}
 */
async function* events(stream) {
  const decoder = /** @type {ReadableWritablePair<string, any>} */ (new TextDecoderStream());
  const reader = stream.pipeThrough(decoder).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reached(reader.read());
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = /** @type {string} */ (blocks.pop());
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("The server cannot be reached.");
  }
}

/**
 * What this server can do besides sampling.
 * @param {AbortSignal} signal
 * @returns {Promise<Offers>}
 *
 * @typedef {{jobs: boolean, bound: boolean, start: boolean}} Offers  start: chains may begin at pictures
 */
export async function offers(signal) {
  const { paths, components } = await (await ask("openapi.json", { signal })).json();
  const fields = Object.values(components.schemas).map((/** @type {any} */ schema) => schema.properties ?? {});
  return {
    jobs: Object.keys(paths).some((path) => path.startsWith("/jobs/")),
    bound: "/bound" in paths,
    start: fields.some((one) => "sampler" in one && "start" in one),
  };
}
