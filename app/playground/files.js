// Pictures that the user has: opened, or dropped.

import { readPicture } from "./pixels.js";
import { Mendable } from "./task.js";

/**
 * A file as an image of this shape.
 * @param {Blob} blob @param {number[]} shape  C, H, W
 * @returns {Promise<Float32Array>}  raises Mendable where it is no picture
 */
export async function openPicture(blob, shape) {
  return readPicture(blob, shape).catch(() => {
    throw new Mendable("This file is not a picture that the browser can read.");
  });
}

/**
 * Take the files that are chosen or dropped.
 * @param {HTMLInputElement} input  of type file
 * @param {HTMLElement} place  where one can be dropped
 * @param {(file: Blob) => void} take
 */
export function listenForFiles(input, place, take) {
  input.addEventListener("change", () => {
    if (input.files?.[0]) take(input.files[0]);
    input.value = ""; // the same file can be opened again
  });
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    const dropped = event.dataTransfer?.files[0];
    if (dropped) take(dropped);
  });
}
