// Images as arrays of floats in [-1, 1], channels first, as the server's npz has them.

/** @typedef {{data: Float32Array, shape: number[]}} Numbers  shape: C, H, W for one image */

const LOCAL_FILE = 0x04034b50;

/**
 * The float32 arrays of an npz. The server's are stored, not compressed, so a member's bytes are
 * where its local header says. int64 arrays come as float32, exact up to 2^24.
 * @param {ArrayBuffer} buffer
 * @returns {Record<string, Numbers>}
 */
export function readNpz(buffer) {
  const view = new DataView(buffer);
  /** @type {Record<string, Numbers>} */
  const arrays = {};
  let at = 0;
  while (at + 4 <= buffer.byteLength && view.getUint32(at, true) === LOCAL_FILE) {
    const size = view.getUint32(at + 18, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 30, view.getUint16(at + 26, true)));
    const start = at + 30 + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
    arrays[name.replace(/\.npy$/, "")] = readNpy(buffer.slice(start, start + size));
    at = start + size;
  }
  return arrays;
}

/** @param {ArrayBuffer} buffer @returns {Numbers} */
function readNpy(buffer) {
  const length = new DataView(buffer).getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, 10, length));
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((s) => s.trim()).map(Number);
  const body = buffer.slice(10 + length);
  if (header.includes("'<f4'")) return { data: new Float32Array(body), shape };
  if (header.includes("'<i8'")) return { data: Float32Array.from(new BigInt64Array(body), Number), shape };
  throw new Error(`not float32 or int64: ${header}`);
}

/**
 * Paint an image; `scale` is the value that is white, its negative black.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} x
 * @param {number[]} shape  C, H, W; C is 1 or 3
 */
export function paint(canvas, x, [C, H, W], scale = 1) {
  if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, { width: W, height: H });
  const image = new ImageData(W, H);
  const plane = H * W;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = (x[(c % C) * plane + i] / scale + 1) * 127.5; // the array clips
    }
    image.data[4 * i + 3] = 255;
  }
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(image, 0, 0);
}

/**
 * A picture of any size as an image of this shape, its middle cut out square-on.
 * @param {Blob} blob
 * @param {number[]} shape
 * @returns {Promise<Float32Array>}
 */
export async function readPicture(blob, [C, H, W]) {
  const bitmap = await createImageBitmap(blob);
  const context = /** @type {CanvasRenderingContext2D} */ (
    Object.assign(document.createElement("canvas"), { width: W, height: H }).getContext("2d"));
  const zoom = Math.max(W / bitmap.width, H / bitmap.height);
  const [w, h] = [bitmap.width * zoom, bitmap.height * zoom];
  context.drawImage(bitmap, (W - w) / 2, (H - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, W, H);
  const plane = H * W;
  const x = new Float32Array(C * plane);
  for (let i = 0; i < plane; i++) {
    const rgb = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    const grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
    for (let c = 0; c < C; c++) x[c * plane + i] = (C === 1 ? grey : rgb[c]) / 127.5 - 1;
  }
  return x;
}

/**
 * The base64 of an image's PNG, as requests have it.
 * @param {Float32Array} x
 * @param {number[]} shape
 */
export function toPng(x, shape) {
  const canvas = document.createElement("canvas");
  paint(canvas, x, shape);
  return canvas.toDataURL("image/png").split(",")[1];
}

/** An image as its PNG has it, in 256 levels. @param {Float32Array} x */
export function rounded(x) {
  return x.map((value) => Math.round((Math.min(Math.max(value, -1), 1) + 1) * 127.5) / 127.5 - 1);
}

/** The pixels of a base64 PNG. @param {string} png @param {number[]} shape */
export async function readPng(png, shape) {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  return readPicture(new Blob([bytes], { type: "image/png" }), shape);
}

/** @param {number[]} shape */
export function sizeOf(shape) {
  return shape.reduce((a, b) => a * b);
}

/**
 * Standard normal numbers, the same for the same seed: mulberry32 and Box-Muller. For pictures
 * that the browser draws; the server's noise is its own.
 * @param {number} count
 * @param {number} seed
 */
export function normals(count, seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}
