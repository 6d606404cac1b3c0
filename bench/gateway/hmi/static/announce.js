// What a screen reader announces: what happens now, and every quarter of the whole update. Announcing every percent would never end.

import { allMet } from "./conditions.js";
import { idleWords } from "./idle.js";
import { asksToInstall, ending, running, words } from "./words.js";

/** One sentence about the state; it changes only when there is something to announce. */
export function announcement(state, ui) {
  if (!state.job_id) return idleWords(state, ui).title;
  if (state.ending) return ending(state.ending).title;
  if (state.is_paused) return words.paused.title;
  if (asksToInstall(state)) return words.offer.readyTitle;
  const { title } = running(state);
  if (state.job_state === "WAITING_FOR_APPROVAL") {
    if (state.start_from !== null) return words.offer.scheduledTitle;
    return allMet(state) ? title : words.offer.notReady(title);
  }
  const quarter = Math.floor(state.progress_percent / 25) * 25;
  return quarter > 0 && !state.is_reverting ? words.progress.announced(title, quarter) : title;
}
