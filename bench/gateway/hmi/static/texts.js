// The campaign's texts in the driver's language.

/** The texts of a campaign in the first of the display's languages that it has; English, or whichever it has, otherwise. */
export function textsOf(state, wanted = navigator.languages) {
  const plain = { name: state.campaign_name, release_notes: state.release_notes, language: null };
  const language = chosen(Object.keys(state.texts), wanted);
  if (language === null) return plain;
  const texts = state.texts[language];
  // A text that is missing in this language is shown in the one that every campaign has.
  return { ...texts, name: texts.name || plain.name, release_notes: texts.release_notes || plain.release_notes, language };
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
