// The few signs of the page, drawn as lines so that they take the colour of the text.

import { h } from "./dom.js";

const PATHS = {
  good: ["M4 12.5l5.2 5.2L20 6.8"],
  warn: ["M12 3.6L22 20.4H2z", "M12 10v4.6", "M12 17.4v.2"],
  bad: ["M6 6l12 12", "M18 6L6 18"],
  neutral: ["M5 12h14"],
  undo: ["M8.5 4.5L3.5 9.5l5 5", "M4 9.5h10a5.5 5.5 0 010 11h-3.5"],
  arrow: ["M4 12h15", "M13.5 6.5L19 12l-5.5 5.5"],
  clock: ["M12 3a9 9 0 100 18 9 9 0 000-18z", "M12 7.5V12l3.2 2"],
  download: ["M12 3.5v12", "M6.5 10.5l5.5 5.5 5.5-5.5", "M4 20.5h16"],
  chip: ["M7 7h10v10H7z", "M10 3.5V7M14 3.5V7M10 17v3.5M14 17v3.5M3.5 10H7M3.5 14H7M17 10h3.5M17 14h3.5"],
};

/** An icon beside words of the same meaning, so it is hidden from screen readers. */
export function icon(name) {
  return h(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    (PATHS[name] ?? []).map((d) => h("path", { d })),
  );
}
