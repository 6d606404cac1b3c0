// The job: the offer, the progress, or the result; or that no update is waiting.

import { allMet, conditionList } from "./conditions.js";
import { h } from "./dom.js";
import { bytes, duration, moment } from "./format.js";
import { icon } from "./icons.js";
import { idleWords } from "./idle.js";
import { textsOf } from "./texts.js";
import { ENDINGS, NO_WAY_BACK, PAUSED, STEPS, STOPS_WORKING, jobState, obstacle, running as runningWords } from "./words.js";

/** The large card. */
export function jobSection(state, ui, actions) {
  const [kind, ...content] = !state.job_id
    ? idle(state, ui)
    : state.ending
      ? result(state, ui, actions)
      : state.job_state === "WAITING_FOR_APPROVAL"
        ? offer(state, ui, actions)
        : running(state, ui);
  return h("section", { id: "job", class: `card job job-${kind}`, "aria-labelledby": "job-title", tabindex: ui.scrolling.has("job") ? "0" : null }, content);
}

const badge = (state, tone, words) =>
  h("p", { id: "job-state", "data-testid": "job-state", "data-state": state, class: `badge tone-${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), words);

const title = (words) => h("h1", { id: "job-title", tabindex: "-1" }, words);

const headline = (tone, sign, words) => h("div", { class: "headline" }, h("span", { class: `emblem tone-${tone}` }, icon(sign)), title(words));

const car = () => h("img", { id: "car", class: "car", src: "/static/car.svg", alt: "", width: "800", height: "240" });

const campaign = (state) => {
  const texts = textsOf(state);
  return texts.name && h("p", { class: "campaign", "data-testid": "campaign", lang: texts.language, dir: "auto" }, texts.name);
};

/** A short text of the campaign under a heading of the page; nothing where the campaign has none. */
const told = (name, heading, texts) =>
  texts[name] && h("div", { class: "told", key: `told-${name}` },
    h("h2", { class: "section-title" }, heading),
    h("p", { "data-testid": name, lang: texts.language, dir: "auto" }, texts[name]));

/** The reason in the words of the workshop; shown in workshop details only. */
const reason = (words, tone, ui) =>
  ui.workshop && words && h("p", { class: `reason tone-${tone}`, "data-testid": "reason" }, h("span", { class: "label" }, "Reason"), " ", words);

const hindered = (state, ui) => state.obstacle && [
  h("p", { class: "lead", "data-testid": "obstacle" }, icon("clock"), obstacle(state.obstacle.kind)),
  reason(state.obstacle.text, "warn", ui),
];

function idle(state, ui) {
  const words = idleWords(state, ui);
  const sign = words.tone === "idle" ? "neutral" : words.tone;
  return [
    "idle",
    badge("IDLE", words.tone, words.tone === "good" ? "Up to date" : "No update waiting"),
    h("div", { id: "job-body", class: "job-body centred" },
      headline(words.tone, sign, words.title),
      h("p", { class: "lead" }, words.text),
      reason(state.obstacle?.text, "warn", ui),
    ),
    car(),
  ];
}

function offer(state, ui, actions) {
  const texts = textsOf(state);
  const deferred = state.deferred_until !== null;
  const busy = ui.sending !== null || ui.linkUp === false;
  const button = (decision, label, look, blocked = false) =>
    h("button", { id: decision, "data-testid": decision, type: "button", class: `button ${look}`, disabled: busy || blocked, "aria-describedby": blocked ? "conditions" : null, "aria-busy": ui.sending === decision ? "true" : null, onClick: () => actions.onDecision(decision) },
      ui.sending === decision ? "One moment…" : label);
  return [
    "offer",
    badge(state.job_state, deferred ? "idle" : "busy", deferred ? "Postponed" : jobState(state.job_state)),
    h("div", { id: "job-body", class: "job-body" },
      title(deferred ? "Update postponed" : runningWords(state).title),
      campaign(state),
      deferred && h("p", { class: "lead", "data-testid": "deferred" }, icon("clock"), `You will be asked again at ${moment(state.deferred_until)}.`),
      h("dl", { class: "facts" },
        fact("download", "Download", bytes(state.download_bytes)),
        state.expected_duration_s > 0 && fact("clock", "Expected time", `about ${duration(state.expected_duration_s)}`),
        fact("chip", "Control units", String(state.ecus.length), "fact fact-more"),
      ),
      told("purpose", "Why this update", texts),
      told("unavailable", "Not available meanwhile", texts),
      !deferred && told("instructions", "What to do", texts),
      !deferred && warnings(state),
      !deferred && conditionList(state),
      texts.release_notes && h("div", { class: "notes-frame" },
        h("h2", { id: "notes-title", class: "section-title" }, "What is new"),
        h("div", { id: "notes", "data-testid": "notes", class: "notes", tabindex: "0", role: "region", "aria-labelledby": "notes-title", lang: texts.language, dir: "auto" }, texts.release_notes),
      ),
    ),
    ui.error && h("p", { id: "decision-error", "data-testid": "decision-error", class: "error", role: "alert" }, icon("warn"), ui.error),
    h("div", { id: "actions", class: "actions" },
      button("install", "Install now", "button-primary", !deferred && !allMet(state)),
      !deferred && button("later", "Later", ""),
      button("decline", "Decline", "button-quiet"),
    ),
  ];
}

const warnings = (state) => [
  state.stops_working && h("p", { class: "lead", "data-testid": "stops-working" }, icon("warn"), STOPS_WORKING),
  state.has_no_way_back && h("p", { class: "lead", "data-testid": "no-way-back" }, icon("warn"), NO_WAY_BACK),
];

const fact = (sign, name, value, look = "fact") => h("div", { class: look }, icon(sign), h("dt", {}, name), h("dd", {}, value));

function running(state, ui) {
  const words = runningWords(state);
  const tone = state.is_reverting ? "warn" : "busy";
  const downloading = state.job_state === "DOWNLOADING";
  const counted = !state.is_reverting && (downloading || state.progress_percent > 0);
  return [
    "running",
    badge(state.job_state, tone, jobState(state.job_state)),
    h("div", { id: "job-body", class: "job-body" },
      title(state.is_paused ? PAUSED.title : words.title),
      campaign(state),
      h("p", { class: "lead", "data-testid": state.is_paused ? "paused" : null }, state.is_paused ? PAUSED.text : words.text),
      state.is_paused && conditionList(state, { onlyUnmet: true }),
      !state.is_paused && state.stops_working && h("p", { class: "lead", "data-testid": "stops-working" }, icon("warn"), STOPS_WORKING),
      hindered(state, ui),
      reason(state.reason, "warn", ui),
    ),
    !state.is_paused && car(),
    counted && h("div", { id: "overall", class: "overall" },
      h("p", { class: "overall-percent", "aria-hidden": "true" }, h("span", { "data-testid": "overall-percent" }, state.progress_percent), h("small", {}, "%")),
      downloading && h("p", { class: "overall-bytes" }, `${bytes(state.download_done_bytes)} of ${bytes(state.download_bytes)}`),
      h("progress", { class: "bar", max: "100", value: state.progress_percent, "aria-label": "The whole update" }),
    ),
    !counted && h("progress", { id: "overall-busy", class: `bar tone-${tone}`, "aria-label": words.title }),
    stepper(STEPS.indexOf(state.job_state), tone, !state.is_reverting),
  ];
}

function result(state, ui, actions) {
  const said = ENDINGS[state.ending];
  const reached = ui.reached?.job_id === state.job_id ? ui.reached.state : null;
  const at = state.ending === "installed" ? STEPS.length : STEPS.indexOf(reached);
  return [
    "result",
    badge(state.job_state, said.tone, jobState(state.job_state)),
    h("div", { id: "result", "data-testid": "result", "data-state": state.job_state, "data-ending": state.ending, class: "job-body centred" },
      headline(said.tone, state.ending === "undone" ? "undo" : said.tone, said.title),
      campaign(state),
      h("p", { class: "lead" }, said.text),
      state.ending === "installed" && told("instructions", "What to do now", textsOf(state)),
      reason(state.reason, said.tone, ui),
      hindered(state, ui),
    ),
    at >= 0 && stepper(at, said.tone, false),
    h("div", { id: "actions", class: "actions actions-single" },
      h("button", { id: "close-result", "data-testid": "close-result", type: "button", class: "button", onClick: actions.onClose }, "Close")),
  ];
}

/** The steps of the update. Those before `at` are done; the job is at `at`, or stopped there. */
function stepper(at, tone, underWay) {
  const step = (state, index) => {
    const look = index < at ? "done" : index === at ? `here tone-${tone}` : "ahead";
    const said = index < at ? "done" : index === at ? (underWay ? "under way" : "stopped here") : "not reached";
    return h("li", { class: `step ${look}`, "data-step": state, "aria-current": index === at ? "step" : null },
      h("span", { class: "step-mark", "aria-hidden": "true" }, index < at ? icon("good") : index === at && !underWay ? icon("bad") : null),
      h("span", { class: "step-name" }, jobState(state), h("span", { class: "visually-hidden" }, `: ${said}`)));
  };
  return h("ol", { id: "steps", "data-testid": "steps", class: "steps", "aria-label": "Steps of the update" }, STEPS.map(step));
}
