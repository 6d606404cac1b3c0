// Figures as the driver reads them, in the language of the page.

import { words } from "./words.js";

const UNITS = ["B", "KiB", "MiB", "GiB"];

/** A figure with its unit, which stays in this order (isolated) in a text that is written from the right. */
export const figure = (text) => (words.dir === "rtl" ? `\u2066${text}\u2069` : text);

/** 1536 → "1.5 KiB" */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return figure(`${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`);
}

/** 28672 → "28.0 KiB/s" */
export function rate(bytesPerS) {
  return figure(`${(bytesPerS / 1024).toFixed(1)} KiB/s`);
}

/** Whole percent. 100 only when everything is done: rounding up would show an end that has not come. */
export function percent(done, total) {
  if (!(total > 0)) return 0;
  return done >= total ? 100 : Math.max(0, Math.min(99, Math.floor((100 * done) / total)));
}

/** 100 → "2 min" */
export function duration(seconds) {
  const { units } = words;
  if (seconds < 60) return units.seconds(Math.max(1, Math.round(seconds)));
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return units.minutes(minutes);
  return units.hours(Math.floor(minutes / 60), String(minutes % 60).padStart(2, "0"));
}

/** 96, 220 → "1 to 4 min" */
export function durationRange(low, high) {
  const { units } = words;
  if (high < 60) return low < high ? units.secondsRange(Math.max(1, low), high) : units.about(duration(high));
  const [from, to] = [Math.max(1, Math.floor(low / 60)), Math.ceil(high / 60)];
  if (from === to) return units.about(units.minutes(to));
  return to < 60 ? units.minutesRange(from, to) : units.range(duration(from * 60), duration(to * 60));
}

/** A moment (s since 1970), which names its time zone; with the day where it is not today: "14:05 GMT+1". By default the display's zone. */
export function moment(seconds, timeZone = undefined, now = new Date()) {
  const then = new Date(seconds * 1000);
  const dayOf = (date) => date.toLocaleDateString("en-CA", { timeZone });
  const time = then.toLocaleTimeString(words.locale, { timeZone, hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  if (dayOf(then) === dayOf(now)) return time;
  return `${then.toLocaleDateString(words.locale, { timeZone, weekday: "short", day: "numeric", month: "short" })}, ${time}`;
}

/** A moment in UTC, as logs and traces have it: 1763899200 → "2025-11-23 12:00 UTC". */
export function dateTime(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** A moment with its year in the display's time zone: "23 Nov 2025, 13:00 GMT+1". */
export function day(seconds) {
  const then = new Date(seconds * 1000);
  const date = then.toLocaleDateString(words.locale, { day: "numeric", month: "short", year: "numeric" });
  return `${date}, ${then.toLocaleTimeString(words.locale, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" })}`;
}

/** A moment as an input of day and time has it, in a zone: "2026-11-30T02:30". */
export function wallClock(seconds, timeZone) {
  const parts = { timeZone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const found = Object.fromEntries(new Intl.DateTimeFormat("en-US", parts).formatToParts(new Date(seconds * 1000)).map(({ type, value }) => [type, value]));
  return `${found.year}-${found.month}-${found.day}T${found.hour}:${found.minute}`;
}
