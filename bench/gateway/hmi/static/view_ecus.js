// One row for each control unit: its version, the version to come, and its progress.

import { h } from "./dom.js";
import { bytes, percent, rate } from "./format.js";
import { icon } from "./icons.js";
import { hasReached, isFinal, phase, phaseTone } from "./words.js";

/** All control units. */
export function ecuSection(state) {
  return h(
    "section",
    { id: "ecus", class: "card", "aria-labelledby": "ecus-title" },
    h("h2", { id: "ecus-title", class: "section-title" }, "Control units"),
    h("ul", { class: "ecus" }, state.ecus.map((ecu) => row(ecu, state.job_state))),
  );
}

function row(ecu, job) {
  const under = job !== null && !isFinal(job);
  const moving = under && hasReached(job, "INSTALLING");
  const tone = phaseTone(ecu.phase);
  return h(
    "li",
    { id: `ecu-row-${ecu.ecu}`, "data-testid": `ecu-row-${ecu.ecu}`, "data-phase": ecu.phase, class: "ecu" },
    h("div", { class: "ecu-head" },
      h("h3", { class: "ecu-name" }, ecu.ecu),
      h("p", { class: "ecu-hardware" }, ecu.hardware_id),
    ),
    versions(ecu, job),
    h("p", { class: "ecu-tags" },
      ecu.phase && (moving || isFinal(job)) && h("span", { class: `badge tone-${tone}`, "data-testid": "phase" }, h("span", { class: "dot", "aria-hidden": "true" }), phase(ecu.phase)),
      ecu.slot_state && h("span", { class: "slot" }, "Slot ", h("span", { "data-testid": "slot-state" }, ecu.slot_state)),
    ),
    moving && transfer(ecu, tone),
    ecu.detail && h("p", { class: `ecu-detail tone-${tone}`, "data-testid": "detail" }, ecu.detail),
  );
}

const TOOK_EFFECT = ["activating", "trial", "soaking", "confirmed"];

/** Both versions while the update is offered, under way, or took effect; otherwise the version that stayed. */
function versions(ecu, job) {
  const changes = ecu.to_version !== "" && (!isFinal(job) || job === "SUCCEEDED" || (job === "FAILED" && TOOK_EFFECT.includes(ecu.phase)));
  return h(
    "p",
    { class: "versions", "data-testid": "versions" },
    h("span", { class: changes ? "version-from" : "version-to" }, h("span", { class: "visually-hidden" }, changes ? "from version " : "version "), ecu.from_version || "–"),
    changes && [icon("arrow"), h("span", { class: "version-to" }, h("span", { class: "visually-hidden" }, "to version "), ecu.to_version)],
  );
}

function transfer(ecu, tone) {
  const name = `${ecu.ecu}: ${phase(ecu.phase)}`;
  if (!(ecu.bytes_total > 0)) return tone === "busy" ? h("progress", { key: "busy", class: "bar", "aria-label": name }) : null;
  const done = percent(ecu.bytes_done, ecu.bytes_total);
  return h(
    "div",
    { key: "transfer", class: `transfer tone-${tone}` },
    h("progress", { class: "bar", max: ecu.bytes_total, value: ecu.bytes_done, "aria-label": name }),
    h("p", { class: "transfer-figures" },
      h("span", { "data-testid": "percent", class: "transfer-percent" }, `${done} %`),
      h("span", { "data-testid": "bytes" }, `${bytes(ecu.bytes_done)} of ${bytes(ecu.bytes_total)}`),
      ecu.bytes_per_s > 0 && h("span", { "data-testid": "rate" }, rate(ecu.bytes_per_s)),
    ),
  );
}
