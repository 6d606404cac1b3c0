// The job: the offer, the progress, or the result; or that no update is waiting.

import { allMet, conditionList } from "./conditions.js";
import { h } from "./dom.js";
import { bytes, day, durationRange, moment } from "./format.js";
import { icon } from "./icons.js";
import { idleWords } from "./idle.js";
import { textsOf } from "./texts.js";
import { STEPS, asksToInstall, ending, hasReached, jobState, obstacle, running as runningWords, words } from "./words.js";

/** The large card. */
export function jobSection(state, ui, actions) {
  const [kind, ...content] = !state.job_id
    ? idle(state, ui)
    : state.ending
      ? result(state, ui, actions)
      : isAsked(state)
        ? offer(state, ui, actions)
        : running(state, ui, actions);
  return h("section", { id: "job", class: `card job job-${kind}`, "aria-labelledby": "job-title", tabindex: ui.scrolling.has("job") ? "0" : null }, content);
}

/** Whether the driver is asked: before anything, or once more after a download that was agreed to alone. */
const isAsked = (state) => state.job_state === "WAITING_FOR_APPROVAL" || asksToInstall(state);

const badge = (state, tone, text) =>
  h("p", { id: "job-state", "data-testid": "job-state", "data-state": state, class: `badge tone-${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), text);

const title = (text) => h("h1", { id: "job-title", tabindex: "-1" }, text);

const headline = (tone, sign, text) => h("div", { class: "headline" }, h("span", { class: `emblem tone-${tone}` }, icon(sign)), title(text));

const car = () => h("img", { id: "car", class: "car", src: "/static/car.svg", alt: "", width: "800", height: "240" });

const campaign = (state) => {
  const texts = textsOf(state);
  return texts.name && h("p", { class: "campaign", "data-testid": "campaign", lang: texts.language, dir: texts.dir }, texts.name);
};

/** A short text of the campaign under a heading of the page; nothing where the campaign has none. */
const told = (name, heading, texts) =>
  texts[name] && h("div", { class: "told", key: `told-${name}` },
    h("h2", { class: "section-title" }, heading),
    // A telephone number alone is written from the left, in every language.
    h("p", { "data-testid": name, lang: texts.language, dir: name === "contact" ? "auto" : texts.dir }, texts[name]));

/** The reason in the words of the workshop; shown in workshop details only. */
const reason = (text, tone, ui) =>
  ui.workshop && text && h("p", { class: `reason tone-${tone}`, "data-testid": "reason" }, h("span", { class: "label" }, words.page.reason), " ", h("bdi", {}, text));

const hindered = (state, ui) => state.obstacle && [
  h("p", { class: "lead", "data-testid": "obstacle" }, icon("clock"), obstacle(state.obstacle.kind)),
  reason(state.obstacle.text, "warn", ui),
];

function idle(state, ui) {
  const said = idleWords(state, ui);
  const sign = said.tone === "idle" ? "neutral" : said.tone;
  return [
    "idle",
    badge("IDLE", said.tone, said.tone === "good" ? words.idle.badge : words.idle.nothing),
    h("div", { id: "job-body", class: "job-body centred" },
      headline(said.tone, sign, said.title),
      h("p", { class: "lead" }, said.text),
      reason(state.obstacle?.text, "warn", ui),
    ),
    car(),
  ];
}

function offer(state, ui, actions) {
  const texts = textsOf(state);
  const waits = state.deferred_until !== null || state.start_from !== null;
  const [label, heading] = offerTitle(state);
  return [
    "offer",
    badge(state.job_state, waits ? "idle" : "busy", label),
    h("div", { id: "job-body", class: "job-body" },
      title(heading),
      campaign(state),
      offerLead(state),
      h("dl", { class: "facts" },
        state.question !== "install" && fact("download", words.offer.download, bytes(state.download_bytes)),
        state.duration_max_s > 0 && fact("clock", words.offer.time, durationRange(state.duration_min_s, state.duration_max_s)),
        fact("chip", words.offer.units, String(state.ecus.length), "fact fact-more"),
      ),
      // Before the texts: what keeps the button from being pressed must be seen without scrolling.
      needsConditions(state) && conditionList(state),
      told("purpose", words.offer.why, texts),
      mustBeInstalled(state, texts),
      told("unavailable", words.offer.unavailable, texts),
      !waits && told("instructions", words.offer.todo, texts),
      consequences(state),
      news(words.offer.news, texts),
      told("contact", words.offer.contact, texts),
    ),
    ui.error && h("p", { id: "decision-error", "data-testid": "decision-error", class: "error", role: "alert" }, icon("warn"), ui.error),
    offerButtons(state, ui, actions, waits),
  ];
}

/** The conditions matter where the driver may install now, and when the time of an appointment has come. */
function needsConditions(state) {
  if (state.deferred_until !== null || state.question === "download") return false;
  return state.start_from === null || isDue(state);
}

const isDue = (state) => state.start_from !== null && state.start_from * 1000 <= Date.now();

/** The label and the title of an offer. */
function offerTitle(state) {
  const said = words.offer;
  if (state.start_from !== null) return [said.scheduled, said.scheduledTitle];
  if (state.deferred_until !== null) return [said.postponed, said.postponedTitle];
  if (state.question === "install") return [jobState("WAITING_FOR_APPROVAL"), said.readyTitle];
  return [jobState(state.job_state), runningWords(state).title];
}

/** What the driver has to know first: when it goes on, and what is asked now. */
function offerLead(state) {
  const said = words.offer;
  const lead = (testid, text) => h("p", { class: "lead", "data-testid": testid }, icon("clock"), text);
  if (state.start_from !== null) {
    return lead("scheduled", isDue(state) ? said.waitsUntil(moment(state.start_by, state.time_zone)) : said.startsAt(moment(state.start_from, state.time_zone)));
  }
  if (state.deferred_until !== null) return lead("deferred", said.askedAgain(moment(state.deferred_until)));
  return [
    state.is_appointment_missed && lead("missed", said.missed),
    state.question === "install" && h("p", { class: "lead", "data-testid": "ready" }, said.readyText),
    state.question === "download" && h("p", { class: "lead", "data-testid": "download-first" }, said.downloadText),
  ];
}

/** That an update must be installed: by when, and why. */
const mustBeInstalled = (state, texts) => state.rules.install_by > 0 && [
  h("p", { class: "lead", "data-testid": "must" }, icon("warn"), words.offer.mustBy(day(state.rules.install_by))),
  told("obligation", words.offer.whyMust, texts),
];

/** What the update does to the vehicle meanwhile, and what happens if it fails. */
const consequences = (state) => [
  keptParked(state),
  state.stops_working && h("p", { class: "lead", "data-testid": "stops-working" }, icon("warn"), words.offer.stopsWorking),
  h("div", { class: "told", key: "told-failure" },
    h("h2", { class: "section-title" }, words.offer.ifItFails),
    h("p", { "data-testid": state.has_no_way_back ? "no-way-back" : "way-back" }, state.has_no_way_back ? words.offer.noWayBack : words.offer.goesBack)),
];

const keptParked = (state) => state.is_kept_parked && h("p", { class: "lead", "data-testid": "kept-parked" }, icon("warn"), words.offer.keptParked);

const news = (heading, texts) => texts.release_notes && h("div", { class: "notes-frame", key: "notes-frame" },
  h("h2", { id: "notes-title", class: "section-title" }, heading),
  h("div", { id: "notes", "data-testid": "notes", class: "notes", tabindex: "0", role: "region", "aria-labelledby": "notes-title", lang: texts.language, dir: texts.dir }, texts.release_notes));

function offerButtons(state, ui, actions, waits) {
  const said = words.offer;
  const left = state.reminders_left;
  const mayWait = left !== 0 && !(state.rules.install_by > 0 && state.rules.install_by * 1000 <= Date.now());
  const installs = state.question !== "download";
  const blocked = installs && state.deferred_until === null && !allMet(state);
  // The offer is shown a moment before the gateway waits for the decision.
  const button = choiceButton(ui, actions, state.question === null);
  return h("div", { id: "actions", class: "actions" },
    left !== null && !waits && h("p", { class: "actions-note", "data-testid": "reminders" }, said.reminders(left)),
    button("install", installs ? said.install : said.downloadNow, "button-primary", blocked),
    button("schedule", state.start_from === null ? said.schedule : said.reschedule, ""),
    state.deferred_until === null && mayWait && button("later", said.later, ""),
    state.rules.install_by === 0 && button("decline", said.decline, "button-quiet"),
  );
}

/** Returns the maker of buttons for decisions. */
const choiceButton = (ui, actions, tooEarly = false) => (decision, label, look, blocked = false) =>
  h("button", { id: decision, "data-testid": decision, type: "button", class: `button ${look}`, disabled: ui.sending !== null || ui.linkUp === false || tooEarly || blocked, "aria-describedby": blocked ? "conditions" : null, "aria-busy": ui.sending === decision ? "true" : null, onClick: () => actions.onDecision(decision) },
    ui.sending === decision ? words.page.moment : label);

const fact = (sign, name, value, look = "fact") => h("div", { class: look }, icon(sign), h("dt", {}, name), h("dd", {}, value));

function running(state, ui, actions) {
  const said = state.is_paused ? words.paused : runningWords(state);
  const tone = state.is_reverting ? "warn" : "busy";
  const downloading = state.job_state === "DOWNLOADING";
  const counted = !state.is_reverting && (downloading || state.progress_percent > 0);
  const installing = hasReached(state.job_state, "INSTALLING") && !state.is_paused;
  return [
    "running",
    badge(state.job_state, tone, jobState(state.job_state)),
    h("div", { id: "job-body", class: "job-body" },
      title(said.title),
      campaign(state),
      h("p", { class: "lead", "data-testid": state.is_paused ? "paused" : null }, said.text),
      state.is_paused && conditionList(state, { onlyUnmet: true }),
      installing && keptParked(state),
      installing && state.stops_working && h("p", { class: "lead", "data-testid": "stops-working" }, icon("warn"), words.offer.stopsWorking),
      installing && told("unavailable", words.offer.unavailable, textsOf(state)),
      hindered(state, ui),
      reason(state.reason, "warn", ui),
    ),
    !state.is_paused && car(),
    counted && h("div", { id: "overall", class: "overall" },
      h("p", { class: "overall-percent", "aria-hidden": "true" }, h("span", { "data-testid": "overall-percent" }, state.progress_percent), h("small", {}, "%")),
      downloading && h("p", { class: "overall-bytes" }, words.progress.of(bytes(state.download_done_bytes), bytes(state.download_bytes))),
      h("progress", { class: "bar", max: "100", value: state.progress_percent, "aria-label": words.progress.whole }),
    ),
    !counted && h("progress", { id: "overall-busy", class: `bar tone-${tone}`, "aria-label": said.title }),
    stepper(STEPS.indexOf(state.job_state), tone, !state.is_reverting),
    cancelPart(state, ui, actions),
  ];
}

/** The button to cancel, until the point of no return; then that there is none any more. */
function cancelPart(state, ui, actions) {
  if (state.can_be_canceled) {
    return h("div", { id: "actions", class: "actions actions-cancel" },
      h("p", { class: "actions-note", "data-testid": "can-cancel" }, words.progress.canCancel),
      ui.error && h("p", { id: "decision-error", "data-testid": "decision-error", class: "error", role: "alert" }, icon("warn"), ui.error),
      choiceButton(ui, actions)("cancel", words.progress.cancel, "button-quiet"));
  }
  const tooLate = hasReached(state.job_state, "ACTIVATING") && !state.is_reverting;
  return tooLate && h("p", { class: "actions-note", "data-testid": "no-return" }, words.progress.noReturn);
}

function result(state, ui, actions) {
  const said = ending(state.ending);
  const reached = ui.reached?.job_id === state.job_id ? ui.reached.state : null;
  const at = state.ending === "installed" ? STEPS.length : STEPS.indexOf(reached);
  const texts = textsOf(state);
  return [
    "result",
    badge(state.job_state, said.tone, jobState(state.job_state)),
    h("div", { id: "result", "data-testid": "result", "data-state": state.job_state, "data-ending": state.ending, class: "job-body centred" },
      headline(said.tone, state.ending === "undone" ? "undo" : said.tone, said.title),
      campaign(state),
      h("p", { class: "lead" }, said.text),
      state.ending === "installed" && told("instructions", words.result.todo, texts),
      state.ending === "installed" && news(words.result.changed, texts),
      told("contact", words.offer.contact, texts),
      reason(state.reason, said.tone, ui),
      hindered(state, ui),
    ),
    at >= 0 && stepper(at, said.tone, false),
    h("div", { id: "actions", class: "actions actions-single" },
      h("button", { id: "close-result", "data-testid": "close-result", type: "button", class: "button", onClick: actions.onClose }, words.page.close)),
  ];
}

/** The steps of the update. Those before `at` are done; the job is at `at`, or stopped there. */
function stepper(at, tone, underWay) {
  const step = (state, index) => {
    const look = index < at ? "done" : index === at ? `here tone-${tone}` : "ahead";
    const said = index < at ? words.steps.done : index === at ? (underWay ? words.steps.underWay : words.steps.stopped) : words.steps.ahead;
    return h("li", { class: `step ${look}`, "data-step": state, "aria-current": index === at ? "step" : null },
      h("span", { class: "step-mark", "aria-hidden": "true" }, index < at ? icon("good") : index === at && !underWay ? icon("bad") : null),
      h("span", { class: "step-name" }, jobState(state), h("span", { class: "visually-hidden" }, `: ${said}`)));
  };
  return h("ol", { id: "steps", "data-testid": "steps", class: "steps", "aria-label": words.steps.title }, STEPS.map(step));
}
