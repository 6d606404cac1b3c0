// The page's words for job states, ECU phases and outcomes. An unknown state or phase is shown by its name.

/** Job states on the way, in order: the stepper. (CREATED is before the first.) */
export const STEPS = ["CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"];

/** What happens now, for each state on the way. */
export const RUNNING = {
  CREATED: { title: "Preparing the update", text: "The vehicle has been told of an update." },
  CONFIRMING: { title: "Checking the update", text: "Its signature, and whether it is meant for this vehicle, are being verified." },
  WAITING_FOR_APPROVAL: { title: "Update available", text: "" },
  DOWNLOADING: { title: "Downloading the update", text: "The vehicle can be used as usual." },
  INSTALLING: { title: "Installing the update", text: "The new software is written next to the one in use. Please leave the vehicle switched on." },
  ACTIVATING: { title: "Activating the new software", text: "The control units restart. Please leave the vehicle switched on." },
  VERIFYING: { title: "Verifying the new software", text: "The control units are checked one by one before the update counts." },
};

/** How a job ended: what happened, and what the car runs now. FAILED depends on how far it came: see `failure`. */
export const OUTCOMES = {
  SUCCEEDED: { tone: "good", title: "Update installed", text: "All control units run the new software and have confirmed it." },
  ROLLED_BACK: {
    tone: "warn",
    title: "Update rolled back",
    text: "The new software could not be put into use, so the update was undone. Your car runs the previous version, as before.",
  },
  REJECTED: { tone: "neutral", title: "Update not installed", text: "The update was declined. Your car keeps the software it has." },
  CANCELED: { tone: "neutral", title: "Update canceled", text: "The update was withdrawn before it took effect. Your car keeps the software it has." },
  TIMED_OUT: { tone: "warn", title: "Update timed out", text: "The update was not finished in time. Your car keeps the software it has." },
};

const FAILED = { tone: "bad", title: "Update failed" };

/** FAILED before ACTIVATING changed nothing that runs; later it means that a control unit could not be brought back. */
export function failure(reached) {
  if (reached === "unchanged") return { ...FAILED, text: "The update could not be installed. Nothing has changed: your car runs the previous version." };
  if (reached === "activated") {
    return { ...FAILED, text: "The update could not be completed, and not every control unit could be brought back. Please contact your workshop before you drive on." };
  }
  return { ...FAILED, text: "The update could not be completed. The versions below are what the control units run." };
}

const PHASES = {
  waiting: "Waiting",
  erasing: "Erasing",
  transferring: "Transferring",
  checking: "Checking",
  staged: "Staged",
  activating: "Restarting",
  trial: "Trial run",
  soaking: "Trial run, watched",
  confirmed: "Confirmed",
  reverted: "Reverted",
  failed: "Failed",
};

const PHASE_TONES = { confirmed: "good", reverted: "warn", failed: "bad", waiting: "idle", "": "idle" };

/** A job state's label is its name in lower case: "WAITING_FOR_APPROVAL" is "Waiting for approval". */
export const jobState = (state) => state && state.charAt(0) + state.slice(1).toLowerCase().replaceAll("_", " ");
export const phase = (name) => PHASES[name] ?? name;
export const phaseTone = (name) => PHASE_TONES[name] ?? "busy";
/** Whether a job that has not ended has reached a step. */
export const hasReached = (state, step) => STEPS.indexOf(state) >= STEPS.indexOf(step);
export const isFinal = (state) => state === "FAILED" || state in OUTCOMES;
