// The page's elements, found and made.

/**
 * The first element that matches. Throws when there is none: the page and its scripts must agree.
 * @param {string} selector
 * @param {ParentNode} root
 * @returns {any}
 */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * An element with attributes and children; text is never read as markup.
 * @param {string} tag
 * @param {Record<string, string | number | boolean>} attributes  true: present, false: left out
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** Say something to screen readers only. @param {string} text */
export function speak(text) {
  find("#spoken").textContent = text;
}

/** An image's source where there is no picture yet: one clear pixel. */
export const EMPTY =
  "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/** A base64 PNG as an image's source. @param {string} base64 */
export function pngSource(base64) {
  return `data:image/png;base64,${base64}`;
}

/** Hand the user a file. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {string} text */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers offer the clipboard on https and localhost only; elsewhere the old way still works.
  const field = make("textarea", { readonly: true, class: "visually-hidden" });
  document.body.append(field);
  /** @type {HTMLTextAreaElement} */ (field).value = text;
  /** @type {HTMLTextAreaElement} */ (field).select();
  document.execCommand("copy");
  field.remove();
}
