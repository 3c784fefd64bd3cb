// Shared by all pages: API calls, notices, and the live WebSocket of a job.

export class ApiError extends Error {
  /** @param {number} status the HTTP status code; 0 without a response */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Call the API and return the response's JSON, null if it has none. Throws ApiError with the service's error message. */
export async function api(method, path, body) {
  const options = { method, headers: { "X-CSRFToken": csrfToken() } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError(0, "The service cannot be reached. Is it running, and are you online?");
  }
  if (!response.ok) throw new ApiError(response.status, await detailOf(response));
  return response.status === 204 ? null : response.json();
}

export async function detailOf(response) {
  try {
    return (await response.json()).detail ?? response.statusText;
  } catch {
    return `The service answered ${response.status} ${response.statusText}`;
  }
}

export function csrfToken() {
  return JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
}

/** Show a notice for some seconds; screen readers announce it. `action` is {label, run}. */
export function notice(text, { action } = {}) {
  const element = document.createElement("div");
  element.className = "notice";
  element.textContent = text;
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action.label;
    button.addEventListener("click", () => {
      element.remove();
      action.run();
    });
    element.append(" ", button);
  }
  document.getElementById("notices").append(element);
  setTimeout(() => element.remove(), action ? 12000 : 8000);
}

const languages = new Intl.DisplayNames(["en"], { type: "language" });

/** A language's English name: `Czech` for `cs`. */
export function languageName(code) {
  try {
    return languages.of(code);
  } catch {
    return code;
  }
}

/** `1:02:03` or `2:03`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const pad = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

const NORMAL = 1000, NOT_FOUND = 4404, RESTARTED = 4409; // close codes
const INITIAL_BACKOFF_MS = 500, MAX_BACKOFF_MS = 10_000;

/**
 * Subscribe to a job until its final status. Reconnects with backoff, and resumes after the last segment received.
 * Handlers: onStatus(message), onSegment(segment), onSpeakers({segments, removed}), onRestarted(), onEnd(reason)
 * with the reason "final" or "not_found". Returns a function that closes the connection.
 * Segments up to the id `after` are not sent.
 */
export function listen(jobId, handlers, { after: firstAfter = null } = {}) {
  let last = firstAfter, backoff = INITIAL_BACKOFF_MS, socket = null, timer = null, stopped = false;

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const after = last === null ? "" : `?after=${last}`;
    socket = new WebSocket(`${scheme}://${location.host}/api/transcribe/live/${jobId}${after}`);
    socket.addEventListener("message", (event) => {
      backoff = INITIAL_BACKOFF_MS;
      const message = JSON.parse(event.data);
      if (message.type === "status") handlers.onStatus?.(message);
      else if (message.type === "speakers") handlers.onSpeakers?.(message);
      else if ("start" in message) {
        last = message.id;
        handlers.onSegment?.(message);
      }
    });
    socket.addEventListener("close", ({ code }) => {
      if (stopped) return;
      if (code === NORMAL) return handlers.onEnd?.("final");
      if (code === NOT_FOUND) return handlers.onEnd?.("not_found");
      if (code === RESTARTED) {
        last = null;
        handlers.onRestarted?.();
      }
      timer = setTimeout(connect, backoff);
      backoff = Math.min(2 * backoff, MAX_BACKOFF_MS);
    });
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket.close();
  };
}
