// Figures as the driver reads them. Pure.

const UNITS = ["B", "KiB", "MiB", "GiB"];

/** 1536 → "1.5 KiB" */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** 28672 → "28.0 KiB/s" */
export function rate(bytesPerS) {
  return `${(bytesPerS / 1024).toFixed(1)} KiB/s`;
}

/** Whole percent. 100 only when everything is done: rounding up would show an end that has not come. */
export function percent(done, total) {
  if (!(total > 0)) return 0;
  return done >= total ? 100 : Math.max(0, Math.min(99, Math.floor((100 * done) / total)));
}

/** 100 → "2 min" */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** A moment (s since 1970) in the display's time zone, which it names; with the day where it is not today: "14:05 GMT+1". */
export function moment(seconds, now = new Date()) {
  const then = new Date(seconds * 1000);
  const time = then.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  if (then.toDateString() === now.toDateString()) return time;
  return `${then.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" })}, ${time}`;
}

/** A moment in UTC, as logs and traces have it: 1763899200 → "2025-11-23 12:00 UTC". */
export function dateTime(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** A moment with its year in the display's time zone: "23 Nov 2025, 13:00 GMT+1". */
export function day(seconds) {
  const then = new Date(seconds * 1000);
  const date = then.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
  return `${date}, ${then.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" })}`;
}
