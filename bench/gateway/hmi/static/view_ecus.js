// One row for each control unit: its version, the version to come, and its progress.

import { h } from "./dom.js";
import { bytes, figure, percent, rate } from "./format.js";
import { icon } from "./icons.js";
import { ecuName, hasReached, phase, phaseTone, words } from "./words.js";

/** All control units. */
export function ecuSection(state, ui) {
  return h(
    "section",
    { id: "ecus", class: "card", "aria-labelledby": "ecus-title", tabindex: ui.scrolling.has("ecus") ? "0" : null },
    h("h2", { id: "ecus-title", class: "section-title" }, words.ecus.title),
    h("ul", { class: "ecus" }, state.ecus.map((ecu) => row(ecu, state, ui))),
  );
}

function row(ecu, state, ui) {
  const moving = state.job_id !== null && !state.ending && hasReached(state.job_state, "INSTALLING");
  const tone = phaseTone(ecu.phase);
  return h(
    "li",
    { id: `ecu-row-${ecu.ecu}`, "data-testid": `ecu-row-${ecu.ecu}`, "data-phase": ecu.phase, class: "ecu" },
    h("h3", { class: "ecu-name" }, ecuName(ecu.ecu)),
    versions(ecu, state),
    ecu.phase && (moving || state.ending) && h("p", { class: "ecu-tags" },
      h("span", { class: `badge tone-${tone}`, "data-testid": "phase" }, h("span", { class: "dot", "aria-hidden": "true" }), phase(ecu.phase)),
    ),
    moving && !state.is_reverting && transfer(ecu, tone),
    ui.workshop && workshop(ecu),
  );
}

/** What a workshop asks for: names as in bench file, trace and reports, the slot, the phase and its detail, who vouches for the version. */
function workshop(ecu) {
  const named = words.ecus.facts;
  const facts = [[named.ecu, ecu.ecu], [named.hardware, ecu.hardware_id], [named.slot, ecu.slot_state], [named.phase, ecu.phase], [named.detail, ecu.detail], [named.evidence, ecu.evidence]];
  return h("dl", { class: "workshop", "data-testid": "workshop-facts" },
    facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("bdi", {}, value)))));
}

/** Both versions while the update is offered or under way, and where it took effect; otherwise the version that runs. */
function versions(ecu, state) {
  const runs = ecu.version || ecu.from_version;
  const settled = state.ending || state.job_id === null;
  const after = settled ? runs : state.is_reverting ? ecu.from_version : ecu.to_version;
  const changes = state.job_id !== null && after !== "" && after !== ecu.from_version;
  return h(
    "p",
    { class: "versions", "data-testid": "versions" },
    h("span", { class: changes ? "version-from" : "version-to" }, h("span", { class: "visually-hidden" }, `${changes ? words.ecus.from : words.ecus.version} `), (changes ? ecu.from_version : runs) || "–"),
    changes && [icon("arrow"), h("span", { class: "version-to" }, h("span", { class: "visually-hidden" }, `${words.ecus.to} `), after)],
  );
}

function transfer(ecu, tone) {
  const name = `${ecuName(ecu.ecu)}: ${phase(ecu.phase)}`;
  if (!(ecu.bytes_total > 0)) return tone === "busy" ? h("progress", { key: "busy", class: "bar", "aria-label": name }) : null;
  const done = percent(ecu.bytes_done, ecu.bytes_total);
  return h(
    "div",
    { key: "transfer", class: `transfer tone-${tone}` },
    h("progress", { class: "bar", max: ecu.bytes_total, value: ecu.bytes_done, "aria-label": name }),
    h("p", { class: "transfer-figures" },
      h("span", { "data-testid": "percent", class: "transfer-percent" }, figure(`${done} %`)),
      h("span", { "data-testid": "bytes" }, words.progress.of(bytes(ecu.bytes_done), bytes(ecu.bytes_total))),
      ecu.bytes_per_s > 0 && h("span", { "data-testid": "rate" }, rate(ecu.bytes_per_s)),
    ),
  );
}
