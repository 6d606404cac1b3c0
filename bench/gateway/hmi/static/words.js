// The page's words for job states, endings, ECU phases and control units. An unknown one is shown by its name.
// What a driver reads has no words of the workshop: identifiers, slots and reasons are shown in workshop details only.

/** Job states on the way, in order: the stepper. (CREATED is before the first.) */
export const STEPS = ["CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"];

/** What happens now, for each state on the way. */
const RUNNING = {
  CREATED: { title: "Preparing the update", text: "A new update was announced to the vehicle." },
  CONFIRMING: { title: "Checking the update", text: "The vehicle verifies the signature, and that the update is meant for it." },
  WAITING_FOR_APPROVAL: { title: "Update available", text: "" },
  DOWNLOADING: { title: "Downloading the update", text: "You can use the vehicle as usual." },
  INSTALLING: { title: "Installing the update", text: "The new software is written next to the one in use. Please leave the vehicle switched on." },
  ACTIVATING: { title: "Activating the new software", text: "The control units restart. Please leave the vehicle switched on." },
  VERIFYING: { title: "Verifying the new software", text: "The control units try out the new software before they keep it. Please leave the vehicle switched on." },
};

const REVERTING = {
  title: "Undoing the update",
  text: "The new software could not be put into use. The control units go back to the previous version. Please leave the vehicle switched on.",
};

/** What the driver has to know before the update, and while it runs. */
export const STOPS_WORKING = "Part of the vehicle does not work while this update is installed. Please park it and leave it parked.";
export const NO_WAY_BACK = "If this update fails, a workshop has to repair the vehicle.";
export const PAUSED = {
  title: "Update paused",
  text: "Nothing has been changed yet. The update goes on by itself as soon as the vehicle is ready again.",
};

/**
 * How a job ended: what happened, and what the vehicle runs now.
 * `afterwards` is what remains to be read once the result is closed, `notice` the title it then has.
 */
export const ENDINGS = {
  installed: { tone: "good", title: "Update installed", text: "All control units run the new software." },
  undone: {
    tone: "warn",
    title: "Update rolled back",
    text: "The new software could not be put into use, so the update was undone. Your vehicle runs the previous version, as before.",
    afterwards: "The last update was undone. Your vehicle runs the version from before it.",
  },
  unchanged: {
    tone: "bad",
    title: "Update failed",
    text: "The update could not be installed. Nothing has changed: your vehicle runs the previous version.",
    afterwards: "The last update could not be installed. Your vehicle runs the version from before it.",
  },
  not_brought_back: {
    tone: "bad",
    title: "Update failed",
    text: "The update could not be completed, and not every control unit could be brought back. Please contact your workshop before you drive on.",
    afterwards: "The last update could not be completed, and not every control unit could be brought back. Please contact your workshop before you drive on.",
    notice: "Contact your workshop",
  },
  declined: {
    tone: "neutral",
    title: "Update not installed",
    text: "You declined the update. Your vehicle keeps the software it has.",
    afterwards: "You declined the last update. Your vehicle keeps the software it has.",
  },
  refused: {
    tone: "warn",
    title: "Update not installed",
    text: "The update did not pass the checks of this vehicle. Your vehicle keeps the software it has.",
    afterwards: "The last update did not pass the checks of this vehicle. Your vehicle keeps the software it has.",
  },
  withdrawn: {
    tone: "neutral",
    title: "Update canceled",
    text: "The update was withdrawn before it took effect. Your vehicle keeps the software it has.",
    afterwards: "The last update was withdrawn. Your vehicle keeps the software it has.",
  },
  out_of_time: {
    tone: "warn",
    title: "Update timed out",
    text: "The update was not finished in time. Your vehicle keeps the software it has.",
    afterwards: "The last update was not finished in time. Your vehicle keeps the software it has.",
  },
};

/** What keeps the vehicle from being updated. */
const OBSTACLES = {
  cloud_refuses: "Updates are not possible at the moment. If this does not change, please contact your workshop.",
  ecu_silent: "A control unit does not answer. Updates are possible once it does.",
};

const PHASES = {
  waiting: "Waiting",
  erasing: "Preparing",
  transferring: "Installing",
  checking: "Checking",
  staged: "Ready",
  activating: "Restarting",
  trial: "Trial run",
  soaking: "Trial run",
  confirmed: "Updated",
  reverted: "Previous version",
  failed: "Failed",
};

const PHASE_TONES = { confirmed: "good", reverted: "warn", failed: "bad", waiting: "idle", "": "idle" };

/** Names that bench files commonly give their ECUs. Any other is shown as it is written there. */
const ECUS = {
  adas: "Driver assistance",
  battery: "Battery",
  bcm: "Body",
  bms: "Battery management",
  body: "Body",
  brake: "Brakes",
  brakes: "Brakes",
  cluster: "Instrument cluster",
  dashboard: "Instrument cluster",
  door: "Doors",
  ecm: "Engine",
  engine: "Engine",
  epb: "Parking brake",
  eps: "Power steering",
  esp: "Stability control",
  gearbox: "Transmission",
  gateway: "Gateway",
  hvac: "Climate control",
  inverter: "Inverter",
  radar: "Radar",
  steering: "Steering",
  tcm: "Transmission",
  transmission: "Transmission",
};

/** A job state's label is its name in lower case: "WAITING_FOR_APPROVAL" is "Waiting for approval". */
export const jobState = (state) => state && state.charAt(0) + state.slice(1).toLowerCase().replaceAll("_", " ");
/** Title and text of a job that has not ended. */
export const running = (state) => (state.is_reverting ? REVERTING : (RUNNING[state.job_state] ?? { title: jobState(state.job_state), text: "" }));
export const obstacle = (kind) => OBSTACLES[kind] ?? OBSTACLES.cloud_refuses;
export const phase = (name) => PHASES[name] ?? name;
export const phaseTone = (name) => PHASE_TONES[name] ?? "busy";
export const ecuName = (name) => (Object.hasOwn(ECUS, name) ? ECUS[name] : name);
/** Whether a job that has not ended has reached a step. */
export const hasReached = (state, step) => STEPS.indexOf(state) >= STEPS.indexOf(step);
