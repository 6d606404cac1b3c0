// The conditions of an update in the driver's words: what must hold, whether it does, and how to get there.

import { h } from "./dom.js";
import { figure } from "./format.js";
import { icon } from "./icons.js";
import { words } from "./words.js";

/** The unit of each quantity that is a figure. */
const UNITS = { speed_km_h: "km/h", engine_rpm: "rpm", supply_v: "V", charge_percent: "%", ambient_degc: "°C" };
/** Quantities whose name already says what must hold: at most nothing. */
const STATED = new Set(["speed_km_h", "engine_rpm"]);

/** Whether every condition is met. */
export const allMet = (state) => state.conditions.every((each) => each.is_met);

/** The list of conditions, each with its state; nothing where the update has none. */
export function conditionList(state, { onlyUnmet = false } = {}) {
  const groups = grouped(state.conditions).filter((group) => !onlyUnmet || !met(group));
  if (groups.length === 0) return null;
  return h("div", { class: "conditions-frame" },
    h("h2", { id: "conditions-title", class: "section-title" }, onlyUnmet ? words.conditions.waiting : words.conditions.before),
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
  const known = words.conditions[quantity] ?? { name: quantity, remedy: "" };
  const good = met(group);
  return h("li", { key: `condition-${quantity}`, class: `condition tone-${good ? "good" : "warn"}`, "data-quantity": quantity, "data-met": String(good) },
    icon(good ? "good" : "warn"),
    h("span", { class: "condition-text" },
      h("span", { class: "condition-name" }, required(known, group)),
      h("span", { class: "visually-hidden" }, good ? words.conditions.met : words.conditions.unmet),
      !good && h("span", { class: "condition-remedy" }, `${measured(quantity, value)} ${known.remedy}`)));
}

/** What must hold: "Battery voltage: 10 to 16 V". */
function required(known, group) {
  const { quantity } = group[0];
  const limit = (sign) => group.find((each) => each.sign === sign)?.limit;
  const [low, high, exact] = [limit(">="), limit("<="), limit("=")];
  if (known.yes) return (exact ?? high ?? low) > 0 ? known.yes : known.no;
  if (STATED.has(quantity) && !(high > 0) && !(exact > 0) && low === undefined) return known.name;
  const unit = UNITS[quantity] ? ` ${UNITS[quantity]}` : "";
  if (exact !== undefined) return words.conditions.exactly(known.name, figure(`${exact}${unit}`));
  if (low !== undefined && high !== undefined) return words.conditions.range(known.name, low, figure(`${high}${unit}`));
  return low !== undefined ? words.conditions.atLeast(known.name, figure(`${low}${unit}`)) : words.conditions.atMost(known.name, figure(`${high}${unit}`));
}

/** What it is now: "Now: 9.5 V." */
function measured(quantity, value) {
  if (value === null) return words.conditions.unknown;
  return UNITS[quantity] ? words.conditions.now(figure(`${Math.round(value * 10) / 10} ${UNITS[quantity]}`)) : "";
}
