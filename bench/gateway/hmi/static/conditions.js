// The conditions of an update in the driver's words: what must hold, whether it does, and how to get there.

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** For each quantity: its wording, and what to do if it is not met. `limit` and `now` are texts with the unit. */
const WORDS = {
  speed_km_h: { unit: "km/h", name: "The vehicle stands still", remedy: "Please stop and park the vehicle." },
  engine_rpm: { unit: "rpm", name: "The engine is off", remedy: "Please switch the engine off." },
  supply_v: { unit: "V", name: "Battery voltage", remedy: "Please charge the battery, or contact your workshop." },
  charge_percent: { unit: "%", name: "Battery charge", remedy: "Please charge the battery." },
  charging: { name: "The charging cable", yes: "is plugged in", no: "is unplugged", remedy: "Please check the charging cable." },
  ignition: { name: "The ignition", yes: "is on", no: "is off", remedy: "Please turn the ignition." },
  doors_open: { name: "The doors", yes: "are open", no: "are closed", remedy: "Please check the doors." },
  ambient_degc: { unit: "°C", name: "Outside temperature", remedy: "Please move the vehicle to a warmer or cooler place." },
};
/** Quantities whose name already says what must hold: at most nothing. */
const STATED = new Set(["speed_km_h", "engine_rpm"]);

/** Whether every condition is met. */
export const allMet = (state) => state.conditions.every((each) => each.is_met);

/** The list of conditions, each with its state; nothing where the update has none. */
export function conditionList(state, { onlyUnmet = false } = {}) {
  const groups = grouped(state.conditions).filter((group) => !onlyUnmet || !met(group));
  if (groups.length === 0) return null;
  return h("div", { class: "conditions-frame" },
    h("h2", { id: "conditions-title", class: "section-title" }, onlyUnmet ? "Waiting for" : "Before you install"),
    h("ul", { id: "conditions", "data-testid": "conditions", class: "conditions", "aria-labelledby": "conditions-title" }, groups.map(item)));
}

const met = (group) => group.every((each) => each.is_met);

/** Conditions on one quantity are one line: "10 to 16 V". */
function grouped(conditions) {
  const groups = new Map();
  for (const each of conditions) groups.set(each.quantity, [...(groups.get(each.quantity) ?? []), each]);
  return [...groups.values()];
}

function item(group) {
  const { quantity, value } = group[0];
  const words = WORDS[quantity] ?? { name: quantity, remedy: "" };
  const good = met(group);
  return h("li", { key: `condition-${quantity}`, class: `condition tone-${good ? "good" : "warn"}`, "data-quantity": quantity, "data-met": String(good) },
    icon(good ? "good" : "warn"),
    h("span", { class: "condition-text" },
      h("span", { class: "condition-name" }, required(words, group)),
      h("span", { class: "visually-hidden" }, good ? ": yes" : ": not yet"),
      !good && h("span", { class: "condition-remedy" }, `${measured(words, value)} ${words.remedy}`)));
}

/** What must hold: "Battery voltage: 10 to 16 V". */
function required(words, group) {
  const limit = (sign) => group.find((each) => each.sign === sign)?.limit;
  const [low, high, exact] = [limit(">="), limit("<="), limit("=")];
  if (words.yes) return `${words.name} ${(exact ?? high ?? low) > 0 ? words.yes : words.no}`;
  if (STATED.has(group[0].quantity) && !(high > 0) && !(exact > 0) && low === undefined) return words.name;
  const unit = words.unit ? ` ${words.unit}` : "";
  if (exact !== undefined) return `${words.name}: ${exact}${unit}`;
  if (low !== undefined && high !== undefined) return `${words.name}: ${low} to ${high}${unit}`;
  return low !== undefined ? `${words.name}: at least ${low}${unit}` : `${words.name}: at most ${high}${unit}`;
}

/** What it is now: "It is 9.5 V now." */
function measured(words, value) {
  if (value === null) return "The vehicle cannot tell at the moment.";
  return words.unit ? `Now: ${Math.round(value * 10) / 10} ${words.unit}.` : "";
}
