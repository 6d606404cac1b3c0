// What a vehicle without a job may claim about itself.

import { ending, obstacle, words } from "./words.js";

/** Tone, title and text of a vehicle that has no job. "Up to date" is claimed only where nothing speaks against it. */
export function idleWords(state, ui) {
  const { idle } = words;
  const nothing = { tone: "idle", title: idle.nothing };
  if (ui.linkUp === false) return { tone: "idle", title: idle.lostTitle, text: idle.lostText };
  const last = ending(lastEnding(state));
  if (last?.notice) return { tone: last.tone, title: last.notice, text: last.afterwards };
  if (state.obstacle) return { ...nothing, text: obstacle(state.obstacle.kind) };
  if (last?.afterwards) return { ...nothing, tone: last.tone, text: last.afterwards };
  if (state.cloud_reachable === null) return { ...nothing, text: idle.asking };
  if (!state.cloud_reachable) return { ...nothing, text: idle.away };
  if (state.ecus.some((ecu) => ecu.version === "")) return { ...nothing, text: idle.unknown };
  return { tone: "good", title: idle.title, text: idle.text };
}

/** How the last job ended: the one that was closed just now, otherwise the latest in the history. */
const lastEnding = (state) => state.closed_ending ?? state.history[0]?.ending;
