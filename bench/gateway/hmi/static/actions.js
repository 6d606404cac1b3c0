// The driver's decision on its way to the gateway.

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
    return "The gateway did not answer. Please try again.";
  }
  if (answer.ok) return "";
  const body = await answer.json().catch(() => ({}));
  return body.driver ?? body.error ?? `The gateway refused this (status ${answer.status}). Please try again.`;
}

/** Asks once more before an update is declined. Resolves to whether it is to be declined. */
export function confirmDecline(dialog) {
  return new Promise((resolve) => {
    const done = () => {
      dialog.removeEventListener("close", done);
      resolve(dialog.returnValue === "decline");
    };
    dialog.returnValue = "";
    dialog.addEventListener("close", done);
    dialog.querySelector("#decline-cancel").onclick = () => dialog.close("");
    dialog.querySelector("#decline-confirm").onclick = () => dialog.close("decline");
    dialog.showModal();
  });
}
