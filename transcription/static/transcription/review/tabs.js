// The tabs. On narrow pages the transcript is one of them, on wide pages it is beside the panels.

import { byId } from "./page.js";

/** Dispatches an event with the panel's name when it is shown. */
export const tabs = new EventTarget();

const wide = matchMedia("(min-width: 64rem)");
const tab = (name) => byId(`tab-${name}`);
/** Those that who looks may use. */
const NAMES = ["transcript", "summary", "chat", "history"].filter((name) => !tab(name).hidden);
const [, FIRST_PANEL] = NAMES;
let shown = "transcript";

export function showTab(name, { focus = false } = {}) {
  if (wide.matches && name === "transcript") return;
  shown = name;
  byId("review").dataset.tab = name;
  for (const other of NAMES) {
    tab(other).setAttribute("aria-selected", String(other === name));
    tab(other).tabIndex = other === name ? 0 : -1;
    if (other !== "transcript") byId(`panel-${other}`).hidden = other !== name;
  }
  if (focus) tab(name).focus();
  tabs.dispatchEvent(new Event(name));
}

const visibleTabs = () => NAMES.filter((name) => !(wide.matches && name === "transcript"));

for (const name of NAMES) tab(name).addEventListener("click", () => showTab(name));

document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const names = visibleTabs();
  showTab(names[(names.indexOf(shown) + by + names.length) % names.length], { focus: true });
});

function adaptToWidth() {
  if (!FIRST_PANEL) return;
  if (wide.matches && shown === "transcript") showTab(FIRST_PANEL);
  if (!wide.matches && shown === FIRST_PANEL) showTab("transcript");
}
wide.addEventListener("change", adaptToWidth);
adaptToWidth();
