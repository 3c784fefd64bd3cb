// The share dialog of the recording's owner: people and groups with their roles, and links.

import { api, notice } from "../shared.js";
import { byId, clone, element, facts, showProblem } from "./page.js";

const SHARES = `/api/transcribe/shares/${facts.id}`;
const LINKS = `/api/transcribe/links/${facts.id}`;

const say = (text) => (byId("share-said").textContent = text);
const day = (seconds) => new Date(1000 * seconds).toLocaleDateString([], { dateStyle: "medium" });

/** Send a request of the dialog, then show both lists as they are. Returns its answer; undefined if it failed. */
async function change(problemId, request, done) {
  let answer;
  try {
    answer = await request();
    showProblem(byId(problemId));
  } catch (error) {
    showProblem(byId(problemId), error.message);
  }
  await load();
  if (answer !== undefined) say(done);
  return answer;
}

async function load() {
  try {
    const [{ shares }, { links }] = await Promise.all([api("GET", SHARES), api("GET", LINKS)]);
    byId("share-list").replaceChildren(...shares.map(shareElement));
    byId("share-none").hidden = shares.length > 0;
    byId("link-list").replaceChildren(...links.map(linkElement));
  } catch (error) {
    showProblem(byId("share-problem"), error.message);
  }
}

function shareElement({ id, user, group, role }) {
  const name = user ?? group;
  const item = clone("share-template");
  const [select, end] = [item.querySelector("select"), item.querySelector("button")];
  item.querySelector(".what").textContent = user ? name : `Group ${name}`;
  select.value = role;
  select.setAttribute("aria-label", `What ${name} may do`);
  select.addEventListener("change", async () => {
    const body = { role: select.value };
    await change("share-problem", () => api("PATCH", `${SHARES}/${id}`, body), `The role of ${name} has changed.`);
    focusOn(`What ${name} may do`, byId("share-form").elements.name);
  });
  end.setAttribute("aria-label", `End sharing with ${name}`);
  end.addEventListener("click", async () => {
    const done = `It is no longer shared with ${name}.`;
    await change("share-problem", () => api("DELETE", `${SHARES}/${id}`), done);
    byId("share-form").elements.name.focus();
  });
  return item;
}

/** The lists are made anew: put the focus back on the element with this label, or else on another. */
function focusOn(label, other) {
  const labelled = [...byId("share-list").querySelectorAll("[aria-label]")];
  (labelled.find((each) => each.getAttribute("aria-label") === label) ?? other).focus();
}

function linkElement({ id, note, allows_chat, created_at, expires_at }) {
  const name = note || `Link of ${day(created_at)}`;
  const details = `until ${day(expires_at)}${allows_chat ? ", with questions" : ""}`;
  const revoke = element("button", { type: "button", text: "Revoke", "aria-label": `Revoke: ${name}, ${details}` });
  revoke.addEventListener("click", async () => {
    const isRevoked = await change("link-problem", () => api("DELETE", `${LINKS}/${id}`), `${name} was revoked.`);
    if (isRevoked !== undefined && byId("share-new-link").dataset.link === id) showNewLink(null);
    byId("link-form").elements.note.focus();
  });
  const what = element("span", { class: "what" }, name, " ", element("span", { class: "muted", text: details }));
  return element("li", {}, what, revoke);
}

async function share(event) {
  event.preventDefault();
  const { kind, name, role } = event.target.elements;
  const body = { [kind.value]: name.value.trim(), role: role.value };
  const shared = await change("share-problem", () => api("POST", SHARES, body), `Shared with ${name.value.trim()}.`);
  if (shared) name.value = "";
  name.focus();
}

async function makeLink(event) {
  event.preventDefault();
  const { note, days, allows_chat } = event.target.elements;
  const body = { note: note.value.trim(), days: Number(days.value), allows_chat: allows_chat.checked };
  const link = await change("link-problem", () => api("POST", LINKS, body), "The link was made.");
  if (!link) return;
  event.target.reset();
  showNewLink(link);
}

/** Show the address of a link that was just made; without one, none. */
function showNewLink(link) {
  const shown = byId("share-new-link");
  shown.hidden = !link;
  shown.dataset.link = link?.id ?? "";
  byId("share-address").value = link?.url ?? "";
  if (link) byId("copy-link").focus();
}

async function copy() {
  const field = byId("share-address");
  try {
    await navigator.clipboard.writeText(field.value);
    say("Link copied.");
    byId("copy-link").textContent = "Copied";
  } catch {
    field.select();
    notice("The browser does not allow copying: the link is selected, copy it with Ctrl+C.");
  }
}

function open() {
  showNewLink(null);
  for (const id of ["share-problem", "link-problem"]) showProblem(byId(id));
  byId("copy-link").textContent = "Copy";
  byId("share-dialog").showModal();
  byId("share-form").elements.name.focus();
  load();
}

function suggestGroups({ target }) {
  const { name } = byId("share-form").elements;
  if (target.value === "group") name.setAttribute("list", "share-groups");
  else name.removeAttribute("list");
}

if (facts.can_share) {
  byId("share").addEventListener("click", open);
  byId("share-form").addEventListener("submit", share);
  byId("share-form").elements.kind.addEventListener("change", suggestGroups);
  byId("link-form").addEventListener("submit", makeLink);
  byId("copy-link").addEventListener("click", copy);
}
