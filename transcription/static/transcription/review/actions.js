// Actions on the whole transcript: download, diarize again.

import { api } from "../shared.js";
import { subscribe } from "./live.js";
import { byId, facts, showProblem } from "./page.js";

const download = byId("download");

function updateLinks() {
  const checked = (name) => download.querySelector(`[name=${name}]`).checked;
  for (const link of download.querySelectorAll("[data-format]")) {
    const parameters = { format: link.dataset.format, speakers: checked("speakers"), times: checked("times") };
    link.href = `/api/transcribe/export/${facts.id}?${new URLSearchParams(parameters)}`;
  }
}

const dialog = byId("diarize-dialog");

async function requestDiarization(event) {
  event.preventDefault();
  const number = byId("diarize-number").value;
  const body = facts.takes_count ? { num_speakers: number ? Number(number) : null } : {};
  try {
    await api("POST", `/api/transcribe/diarize/${facts.id}`, body);
  } catch (error) {
    return showProblem(byId("diarize-problem"), error.message);
  }
  dialog.close();
  subscribe();
}

download.addEventListener("change", updateLinks);
download.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  download.open = false;
  download.querySelector("summary").focus();
});
document.addEventListener("click", ({ target }) => {
  if (!download.contains(target)) download.open = false;
});
byId("diarize")?.addEventListener("click", () => {
  showProblem(byId("diarize-problem"));
  dialog.showModal();
});
dialog.querySelector("form").addEventListener("submit", requestDiarization);
for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
updateLinks();
