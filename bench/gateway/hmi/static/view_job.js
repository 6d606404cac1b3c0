// The job: the offer, the progress, or the result; or that no update is waiting.

import { isUpToDate, progress } from "./announce.js";
import { h } from "./dom.js";
import { bytes, duration, moment } from "./format.js";
import { icon } from "./icons.js";
import { OUTCOMES, RUNNING, STEPS, failure, isFinal, jobState } from "./words.js";

/** The large card. */
export function jobSection(state, ui, actions) {
  const [kind, ...content] = !state.job_id
    ? idle(state)
    : isFinal(state.job_state)
      ? result(state, ui, actions)
      : state.job_state === "WAITING_FOR_APPROVAL"
        ? offer(state, ui, actions)
        : running(state);
  return h("section", { id: "job", class: `card job job-${kind}`, "aria-labelledby": "job-title" }, content);
}

const badge = (state, tone, words) =>
  h("p", { id: "job-state", "data-testid": "job-state", "data-state": state, class: `badge tone-${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), words);

const title = (words) => h("h1", { id: "job-title", tabindex: "-1" }, words);

const headline = (tone, sign, words) => h("div", { class: "headline" }, h("span", { class: `emblem tone-${tone}` }, icon(sign)), title(words));

const car = () => h("img", { id: "car", class: "car", src: "/static/car.svg", alt: "", width: "800", height: "240" });

function idle(state) {
  const known = isUpToDate(state);
  const words = known
    ? "New software is offered here as soon as it is released for this vehicle."
    : !state.cloud_reachable
      ? "The cloud cannot be reached at the moment. New software is offered here once it can."
      : state.ecus.some((ecu) => ecu.from_version === "") && "Not all control units have said yet what they run.";
  return [
    "idle",
    badge("IDLE", known ? "good" : "idle", known ? "Up to date" : "No update waiting"),
    h("div", { id: "job-body", class: "job-body centred" },
      headline(known ? "good" : "idle", known ? "good" : "neutral", known ? "Your vehicle is up to date" : "No update waiting"),
      words && h("p", { class: "lead" }, words),
      state.reason && h("p", { class: "reason tone-warn", "data-testid": "reason" }, h("span", { class: "label" }, "Reason"), " ", state.reason),
    ),
    car(),
  ];
}

function offer(state, ui, actions) {
  const deferred = state.deferred_until !== null;
  const busy = ui.sending !== null || ui.linkUp === false;
  const button = (decision, label, look) =>
    h("button", { id: decision, "data-testid": decision, type: "button", class: `button ${look}`, disabled: busy, "aria-busy": ui.sending === decision ? "true" : null, onClick: () => actions.onDecision(decision) },
      ui.sending === decision ? "One moment…" : label);
  return [
    "offer",
    badge(state.job_state, deferred ? "idle" : "busy", deferred ? "Postponed" : jobState(state.job_state)),
    h("div", { id: "job-body", class: "job-body" },
      title(deferred ? "Update postponed" : RUNNING.WAITING_FOR_APPROVAL.title),
      h("p", { class: "campaign", "data-testid": "campaign" }, state.campaign_name),
      deferred && h("p", { class: "lead", "data-testid": "deferred" }, icon("clock"), `You will be asked again at ${moment(state.deferred_until)}.`),
      !deferred && state.reason && h("p", { class: "lead" }, state.reason),
      h("dl", { class: "facts" },
        fact("download", "Download", bytes(state.download_bytes)),
        state.expected_duration_s > 0 && fact("clock", "Expected time", `about ${duration(state.expected_duration_s)}`),
        fact("chip", "Control units", String(state.ecus.length), "fact fact-more"),
      ),
      state.release_notes && h("div", { class: "notes-frame" },
        h("h2", { id: "notes-title", class: "section-title" }, "What is new"),
        h("div", { id: "notes", "data-testid": "notes", class: "notes", tabindex: "0", role: "region", "aria-labelledby": "notes-title" }, state.release_notes),
      ),
    ),
    ui.error && h("p", { id: "decision-error", "data-testid": "decision-error", class: "error", role: "alert" }, icon("warn"), ui.error),
    h("div", { id: "actions", class: "actions" },
      button("install", "Install now", "button-primary"),
      !deferred && button("later", "Later", ""),
      button("decline", "Decline", "button-quiet"),
    ),
  ];
}

const fact = (sign, name, value, look = "fact") => h("div", { class: look }, icon(sign), h("dt", {}, name), h("dd", {}, value));

function running(state) {
  const words = RUNNING[state.job_state] ?? { title: jobState(state.job_state), text: "" };
  const done = progress(state);
  const downloading = state.job_state === "DOWNLOADING";
  return [
    "running",
    badge(state.job_state, "busy", jobState(state.job_state)),
    h("div", { id: "job-body", class: "job-body" },
      title(words.title),
      h("p", { class: "campaign", "data-testid": "campaign" }, state.campaign_name),
      h("p", { class: "lead" }, words.text),
      state.reason && h("p", { class: "lead", "data-testid": "reason" }, icon("clock"), state.reason),
    ),
    car(),
    (downloading || done > 0) && h("div", { id: "overall", class: "overall" },
      h("p", { class: "overall-percent", "aria-hidden": "true" }, h("span", { "data-testid": "overall-percent" }, done), h("small", {}, "%")),
      downloading && h("p", { class: "overall-bytes" }, `${bytes(state.download_done_bytes)} of ${bytes(state.download_bytes)}`),
      h("progress", { class: "bar", max: "100", value: done, "aria-label": downloading ? "Download" : "Installation of all control units" }),
    ),
    !(downloading || done > 0) && h("progress", { id: "overall-busy", class: "bar", "aria-label": words.title }),
    stepper(STEPS.indexOf(state.job_state), "busy"),
  ];
}

function result(state, ui, actions) {
  const reached = ui.reached?.job_id === state.job_id ? ui.reached.state : null;
  const said = state.job_state === "FAILED" ? failure(reachOfFailure(state, reached)) : OUTCOMES[state.job_state];
  const at = state.job_state === "SUCCEEDED" ? STEPS.length : STEPS.indexOf(reached);
  return [
    "result",
    badge(state.job_state, said.tone, jobState(state.job_state)),
    h("div", { id: "result", "data-testid": "result", "data-state": state.job_state, class: "job-body centred" },
      headline(said.tone, state.job_state === "ROLLED_BACK" ? "undo" : said.tone, said.title),
      h("p", { class: "campaign", "data-testid": "campaign" }, state.campaign_name),
      h("p", { class: "lead" }, said.text),
      state.reason && h("p", { class: `reason tone-${said.tone}`, "data-testid": "reason" }, h("span", { class: "label" }, "Reason"), " ", state.reason),
    ),
    at >= 0 && stepper(at, said.tone),
    h("div", { id: "actions", class: "actions actions-single" },
      h("button", { id: "close-result", "data-testid": "close-result", type: "button", class: "button", onClick: actions.onClose }, "Close")),
  ];
}

/** How far a failed job came. From ACTIVATING on, the software that runs may have changed. */
function reachOfFailure(state, reached) {
  const activated = ["activating", "trial", "soaking", "confirmed", "reverted"];
  if (["ACTIVATING", "VERIFYING"].includes(reached) || state.ecus.some((ecu) => activated.includes(ecu.phase))) return "activated";
  return reached ? "unchanged" : "unknown";
}

/** The steps of the update. Those before `at` are done; the job is at `at`, or stopped there. */
function stepper(at, tone) {
  const step = (state, index) => {
    const look = index < at ? "done" : index === at ? `here tone-${tone}` : "ahead";
    const said = index < at ? "done" : index === at ? (tone === "busy" ? "under way" : "stopped here") : "not reached";
    return h("li", { class: `step ${look}`, "data-step": state, "aria-current": index === at ? "step" : null },
      h("span", { class: "step-mark", "aria-hidden": "true" }, index < at ? icon("good") : index === at && tone !== "busy" ? icon("bad") : null),
      h("span", { class: "step-name" }, jobState(state), h("span", { class: "visually-hidden" }, `: ${said}`)));
  };
  return h("ol", { id: "steps", "data-testid": "steps", class: "steps", "aria-label": "Steps of the update" }, STEPS.map(step));
}
