// What a screen reader announces: the state, and every quarter of the way. Announcing every byte would never end.

import { percent } from "./format.js";
import { OUTCOMES, RUNNING, failure, jobState } from "./words.js";

/** One sentence about the state; it changes only when there is something to announce. */
export function announcement(state) {
  if (!state.job_id) return isUpToDate(state) ? "Your vehicle is up to date" : "No update waiting";
  if (state.job_state === "FAILED") return failure().title;
  const said = OUTCOMES[state.job_state] ?? RUNNING[state.job_state];
  if (!said) return jobState(state.job_state);
  const quarter = Math.floor(progress(state) / 25) * 25;
  return quarter > 0 ? `${said.title}: ${quarter} percent` : said.title;
}

/** Whether the vehicle is known to be up to date. It is not known without the cloud, after its refusal, or while a control unit is silent. */
export const isUpToDate = (state) => state.cloud_reachable && state.reason === "" && state.ecus.every((ecu) => ecu.from_version !== "");

/** Percent of the state under way: of the download, or of what crosses the bus; 0 where it has none. */
export function progress(state) {
  if (state.job_state === "DOWNLOADING") return percent(state.download_done_bytes, state.download_bytes);
  if (state.job_state !== "INSTALLING" || state.ecus.some((ecu) => ecu.bytes_total === 0)) return 0;
  const sum = (name) => state.ecus.reduce((total, ecu) => total + ecu[name], 0);
  return percent(sum("bytes_done"), sum("bytes_total"));
}
