// The API key: asked for where the service has keys, kept until this tab is closed.
import { element } from "../parts/dom.js";

const STORED = "vjepa2-key";
let asking = null;

export function key() {
  return sessionStorage.getItem(STORED) ?? "";
}

export function keyHeaders() {
  return key() ? { Authorization: `Bearer ${key()}` } : {};
}

// Resolves when a key was entered. `refused` is the key that the service has just refused.
export function askForKey(refused) {
  if (key() !== refused) return Promise.resolve(); // another part of the page has asked meanwhile
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(refused) {
  return new Promise((resolve) => {
    const input = element("input", {
      id: "key", type: "password", autocomplete: "off", required: true,
      pattern: "\\s*[!-~]+\\s*", title: "letters, digits and signs, without spaces", "aria-describedby": "key-about",
    });
    const told = refused ? "The service does not know this key. Enter another one." : "";
    const form = element("form", { method: "dialog" },
      element("h2", { id: "key-title", text: "This service needs an API key" }),
      element("p", { id: "key-about", text: "Who runs the service has given you one. It is kept until this tab is closed." }),
      element("p", { class: "notice error", role: "alert", text: told, hidden: !refused }),
      element("label", { for: "key", text: "API key" }), input,
      element("button", { type: "submit", class: "main", text: "Use this key" }));
    const dialog = element("dialog", { class: "key", "aria-labelledby": "key-title" }, form);
    let isEntered = false;
    form.addEventListener("submit", () => {
      isEntered = true;
      sessionStorage.setItem(STORED, input.value.trim());
      dialog.remove();
      resolve();
    });
    dialog.addEventListener("close", () => isEntered || dialog.showModal()); // nothing works without a key
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
