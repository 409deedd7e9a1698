// Light, dark or the system's theme: set before the page is drawn, so that nothing flashes. No module, for
// modules wait.
(() => {
  const NAMES = { "": "system", light: "light", dark: "dark" };
  const ORDER = ["", "light", "dark"];
  const root = document.documentElement;

  const stored = () => {
    try {
      return localStorage.getItem("theme") ?? "";
    } catch {
      return ""; // storage is switched off
    }
  };

  const apply = (/** @type {string} */ theme) => {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    button?.setAttribute("aria-label", `Theme: ${NAMES[/** @type {""} */ (theme)]}`);
    button?.setAttribute("title", `Theme: ${NAMES[/** @type {""} */ (theme)]}`);
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // as above
    }
  };

  apply(ORDER.includes(stored()) ? stored() : "");
  addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme ?? "");
    document.getElementById("theme")?.addEventListener("click", () => {
      apply(ORDER[(ORDER.indexOf(root.dataset.theme ?? "") + 1) % ORDER.length]);
    });
  });
})();
