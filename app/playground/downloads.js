// Buttons that ask for another representation of what is shown, and save it.

import { ask } from "./api.js";
import { save } from "./dom.js";

/**
 * @param {HTMLElement} root  with buttons of data-accept and data-suffix
 * @param {string} path
 * @param {() => Record<string, unknown> | undefined} getBody
 * @param {any} model
 * @param {import("./task.js").Task} task  whose place for errors is used
 */
export function wireDownloads(root, path, getBody, model, task) {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll("[data-accept]"))) {
    button.addEventListener("click", async () => {
      const body = getBody();
      if (!body) return;
      const { accept, suffix } = button.dataset;
      button.disabled = true;
      try {
        await task.also(async () => {
          const response = await ask(path, { body, accept });
          save(await response.blob(), `${model.name}-seed-${response.headers.get("X-Seed")}.${suffix}`);
        });
      } finally {
        button.disabled = false;
      }
    });
  }
}
