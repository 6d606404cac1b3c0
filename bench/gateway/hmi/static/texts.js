// The campaign's texts in the driver's language.

import { preferred } from "./words.js";

/** Languages that are written from the right. The first letter alone does not show it: a text may begin with a name or a number. */
const RIGHT_TO_LEFT = new Set(["ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"]);

/** The texts of a campaign in the language of the page, else the first of the browser's languages that it has; English, or whichever it has, otherwise. */
export function textsOf(state, wanted = preferred()) {
  const plain = { name: state.campaign_name, release_notes: state.release_notes, language: null, dir: "auto" };
  const language = chosen(Object.keys(state.texts), wanted);
  if (language === null) return plain;
  const texts = state.texts[language];
  // A text that is missing in this language is shown in the one that every campaign has.
  return { ...texts, name: texts.name || plain.name, release_notes: texts.release_notes || plain.release_notes, language, dir: RIGHT_TO_LEFT.has(primary(language)) ? "rtl" : "ltr" };
}

function chosen(offered, wanted) {
  if (offered.length === 0) return null;
  for (const language of [...wanted, "en"]) {
    const exact = offered.find((each) => each.toLowerCase() === language.toLowerCase());
    if (exact) return exact;
    const near = offered.find((each) => primary(each) === primary(language));
    if (near) return near;
  }
  return offered[0];
}

const primary = (language) => language.toLowerCase().split("-")[0];
