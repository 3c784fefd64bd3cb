// The summary panel: request a summary, poll its status, show it.

import { api, notice } from "../shared.js";
import { byId, element, facts, sleep, showProblem } from "./page.js";

const POLL_MS = 700;
const form = byId("summary-form");

async function summarize(event) {
  event.preventDefault();
  const { format, max_length, model_name } = form.elements;
  showProblem(byId("summary-problem"));
  byId("summary-result").hidden = true;
  setBusy(true);
  const body = {
    job_id: facts.id,
    format: format.value,
    max_length: Number(max_length.value),
    model_name: model_name.value,
  };
  try {
    show(await waitForSummary(await api("POST", "/api/summary/", body)));
  } catch (error) {
    showProblem(byId("summary-problem"), error.message);
  }
  setBusy(false);
}

/** Poll until the summary is completed, and return it. Throws an Error if it failed. */
async function waitForSummary(status) {
  while (status.status === "processing") {
    byId("summary-message").textContent = status.message;
    if (status.progress) byId("summary-progress").value = status.progress;
    await sleep(POLL_MS);
    status = await api("GET", `/api/summary/status/${status.job_id}`);
  }
  if (status.status === "failed") throw new Error(`The summary failed: ${status.message}`);
  return api("GET", `/api/summary/${status.job_id}`);
}

function setBusy(isBusy) {
  byId("summary-work").hidden = !isBusy;
  byId("summary-progress").removeAttribute("value");
  form.querySelector("[type=submit]").disabled = isBusy;
}

function show({ summary, topics, length, model_used }) {
  byId("summary-text").textContent = summary;
  byId("summary-topics").replaceChildren(...topics.map((text) => element("li", { class: "tag", text })));
  byId("summary-facts").textContent = `${length} words, by ${model_used}`;
  byId("summary-result").hidden = false;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("summary-text").textContent);
    notice("Summary copied.");
  } catch {
    notice("The browser does not allow copying. Select the text instead.");
  }
}

form.addEventListener("submit", summarize);
byId("summary-copy").addEventListener("click", copy);
