// A confirmation dialog before destructive actions.

const dialog = document.getElementById("confirm");
const part = (name) => document.getElementById(`confirm-${name}`);

/** Resolves to true if the user confirms. `yes` and `no` are the buttons' labels; `no` has the focus. */
export function confirmAction({ title, text, yes, no = "Keep it" }) {
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
