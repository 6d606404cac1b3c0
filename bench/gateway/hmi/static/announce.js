// What a screen reader announces: what happens now, and every quarter of the whole update. Announcing every percent would never end.

import { allMet } from "./conditions.js";
import { ENDINGS, PAUSED, running } from "./words.js";
import { idleWords } from "./idle.js";

/** One sentence about the state; it changes only when there is something to announce. */
export function announcement(state, ui) {
  if (!state.job_id) return idleWords(state, ui).title;
  if (state.ending) return ENDINGS[state.ending].title;
  if (state.is_paused) return PAUSED.title;
  const { title } = running(state);
  if (state.job_state === "WAITING_FOR_APPROVAL") return allMet(state) ? title : `${title}. The vehicle is not ready for it yet.`;
  const quarter = Math.floor(state.progress_percent / 25) * 25;
  return quarter > 0 && !state.is_reverting ? `${title}: ${quarter} percent` : title;
}
