// The summary panel: ask for one, wait, show it.

import { api, notice } from "../shared.js";
import { byId, element, facts, pause, tell } from "./page.js";

const LOOK_MS = 700;
const form = byId("summary-form");

async function summarize(event) {
  event.preventDefault();
  const { format, max_length, model_name } = form.elements;
  tell(byId("summary-problem"));
  byId("summary-result").hidden = true;
  working(true);
  const wish = {
    job_id: facts.id,
    format: format.value,
    max_length: Number(max_length.value),
    model_name: model_name.value,
  };
  try {
    show(await made(await api("POST", "/api/summary/", wish)));
  } catch (error) {
    tell(byId("summary-problem"), error.message);
  }
  working(false);
}

/** The summary, once it is there. */
async function made(status) {
  while (status.status === "processing") {
    byId("summary-message").textContent = status.message;
    if (status.progress) byId("summary-progress").value = status.progress;
    await pause(LOOK_MS);
    status = await api("GET", `/api/summary/status/${status.job_id}`);
  }
  if (status.status === "failed") throw new Error(`The summary failed: ${status.message}`);
  return api("GET", `/api/summary/${status.job_id}`);
}

function working(is) {
  byId("summary-work").hidden = !is;
  byId("summary-progress").removeAttribute("value");
  form.querySelector("[type=submit]").disabled = is;
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
    notice("The summary was copied.");
  } catch {
    notice("The browser does not let it be copied: select the text instead.");
  }
}

form.addEventListener("submit", summarize);
byId("summary-copy").addEventListener("click", copy);
