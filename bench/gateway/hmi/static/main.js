// Joins the parts: draws the page from each state that arrives, and sends the decision when a button is pressed.
// `ui` holds everything that the page remembers by itself; everything else comes from the gateway.

import { confirmDecline, decide } from "./actions.js";
import { connect } from "./connection.js";
import { patch } from "./dom.js";
import { announcement } from "./announce.js";
import { textsOf } from "./texts.js";
import { links, lostNotice, shownState, view } from "./view.js";

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
  const shown = shownState(state, ui);
  patch(at("view"), view(shown, ui, { onDecision: send, onClose: putAway }));
  keepFocus(focused);
  const words = announcement(shown, ui);
  if (at("announcer").textContent !== words) at("announcer").textContent = words;
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
    at("decline-dialog").close("");
  }
  if (next.job_id && !next.ending) ui.reached = { job_id: next.job_id, state: next.job_state };
  draw();
}

const subject = ({ job_id, job_state, deferred_until }) => `${job_id} ${job_state} ${deferred_until}`;

function onLink(up) {
  if (ui.linkUp === up) return;
  ui.linkUp = up;
  draw();
}

async function send(decision) {
  if (ui.sending) return;
  const jobId = state.job_id;
  if (decision === "decline" && !(await confirmDecline(at("decline-dialog")))) return;
  if (ui.sending || state.job_id !== jobId) return;
  ui.sending = decision;
  ui.acting = decision;
  ui.error = "";
  draw();
  const about = subject(state);
  const error = await decide(jobId, { decision, offer: state.offer, language: textsOf(state).language ?? "" });
  if (subject(state) !== about) return; // the new state has already answered
  ui.error = error;
  if (error) ui.sending = null;
  else setTimeout(() => subject(state) === about && ((ui.sending = null), draw()), SETTLE_MS);
  draw();
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

connect(document.querySelector("meta[name=otabench-run]").content, { onState, onLink });
