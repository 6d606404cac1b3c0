// The page as a function of the state: view(state, ui) describes the whole page and changes nothing.

import { h } from "./dom.js";
import { dateTime, day } from "./format.js";
import { icon } from "./icons.js";
import { ecuSection } from "./view_ecus.js";
import { jobSection } from "./view_job.js";
import { ending, jobState, words } from "./words.js";

/** The main part: the job, the control units, the history. */
export function view(state, ui, actions) {
  return [
    jobSection(state, ui, actions),
    h("div", { id: "side", class: "side" }, ecuSection(state, ui), historySection(state.history, ui)),
  ];
}

/** The state to show: after the driver has closed a result, that of a vehicle without a job. How the job ended is kept. */
export function shownState(state, ui) {
  if (!state.ending || state.job_id !== ui.closedJob) return state;
  const ecus = state.ecus.map((ecu) => ({ ...ecu, to_version: "", phase: "", detail: "" }));
  return { ...state, job_id: null, job_state: null, ending: null, closed_ending: state.ending, reason: "", ecus };
}

/** The two links this display depends on: page to gateway, gateway to cloud. Without the first nothing is known of the second. */
export function links(state, ui) {
  const said = words.links;
  const gateway = ui.linkUp === null ? ["idle", said.connecting] : ui.linkUp ? ["good", said.gatewayUp] : ["bad", said.gatewayLost];
  const known = ui.linkUp && state && state.cloud_reachable !== null;
  const cloud = !known ? ["idle", said.cloudUnknown] : state.cloud_reachable ? ["good", said.cloudUp] : ["warn", said.cloudAway];
  return [link("gateway-link", gateway), link("cloud-link", cloud)];
}

const link = (id, [tone, text]) => h("p", { id, "data-testid": id, class: `link tone-${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), text);

/** Shown while the stream of states is down. */
export function lostNotice(ui) {
  if (ui.linkUp !== false) return [];
  return [icon("warn"), h("p", {}, h("strong", {}, `${words.lost.title} `), words.lost.text)];
}

function historySection(entries, ui) {
  if (entries.length === 0) return null;
  return h(
    "section",
    { id: "history", "data-testid": "history", class: "card", "aria-labelledby": "history-title" },
    h("h2", { id: "history-title", class: "section-title" }, words.history.title),
    h("ul", { id: "history-list", class: "history", "aria-labelledby": "history-title", tabindex: ui.scrolling.has("history-list") ? "0" : null }, entries.map((entry) => historyEntry(entry, ui))),
  );
}

/** One job that has ended. */
function historyEntry(entry, ui) {
  return h(
    "li",
    { class: `tone-${ending(entry.ending).tone}` },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "history-name", dir: "auto" }, entry.campaign_name || words.history.unnamed),
    h("span", { class: "history-outcome" }, jobState(entry.state)),
    h("time", { class: "history-when", datetime: new Date(entry.ended_at * 1000).toISOString() }, day(entry.ended_at)),
    ui.workshop && h("span", { class: "history-when", dir: "auto" }, [dateTime(entry.ended_at), entry.job_id, entry.reason].filter(Boolean).join(" · ")),
  );
}
