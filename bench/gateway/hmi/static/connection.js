// The stream of states: keeps one EventSource open, and reports when it is lost and when it is back.
// EventSource comes back by itself after a network error, but gives up after an HTTP error, and never notices a gateway that hangs:
// a closed one is opened anew, and a silent one is asked for its health. A gateway that no longer accepts this display's session closes it
// too; the page is then loaded anew, and becomes the pairing form.

const UNAUTHORIZED = 401;
const REOPEN_MS = 2000;
const SILENCE_MS = 20000;
const HEALTH_TIMEOUT_MS = 5000;

/**
 * Opens the stream and keeps it open.
 * @param {string} run the gateway's run this page was made by; ids of states mean nothing to another run.
 * @param {{onState: (state: object) => void, onLink: (up: boolean) => void}} listener
 */
export function connect(run, { onState, onLink }) {
  let source;
  let lastSign = Date.now();
  let reopening;

  const sign = () => {
    lastSign = Date.now();
    onLink(true);
  };

  const open = () => {
    clearTimeout(reopening);
    reopening = undefined;
    source?.close();
    source = new EventSource(`/api/events?of_run=${encodeURIComponent(run)}`);
    source.addEventListener("open", sign);
    source.addEventListener("state", (event) => {
      sign();
      onState(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      onLink(false);
      if (source.readyState === EventSource.CLOSED) reopening ??= setTimeout(reopen, REOPEN_MS);
    });
  };

  const reopen = async () => {
    const answer = await fetch("/api/state", { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS), cache: "no-store" }).catch(() => null);
    if (answer?.status === UNAUTHORIZED) location.reload();
    else open();
  };

  setInterval(async () => {
    if (source.readyState !== EventSource.OPEN || Date.now() - lastSign < SILENCE_MS) return;
    lastSign = Date.now();
    try {
      const answer = await fetch("/healthz", { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS), cache: "no-store" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
    } catch {
      onLink(false);
      open();
    }
  }, HEALTH_TIMEOUT_MS);

  open();
}
