// The review page: fetch the transcript, then let every part do its work.

import { notice } from "../shared.js";
import "./actions.js";
import "./chat.js";
import "./keys.js";
import "./summary.js";
import { goTo } from "./follow.js";
import { lookForOthers } from "./history.js";
import { follow, letHear, showState } from "./live.js";
import { tellNothing } from "./list.js";
import { offerLanguageModels } from "./models.js";
import { byId, facts } from "./page.js";
import { showLegend } from "./palette.js";
import { loadSuspects } from "./suspects.js";
import { transcript } from "./transcript.js";

transcript.addEventListener("change", () => showLegend(byId("legend")));

async function begin() {
  showState();
  if (facts.is_read) letHear();
  try {
    await transcript.loadTexts();
    goToAsked();
    offerModels();
    await transcript.load();
  } catch (error) {
    byId("nothing").hidden = false;
    byId("nothing").textContent = `The transcript could not be fetched: ${error.message} Load the page again.`;
    return;
  }
  tellNothing();
  if (facts.is_active) follow();
  await loadSuspects();
}

function goToAsked() {
  const asked = Number.parseFloat(new URLSearchParams(location.search).get("t"));
  if (Number.isFinite(asked) && asked >= 0) goTo(asked);
}

async function offerModels() {
  try {
    await offerLanguageModels(document.querySelectorAll(".language-models"));
  } catch (error) {
    notice(`There is no language model: ${error.message}`);
  }
}

async function lookAgain() {
  if (document.visibilityState !== "visible" || facts.is_active || transcript.revision === null) return;
  try {
    await lookForOthers();
  } catch {
    // Whoever edits next is told that the service cannot be reached.
  }
}

window.addEventListener("focus", lookAgain);
document.addEventListener("visibilitychange", lookAgain);
begin();
