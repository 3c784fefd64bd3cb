// The list of jobs: those under way follow their sockets, and all of it is fetched anew now and then.

import { ask } from "./confirm.js";
import { clock, languageName, listen, notice } from "./shared.js";

const REFRESH_MS = 30_000;
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const { htmx } = window;
const byId = (id) => document.getElementById(id);
const list = () => byId("jobs-list");
const search = byId("q");
const rowOf = (id) => byId(`job-${id}`);
const followed = new Map(); // by the job's id: its latest message, and what stops listening

export function refreshJobs() {
  htmx.trigger(list(), "refresh");
}

// ---- Those under way

function follow({ dataset: { job: id, name, after } }) {
  const job = { message: "" };
  followed.set(id, job);
  job.stop = listen(id, {
    onStatus: (status) => {
      job.message = status.message;
      showStatus(id, status);
    },
    onEnd: (reason) => {
      unfollow(id);
      if (reason === "not_found") {
        notice(`${name} was deleted.`);
        return refreshJobs();
      }
      notice(`${name}: ${job.message}`);
      fetchRow(id);
    },
  }, { after: after || null });
}

function unfollow(id) {
  followed.get(id)?.stop();
  followed.delete(id);
}

function showStatus(id, { status, message, progress }) {
  const row = rowOf(id);
  if (!row || status !== "processing") return; // the whole row comes anew
  if (row.dataset.status === "queued" && message !== row.dataset.message) return fetchRow(id);
  const bar = row.querySelector("progress");
  if (bar) bar.value = progress;
  const said = row.querySelector(".job-message");
  if (said && said.textContent !== message) said.textContent = message;
}

function fetchRow(id) {
  const row = rowOf(id);
  if (row) htmx.ajax("GET", row.dataset.row, { source: row, target: row, swap: "outerHTML" });
}

const observer = new MutationObserver(arrange);

/** After any change of the list, whoever made it. */
function arrange() {
  for (const id of followed.keys()) {
    if (!rowOf(id)?.hasAttribute("data-active")) unfollow(id);
  }
  for (const row of document.querySelectorAll("[data-job][data-active]")) {
    if (!followed.has(row.dataset.job)) follow(row);
  }
  for (const element of document.querySelectorAll("#jobs [data-language]")) {
    element.textContent = languageName(element.dataset.language);
  }
  for (const element of document.querySelectorAll("#jobs [data-seconds]")) {
    element.textContent = clock(Number(element.dataset.seconds));
  }
  for (const element of document.querySelectorAll("#jobs time")) showAge(element);
  const found = byId("jobs-found");
  if (found.textContent !== list().dataset.found) found.textContent = list().dataset.found; // said only when it changes
  observer.takeRecords(); // of what was done here
}

function showAge(element) {
  const time = new Date(element.dateTime);
  const seconds = (Date.now() - time.getTime()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? [];
  element.title = time.toLocaleString("en", { dateStyle: "long", timeStyle: "short" });
  if (!unit) element.textContent = "just now";
  else if (seconds > 30 * 86_400) element.textContent = time.toLocaleDateString("en", { dateStyle: "long" });
  else element.textContent = new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(seconds / size), unit);
}

// ---- Deleting

async function remove(button) {
  const { job: id, name, active } = button.closest("[data-job]").dataset;
  const text = `${name}: its transcript, summaries and recording go for good.${active === undefined ? "" : " It is under way; that ends."}`;
  if (!(await ask({ title: "Delete this recording?", text, yes: "Delete" }))) return;
  const row = rowOf(id);
  if (!row) return;
  const next = (row.nextElementSibling ?? row.previousElementSibling)?.id;
  unfollow(id); // what happens is no news
  await htmx.ajax("POST", button.dataset.delete, { source: row, target: "#jobs-list", swap: "outerHTML" });
  if (rowOf(id)) return; // it was refused, and somebody has said why
  (byId(next)?.querySelector("h3 a") ?? byId("jobs-heading")).focus();
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-delete]");
  if (button) remove(button);
});

// ---- Requests of htmx

// Where the focus was in what is gone, it goes to what came in its place.
let focused = null;

document.addEventListener("htmx:configRequest", ({ detail: { parameters, verb } }) => {
  // A button that is disabled meanwhile has lost the focus before the next request.
  if (document.activeElement !== document.body) focused = document.activeElement.closest("[data-job], .paging");
  if (verb !== "get") return;
  for (const [name, value] of [...parameters.entries()]) {
    if (!value) parameters.delete(name); // addresses stay short
  }
});

document.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  notice(detailOf(xhr));
  if (xhr.status === 404 || xhr.status === 409) refreshJobs(); // what is shown is no longer so
});

document.addEventListener("htmx:sendError", ({ detail: { requestConfig } }) => {
  if (requestConfig.elt !== list()) notice("The service cannot be reached. Is it running, and are you online?");
});

function detailOf(xhr) {
  try {
    return JSON.parse(xhr.responseText).detail;
  } catch {
    return `The service answered ${xhr.status} ${xhr.statusText}.`;
  }
}

document.addEventListener("htmx:afterSettle", () => {
  if (focused && document.activeElement === document.body) {
    if (focused.matches(".paging")) byId("jobs-heading").focus();
    else rowOf(focused.dataset.job)?.querySelector("h3 a").focus();
  }
  focused = null;
});

document.addEventListener("htmx:historyRestore", () => {
  const asked = new URLSearchParams(location.search);
  search.value = asked.get("q") ?? "";
  byId("status").value = asked.get("status") ?? "";
});

// ---- What others began

function lookForNew() {
  const isTyping = document.activeElement === search;
  if (document.visibilityState === "visible" && !isTyping && list().dataset.page === "1") refreshJobs();
}

setInterval(lookForNew, REFRESH_MS);
window.addEventListener("focus", lookForNew);
observer.observe(byId("jobs"), { childList: true, subtree: true });
arrange();
