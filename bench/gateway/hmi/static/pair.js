// The pairing form: sends the code, and loads the page once it is accepted.

const TIMEOUT_MS = 15000;
const form = document.getElementById("pair");
const error = document.getElementById("error");
const button = form.querySelector("button");

/** Sends the code. Returns "" when it was accepted, else the sentence to show. */
async function pair(code) {
  let answer;
  try {
    answer = await fetch("/api/pair", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return "The gateway did not answer. Please try again.";
  }
  if (answer.ok) return "";
  const body = await answer.json().catch(() => ({}));
  return body.error ?? `The gateway refused this (status ${answer.status}). Please try again.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  error.textContent = "";
  const refusal = await pair(document.getElementById("code").value);
  if (!refusal) {
    location.replace("/");
    return;
  }
  error.textContent = refusal;
  button.disabled = false;
  document.getElementById("code").focus();
});
