// The review page: loads the transcript and starts the other modules.

import { notice } from "../shared.js";
import "./actions.js";
import "./chat.js";
import "./keys.js";
import "./sharing.js";
import "./summary.js";
import { goTo } from "./follow.js";
import { reloadIfChanged } from "./history.js";
import { enablePlayback, showState, subscribe } from "./live.js";
import { showEmptyMessage } from "./list.js";
import { fillLanguageModels } from "./models.js";
import { byId, facts } from "./page.js";
import { showLegend } from "./palette.js";
import { loadSuspects } from "./suspects.js";
import { transcript } from "./transcript.js";

transcript.addEventListener("change", () => showLegend(byId("legend")));

async function init() {
  showState();
  if (facts.is_decoded) enablePlayback();
  try {
    await transcript.loadTexts();
    goToLinkedTime();
    fillModels();
    await transcript.load();
  } catch (error) {
    byId("nothing").hidden = false;
    byId("nothing").textContent = `The transcript could not be loaded: ${error.message} Reload the page.`;
    return;
  }
  showEmptyMessage();
  if (facts.is_active) subscribe();
  if (!facts.is_link) await loadSuspects();
}

function goToLinkedTime() {
  const time = Number.parseFloat(new URLSearchParams(location.search).get("t"));
  if (Number.isFinite(time) && time >= 0) goTo(time);
}

async function fillModels() {
  if (!facts.can_chat) return;
  try {
    await fillLanguageModels(document.querySelectorAll(".language-models"));
  } catch (error) {
    notice(`The language models could not be loaded: ${error.message}`);
  }
}

async function checkForChanges() {
  if (document.visibilityState !== "visible" || facts.is_active || transcript.revision === null) return;
  if (facts.is_link) return; // the history, which tells, is not for links
  try {
    await reloadIfChanged();
  } catch {
    // The next edit shows the error.
  }
}

window.addEventListener("focus", checkForChanges);
document.addEventListener("visibilitychange", checkForChanges);
init();
