// What is done with the transcript as a whole: download it, find its speakers again.

import { api } from "../shared.js";
import { follow } from "./live.js";
import { byId, facts, tell } from "./page.js";

const download = byId("download");

function showLinks() {
  const checked = (name) => download.querySelector(`[name=${name}]`).checked;
  for (const link of download.querySelectorAll("[data-format]")) {
    const wish = { format: link.dataset.format, speakers: checked("speakers"), times: checked("times") };
    link.href = `/api/transcribe/export/${facts.id}?${new URLSearchParams(wish)}`;
  }
}

const dialog = byId("diarize-dialog");

async function findSpeakers(event) {
  event.preventDefault();
  const number = byId("diarize-number").value;
  const wish = facts.takes_count ? { num_speakers: number ? Number(number) : null } : {};
  try {
    await api("POST", `/api/transcribe/diarize/${facts.id}`, wish);
  } catch (error) {
    return tell(byId("diarize-problem"), error.message);
  }
  dialog.close();
  follow();
}

download.addEventListener("change", showLinks);
download.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  download.open = false;
  download.querySelector("summary").focus();
});
document.addEventListener("click", ({ target }) => {
  if (!download.contains(target)) download.open = false;
});
byId("diarize").addEventListener("click", () => {
  tell(byId("diarize-problem"));
  dialog.showModal();
});
dialog.querySelector("form").addEventListener("submit", findSpeakers);
for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
showLinks();
