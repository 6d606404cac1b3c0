// The page as a function of the state: view(state, ui) describes the whole page and changes nothing.

import { h } from "./dom.js";
import { dateTime } from "./format.js";
import { icon } from "./icons.js";
import { ecuSection } from "./view_ecus.js";
import { jobSection } from "./view_job.js";
import { isFinal, jobState } from "./words.js";

/** The main part: the job, the control units, the history. */
export function view(state, ui, actions) {
  const shown = shownJob(state, ui);
  return [
    jobSection(shown, ui, actions),
    h("div", { id: "side", class: "side" }, ecuSection(shown), historySection(state.history)),
  ];
}

/** The state to show: after the driver has closed a result, that of an idle vehicle with the versions that the job left. */
function shownJob(state, ui) {
  if (!state.job_id || state.job_id !== ui.closedJob || !isFinal(state.job_state)) return state;
  const updated = state.job_state === "SUCCEEDED";
  const ecus = state.ecus.map((ecu) => ({ ...ecu, from_version: (updated && ecu.to_version) || ecu.from_version, to_version: "", detail: "" }));
  return { ...state, job_id: null, job_state: null, reason: "", ecus };
}

/** The two links this display depends on: page to gateway, gateway to cloud. */
export function links(state, ui) {
  const gateway = ui.linkUp === null ? ["idle", "Connecting"] : ui.linkUp ? ["good", "Gateway connected"] : ["bad", "Gateway lost"];
  const cloud = !state ? ["idle", "Cloud"] : state.cloud_reachable ? ["good", "Cloud connected"] : ["warn", "Cloud not reachable"];
  return [link("gateway-link", gateway), link("cloud-link", cloud)];
}

const link = (id, [tone, text]) => h("p", { id, "data-testid": id, class: `link tone-${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), text);

/** Shown while the stream of states is down. */
export function lostNotice(ui) {
  if (ui.linkUp !== false) return [];
  return [icon("warn"), h("p", {}, h("strong", {}, "Connection to the gateway lost. "), "What you see may be out of date. Reconnecting…")];
}

const TONES = { SUCCEEDED: "good", ROLLED_BACK: "warn", FAILED: "bad" };

function historySection(entries) {
  if (entries.length === 0) return null;
  return h(
    "section",
    { id: "history", "data-testid": "history", class: "card", "aria-labelledby": "history-title" },
    h("h2", { id: "history-title", class: "section-title" }, "Earlier updates"),
    h("ul", { class: "history" }, entries.map(historyEntry)),
  );
}

/** One job that has ended. A campaign without a name is shown by its job id. */
function historyEntry(entry) {
  return h(
    "li",
    { class: `tone-${TONES[entry.state] ?? "idle"}` },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "history-name" }, entry.campaign_name || entry.job_id),
    h("span", { class: "history-outcome" }, jobState(entry.state)),
    h("span", { class: "history-when" }, dateTime(entry.ended_at), entry.reason && ` · ${entry.reason}`),
  );
}
