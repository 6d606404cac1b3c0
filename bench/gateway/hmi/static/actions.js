// The driver's decision on its way to the gateway.

import { refusal, words } from "./words.js";

const TIMEOUT_MS = 15000;

/** Sends the decision, with what belongs to it. Returns "" when it was taken, else the sentence to show. */
export async function decide(jobId, choice) {
  let answer;
  try {
    answer = await fetch("/api/decision", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ job_id: jobId, ...choice }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return words.refusals.no_answer;
  }
  if (answer.ok) return "";
  const body = await answer.json().catch(() => ({}));
  return refusal(body.kind, body.driver ?? body.error ?? words.refusals.status(answer.status));
}

/**
 * Shows a dialog that asks once more. Resolves to the value of the button that was pressed; "" where the driver thinks better of it.
 * @param {HTMLDialogElement} dialog its buttons have `data-answer`.
 */
export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    for (const button of dialog.querySelectorAll("[data-answer]")) button.onclick = () => dialog.close(button.dataset.answer);
    dialog.showModal();
  });
}
