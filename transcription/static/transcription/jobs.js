// The list of jobs: active jobs are updated through their WebSockets, and the whole list is polled.

import { confirmAction } from "./confirm.js";
import { clock, languageName, listen, notice } from "./shared.js";

const POLL_MS = 30_000;
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const { htmx } = window;
const byId = (id) => document.getElementById(id);
const list = () => byId("jobs-list");
const search = byId("q");
const rowOf = (id) => byId(`job-${id}`);
const subscriptions = new Map(); // by job id: the latest message, and a function that closes the socket

export function refreshJobs() {
  htmx.trigger(list(), "refresh");
}

// ---- Active jobs

function subscribe({ dataset: { job: id, name, after } }) {
  const job = { message: "" };
  subscriptions.set(id, job);
  job.stop = listen(id, {
    onStatus: (status) => {
      job.message = status.message;
      showStatus(id, status);
    },
    onEnd: (reason) => {
      unsubscribe(id);
      if (reason === "not_found") {
        notice(`${name} was deleted.`);
        return refreshJobs();
      }
      notice(`${name}: ${job.message}`);
      fetchRow(id);
    },
  }, { after: after || null });
}

function unsubscribe(id) {
  subscriptions.get(id)?.stop();
  subscriptions.delete(id);
}

function showStatus(id, { status, message, progress }) {
  const row = rowOf(id);
  if (!row || status !== "processing") return; // onEnd fetches the whole row
  if (row.dataset.status === "queued" && message !== row.dataset.message) return fetchRow(id);
  const bar = row.querySelector("progress");
  if (bar) bar.value = progress;
  const text = row.querySelector(".job-message");
  if (text && text.textContent !== message) text.textContent = message;
}

function fetchRow(id) {
  const row = rowOf(id);
  if (row) htmx.ajax("GET", row.dataset.row, { source: row, target: row, swap: "outerHTML" });
}

const observer = new MutationObserver(updateList);

/** Update subscriptions and displayed values after any change of the list. */
function updateList() {
  for (const id of subscriptions.keys()) {
    if (!rowOf(id)?.hasAttribute("data-active")) unsubscribe(id);
  }
  for (const row of document.querySelectorAll("[data-job][data-active]")) {
    if (!subscriptions.has(row.dataset.job)) subscribe(row);
  }
  for (const element of document.querySelectorAll("#jobs [data-language]")) {
    element.textContent = languageName(element.dataset.language);
  }
  for (const element of document.querySelectorAll("#jobs [data-seconds]")) {
    element.textContent = clock(Number(element.dataset.seconds));
  }
  for (const element of document.querySelectorAll("#jobs time")) showAge(element);
  const count = byId("jobs-found");
  if (count.textContent !== list().dataset.found) count.textContent = list().dataset.found; // announced only if it changes
  observer.takeRecords(); // ignore the changes made here
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

async function deleteJob(button) {
  const { job: id, name, active } = button.closest("[data-job]").dataset;
  const text = `${name}: its transcript, summaries and recording are deleted permanently.${active === undefined ? "" : " The job is in progress and is cancelled."}`;
  if (!(await confirmAction({ title: "Delete this recording?", text, yes: "Delete" }))) return;
  const row = rowOf(id);
  if (!row) return;
  const next = (row.nextElementSibling ?? row.previousElementSibling)?.id;
  unsubscribe(id); // no notice of the user's own deletion
  await htmx.ajax("POST", button.dataset.delete, { source: row, target: "#jobs-list", swap: "outerHTML" });
  if (rowOf(id)) return; // it failed, and a notice says why
  (byId(next)?.querySelector("h3 a") ?? byId("jobs-heading")).focus();
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-delete]");
  if (button) deleteJob(button);
});

// ---- htmx requests

let focused = null; // the replaced element that had the focus: its replacement gets it

document.addEventListener("htmx:configRequest", ({ detail: { parameters, verb } }) => {
  // A button that htmx has disabled has already lost the focus.
  if (document.activeElement !== document.body) focused = document.activeElement.closest("[data-job], .paging");
  if (verb !== "get") return;
  for (const [name, value] of [...parameters.entries()]) {
    if (!value) parameters.delete(name); // keep URLs short
  }
});

document.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  notice(detailOf(xhr));
  if (xhr.status === 404 || xhr.status === 409) refreshJobs(); // the list is outdated
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
  const parameters = new URLSearchParams(location.search);
  search.value = parameters.get("q") ?? "";
  byId("status").value = parameters.get("status") ?? "";
});

// ---- Polling for other users' jobs

function poll() {
  const isTyping = document.activeElement === search;
  if (document.visibilityState === "visible" && !isTyping && list().dataset.page === "1") refreshJobs();
}

setInterval(poll, POLL_MS);
window.addEventListener("focus", poll);
observer.observe(byId("jobs"), { childList: true, subtree: true });
updateList();
