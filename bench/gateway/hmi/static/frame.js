// The words of the page's frame: what the server has sent in English, in the driver's language.

import { LANGUAGES, code, words } from "./words.js";

/**
 * Writes the words into all elements with `data-words`: a path in the words, such as "page.title". Sets language and direction, and fills
 * the choice of languages.
 */
export function fillIn(page) {
  page.documentElement.lang = code;
  page.documentElement.dir = words.dir;
  for (const element of page.querySelectorAll("[data-words]")) {
    element.textContent = element.dataset.words.split(".").reduce((found, key) => found[key], words);
  }
  page.title = page.body.dataset.title.split(".").reduce((found, key) => found[key], words);
  const choice = page.getElementById("language");
  choice.replaceChildren(...Object.entries(LANGUAGES).map(([each, { name }]) => Object.assign(page.createElement("option"), { value: each, textContent: name, lang: each })));
  choice.value = code;
  choice.setAttribute("aria-label", words.page.language);
}
