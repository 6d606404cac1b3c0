// Joins the parts: draws the page from each state that arrives, and sends the decision when a button is pressed.
// `ui` holds everything that the page remembers by itself; everything else comes from the gateway.

import { ask, decide } from "./actions.js";
import { connect } from "./connection.js";
import { patch } from "./dom.js";
import { announcement } from "./announce.js";
import { wallClock } from "./format.js";
import { fillIn } from "./frame.js";
import { textsOf } from "./texts.js";
import { links, lostNotice, shownState, view } from "./view.js";
import { choose, words } from "./words.js";

const SETTLE_MS = 5000;
/** Parts that scroll by themselves when there is too much in them; a keyboard reaches them only then. */
const SCROLLING = ["job", "ecus", "history-list"];
const at = (id) => document.getElementById(id);

let state = null;
const ui = {
  linkUp: null, // null until the first answer
  sending: null, // the decision under way
  error: "",
  closedJob: null, // the ended job whose result the driver has put away
  acting: null, // the button that had the focus when it was pressed: a disabled button loses it
  workshop: false, // whether the details for the workshop are shown
  scrolling: new Set(), // the parts that have more than fits
  reached: null, // {job_id, state}: the last state on the way that this page saw
};

function draw() {
  const focused = document.activeElement;
  patch(at("links"), links(state, ui));
  patch(at("lost"), lostNotice(ui));
  at("lost").hidden = ui.linkUp !== false;
  document.body.classList.toggle("stale", ui.linkUp === false);
  if (!state) return;
  at("vin").textContent = state.vin;
  at("schedule-zone").textContent = words.schedule.time(state.time_zone);
  const shown = shownState(state, ui);
  patch(at("view"), view(shown, ui, { onDecision: send, onClose: putAway }));
  keepFocus(focused);
  const said = announcement(shown, ui);
  if (at("announcer").textContent !== said) at("announcer").textContent = said;
  document.body.dataset.seq = state.seq;
  followScrolling();
}

/** Redraws where a part has begun or ceased to scroll. */
function followScrolling() {
  const now = SCROLLING.filter((id) => at(id) && scrolls(at(id)));
  if (now.length === ui.scrolling.size && now.every((id) => ui.scrolling.has(id))) return;
  ui.scrolling = new Set(now);
  draw();
}

const scrolls = (element) => element.scrollHeight > element.clientHeight && getComputedStyle(element).overflowY === "auto";

/** Restores the keyboard focus: to the button once it works again, otherwise to the top of what replaced it. */
function keepFocus(before) {
  const button = ui.acting && at(ui.acting);
  if (button?.disabled) return;
  if (document.activeElement === document.body && (ui.acting || before !== document.body)) (button ?? at("job-title")).focus();
  ui.acting = null;
}

function onState(next) {
  const before = state;
  state = next;
  if (!before || subject(before) !== subject(next)) {
    ui.sending = null;
    ui.error = "";
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close("");
  }
  if (next.job_id && !next.ending) ui.reached = { job_id: next.job_id, state: next.job_state };
  draw();
}

const subject = ({ job_id, job_state, question, offer, deferred_until, start_from }) => [job_id, job_state, question, offer, deferred_until, start_from].join(" ");

function onLink(up) {
  if (ui.linkUp === up) return;
  ui.linkUp = up;
  draw();
}

async function send(decision) {
  if (ui.sending) return;
  const about = subject(state);
  const details = await detailsOf(decision);
  if (details === null || ui.sending || subject(state) !== about) return;
  ui.sending = decision;
  ui.acting = decision;
  ui.error = "";
  draw();
  const error = await decide(state.job_id, { decision, offer: state.offer, language: textsOf(state).language ?? "", ...details });
  if (subject(state) !== about) return; // the new state has already answered
  ui.error = error;
  if (error) ui.sending = null;
  else setTimeout(() => subject(state) === about && ((ui.sending = null), draw()), SETTLE_MS);
  draw();
}

/** What belongs to a decision beside what is shown; null where the driver thinks better of it. */
async function detailsOf(decision) {
  if (decision === "decline") {
    at("decline-reason").value = "";
    return (await ask(at("decline-dialog"))) ? { reason: at("decline-reason").value } : null;
  }
  if (decision === "cancel") return (await ask(at("cancel-dialog"))) ? {} : null;
  if (decision !== "schedule") return {};
  const now = Date.now() / 1000;
  at("schedule-time").min = wallClock(now + 60, state.time_zone);
  at("schedule-time").value = wallClock(now + 3600, state.time_zone);
  const answer = await ask(at("schedule-dialog"));
  return answer ? { when: answer === "night" ? "night" : at("schedule-time").value } : null;
}

function putAway() {
  ui.closedJob = state.job_id;
  draw();
}

at("workshop").addEventListener("click", () => {
  ui.workshop = !ui.workshop;
  at("workshop").setAttribute("aria-pressed", String(ui.workshop));
  draw();
});
addEventListener("resize", draw);

at("language").addEventListener("change", () => {
  choose(at("language").value);
  fillIn(document);
  ui.error = "";
  draw();
});
fillIn(document);

connect(document.querySelector("meta[name=otabench-run]").content, { onState, onLink });
