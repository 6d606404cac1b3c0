// What a vehicle without a job may claim about itself. Pure.

import { ENDINGS, obstacle } from "./words.js";

const NOTHING = { tone: "idle", title: "No update waiting" };

/** Tone, title and text of a vehicle that has no job. "Up to date" is claimed only where nothing speaks against it. */
export function idleWords(state, ui) {
  if (ui.linkUp === false) {
    return { tone: "idle", title: "No connection to the vehicle", text: "What the vehicle runs is shown again once the connection is back." };
  }
  const last = ENDINGS[lastEnding(state)];
  if (last?.notice) return { tone: last.tone, title: last.notice, text: last.afterwards };
  if (state.obstacle) return { ...NOTHING, text: obstacle(state.obstacle.kind) };
  if (last?.afterwards) return { ...NOTHING, tone: last.tone, text: last.afterwards };
  if (state.cloud_reachable === null) return { ...NOTHING, text: "The vehicle is asking for new software." };
  if (!state.cloud_reachable) return { ...NOTHING, text: "The cloud cannot be reached at the moment. New software is offered here once it can." };
  if (state.ecus.some((ecu) => ecu.version === "")) return { ...NOTHING, text: "Some control units have not reported their version yet." };
  return { tone: "good", title: "Your vehicle is up to date", text: "New software is offered here as soon as it is released for this vehicle." };
}

/** How the last job ended: the one that was closed just now, otherwise the latest in the history. */
const lastEnding = (state) => state.closed_ending ?? state.history[0]?.ending;
