// The API key, where the server needs one: kept in this tab, or in this browser where the user ticks
// that. It goes into a header of every request and nowhere else.

import { find } from "./dom.js";

const NAME = "api-key";

/** Fill the field with the key that is kept, and keep the one that is typed. */
export function keepKey() {
  const field = find("#key");
  const remember = find("#remember");
  ({ key: field.value, isRemembered: remember.checked } = load());
  for (const input of [field, remember]) {
    input.addEventListener("input", () => store(field.value.trim(), remember.checked));
  }
}

/** The header that carries the key, if there is one. @returns {Record<string, string>} */
export function authorization() {
  const key = find("#key").value.trim();
  // Other characters cannot be sent in a header: the server's answer is that the key is missing.
  return /^[ -~]+$/.test(key) ? { Authorization: `Bearer ${key}` } : {};
}

function load() {
  try {
    const remembered = localStorage.getItem(NAME);
    const key = remembered ?? sessionStorage.getItem(NAME) ?? "";
    return { key, isRemembered: remembered !== null };
  } catch {
    return { key: "", isRemembered: false }; // storage is switched off
  }
}

/** @param {string} key @param {boolean} isRemembered */
function store(key, isRemembered) {
  try {
    for (const storage of [localStorage, sessionStorage]) storage.removeItem(NAME);
    if (key) (isRemembered ? localStorage : sessionStorage).setItem(NAME, key);
  } catch {
    // storage is switched off: the field holds the key until the page is closed
  }
}
