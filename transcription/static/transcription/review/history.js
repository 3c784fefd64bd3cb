// What was done to the transcript, by whom and when: edits and accepted retranslations, each of which can be undone.

import { api, clock, notice } from "../shared.js";
import { undoAccepted } from "./retranslate.js";
import { diffElements } from "./diff.js";
import { catchUp, edits, undo } from "./edits.js";
import { goTo } from "./follow.js";
import { byId, element, facts, tell } from "./page.js";
import { showTab, tabs } from "./tabs.js";
import { transcript } from "./transcript.js";

const KINDS = {
  text: "Text",
  speaker: "Speaker",
  split: "Split",
  merge: "Joined",
  remove: "Removed",
  rename: "Renamed everywhere",
  again: "Heard again",
};
let only = null;

export function showHistoryOf(segment) {
  only = segment;
  showTab("history");
}

async function load() {
  const filter = byId("history-filter");
  filter.hidden = only === null;
  if (only) filter.firstElementChild.textContent = `Of the segment at ${clock(only.start)}.`;
  const of = only ? `segment_id=${only.id}` : "";
  try {
    const [made, heard] = await Promise.all([
      api("GET", `/api/transcribe/edits/${facts.id}?${of}`),
      api("GET", `/api/retranslate/?job_id=${facts.id}&${of}`),
    ]);
    const accepted = heard.retranslations.filter(({ decision }) => decision === "accepted").map(asEntry);
    const all = [...made.edits, ...accepted].sort((a, b) => b.created_at - a.created_at);
    byId("history-list").replaceChildren(...all.map(entry));
    tell(byId("history-problem"));
    byId("history-none").hidden = all.length > 0;
  } catch (error) {
    tell(byId("history-problem"), error.message);
  }
}

const asEntry = ({ id, decided_at, decided_by, text, model_used, changes }) => ({
  id,
  kind: "again",
  summary: `${model_used}: “${text}”`,
  done_by: decided_by,
  created_at: decided_at,
  undone_at: null,
  changes: changes.map(({ segment_id, old_text, new_text }) => ({
    segment_id,
    before: { text: old_text ?? "" },
    after: { text: new_text ?? "" },
  })),
});

function entry(edit) {
  const when = new Date(1000 * edit.created_at);
  const shown = when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const item = element(
    "li",
    { class: edit.undone_at ? "undone" : undefined },
    element(
      "p",
      { class: "history-what" },
      element("strong", { text: KINDS[edit.kind] ?? edit.kind }),
      ...(edit.undone_at ? [" ", element("span", { class: "tag", text: "undone" })] : []),
    ),
    what(edit),
    element(
      "p",
      { class: "muted" },
      element("time", { datetime: when.toISOString(), text: shown }),
      edit.done_by ? ` by ${edit.done_by}` : "",
    ),
  );
  const place = edit.changes.map(({ segment_id }) => transcript.get(segment_id)).find(Boolean);
  const buttons = element("div", { class: "fields" });
  if (place) buttons.append(button(`Go to ${clock(place.start)}`, () => goToPlace(place)));
  if (!edit.undone_at) buttons.append(button("Undo", () => undoEntry(edit)));
  item.append(buttons);
  return item;
}

function what(edit) {
  const [first] = edit.changes;
  const isText = (edit.kind === "text" || edit.kind === "again") && edit.changes.length === 1;
  if (!isText) return element("p", { text: edit.summary });
  return element("p", { class: "diff" }, ...diffElements(first.before.text, first.after.text));
}

function button(text, run) {
  const made = element("button", { type: "button", text });
  made.addEventListener("click", run);
  return made;
}

function goToPlace(segment) {
  showTab("transcript");
  goTo(segment.start);
}

async function undoEntry({ id, kind }) {
  if (kind === "again") return undoAccepted(id);
  try {
    await undo(id);
  } catch (error) {
    notice(error.message);
    load();
  }
}

const isShown = () => !byId("panel-history").hidden;

/** Another tab, or somebody else, may have edited while nobody looked here. */
export async function lookForOthers() {
  const { revision } = await api("GET", `/api/transcribe/edits/${facts.id}?limit=0`);
  if (revision === transcript.revision) return;
  await catchUp();
  edits.dispatchEvent(new Event("done"));
}

byId("history-filter").querySelector("button").addEventListener("click", () => {
  only = null;
  load();
});
edits.addEventListener("done", () => isShown() && load());
tabs.addEventListener("history", load);
