// The page's words in the driver's language: the one chosen on this display, else the first of the browser's that the page has (which
// are those of Accept-Language), else English. `words` is a live binding: a view that is drawn again reads the new language.

import ar from "./lang_ar.js";
import de from "./lang_de.js";
import en from "./lang_en.js";

export const LANGUAGES = { en, de, ar };
/** Job states on the way, in order: the stepper. (CREATED is before the first.) */
export const STEPS = ["CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"];
const TONES = { installed: "good", undone: "warn", unchanged: "bad", not_brought_back: "bad", declined: "neutral", refused: "warn", withdrawn: "neutral", out_of_time: "warn" };
const PHASE_TONES = { confirmed: "good", reverted: "warn", failed: "bad", waiting: "idle", "": "idle" };
const KEPT = "otabench-language";

let isChosen = kept() !== null;
export let code = kept() ?? offered();
export let words = LANGUAGES[code];

/** Change the language, and remember it on this display. */
export function choose(next) {
  if (!Object.hasOwn(LANGUAGES, next)) return;
  isChosen = true;
  code = next;
  words = LANGUAGES[next];
  try {
    localStorage.setItem(KEPT, next);
  } catch {
    // A browser that keeps nothing asks again the next time.
  }
}

/** The languages in the order in which a campaign's texts are looked for: the one that was chosen here, then the browser's. */
export const preferred = () => (isChosen ? [code, ...navigator.languages] : navigator.languages);

/** The language that was chosen on this display; null: none was. */
function kept() {
  try {
    const found = localStorage.getItem(KEPT);
    return found !== null && Object.hasOwn(LANGUAGES, found) ? found : null;
  } catch {
    return null;
  }
}

/** The first of the browser's languages that the page has. */
function offered() {
  return navigator.languages.map((each) => each.toLowerCase().split("-")[0]).find((each) => Object.hasOwn(LANGUAGES, each)) ?? "en";
}

const lookup = (table, name) => (Object.hasOwn(table, name) ? table[name] : undefined);

/** The label of a job state. */
export const jobState = (state) => state && (lookup(words.states, state) ?? state);
/** Title and text of a job that has not ended. */
export const running = (state) => (state.is_reverting ? words.reverting : (lookup(words.running, state.job_state) ?? { title: jobState(state.job_state), text: "" }));
/** Words and tone of a job's end. */
export const ending = (name) => name && { ...(lookup(words.endings, name) ?? words.endings.unchanged), tone: TONES[name] ?? "idle" };
export const obstacle = (kind) => lookup(words.obstacles, kind) ?? words.obstacles.cloud_refuses;
export const phase = (name) => lookup(words.ecus.phases, name) ?? name;
export const phaseTone = (name) => PHASE_TONES[name] ?? "busy";
/** The name of a control unit that bench files commonly use. Any other is shown as it is written there. */
export const ecuName = (name) => lookup(words.ecus.names, name) ?? name;
export const refusal = (kind, fallback) => lookup(words.refusals, kind) ?? fallback;
/** Whether the driver is asked a second time, after a download that was agreed to alone. */
export const asksToInstall = (state) => state.job_state === "DOWNLOADING" && state.question === "install";
/** Whether a job that has not ended has reached a step. */
export const hasReached = (state, step) => STEPS.indexOf(state) >= STEPS.indexOf(step);
