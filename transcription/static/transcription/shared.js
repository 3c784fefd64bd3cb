// What all pages share: calls of the API, notices, the live socket.

export class ApiError extends Error {
  /** @param {number} status 0 where no answer came */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The answer's JSON. Throws ApiError with what the service says was wrong. */
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
  return response.json();
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

/** Say something for some seconds, to screen readers too. `action` is {label, run}. */
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
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const NORMAL = 1000, NOT_FOUND = 4404, BEGUN_AGAIN = 4409;
const FIRST_WAIT = 500, LONGEST_WAIT = 10000;

/**
 * Follow a job until its final status. Connects again whenever the connection breaks, and says what it has.
 * Handlers: onStatus(message), onSegment(segment), onSpeakers({segments, removed}), onBegunAgain(), onEnd(reason)
 * where the reason is "final", "not_found" or "failed". Returns a function that stops listening.
 * `after` is the id of a segment up to which nothing need be sent.
 */
export function listen(jobId, handlers, { after: known = null } = {}) {
  let last = known, wait = FIRST_WAIT, socket = null, timer = null, stopped = false;

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const after = last === null ? "" : `?after=${last}`;
    socket = new WebSocket(`${scheme}://${location.host}/api/transcribe/live/${jobId}${after}`);
    socket.addEventListener("message", (event) => {
      wait = FIRST_WAIT;
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
      if (code === BEGUN_AGAIN) {
        last = null;
        handlers.onBegunAgain?.();
      }
      timer = setTimeout(connect, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    });
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket.close();
  };
}
