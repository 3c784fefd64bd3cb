// A question before what cannot be taken back.

const dialog = document.getElementById("ask");
const part = (name) => document.getElementById(`ask-${name}`);

/** Whether the person said `yes`, the label of the one button; the other has the focus. */
export function ask({ title, text, yes, no = "Keep it" }) {
  part("title").textContent = title;
  part("text").textContent = text;
  part("yes").textContent = yes;
  part("no").textContent = no;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
