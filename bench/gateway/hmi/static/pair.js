// The pairing form: sends the code, and loads the page once it is accepted.

import { fillIn } from "./frame.js";
import { choose, words } from "./words.js";

const FORBIDDEN = 403;
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
    return words.refusals.no_answer;
  }
  if (answer.ok) return "";
  if (answer.status === FORBIDDEN) return words.pair.wrong;
  const body = await answer.json().catch(() => ({}));
  return body.error ?? words.refusals.status(answer.status);
}

const language = document.getElementById("language");
language.addEventListener("change", () => {
  choose(language.value);
  fillIn(document);
  error.textContent = "";
});
fillIn(document);

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
