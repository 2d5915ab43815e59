"use strict";

// The reader's choice of theme, kept for the next report where the browser allows it.
(function () {
  const KEY = "benchharness-theme";
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  function label() {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  }

  try {
    const kept = window.localStorage.getItem(KEY);
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch {
    // Some browsers keep nothing for files; the system's theme is used then.
  }
  button.hidden = false;
  label();
  system.addEventListener("change", label);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
    try {
      window.localStorage.setItem(KEY, root.dataset.theme);
    } catch {
      // As above.
    }
  });
})();

// Charts name colours by CSS properties, so that they follow the theme without being drawn again.
(async function () {
  const source = document.getElementById("charts");
  if (!source) return;
  const { config, charts } = JSON.parse(source.textContent);
  const tooltip = { disableDefaultStyle: true, theme: "custom" };
  for (const place of document.querySelectorAll("[data-chart]")) {
    await vegaEmbed(place, charts[place.dataset.chart], {
      actions: false, config, mode: "vega-lite", renderer: "svg", tooltip,
    });
  }
  document.documentElement.dataset.drawn = "yes";
})();

// Paper shows what a reader could have opened, but for what would fill it.
(function () {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.long)")];
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });

  // A link to a certificate opens it.
  function open() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  window.addEventListener("hashchange", open);
  open();
})();
