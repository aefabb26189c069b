// The addresses of the service, and its answers. They are relative, so that the page also works behind a prefix.
import { askForKey, key, keyHeaders } from "./key.js";

const ROOT = new URL("../../../", import.meta.url);

export function address(path) {
  return new URL(path, ROOT);
}

// Asks, with the key; asks the user for a key where one is needed. Other errors become exceptions with the detail.
export async function ask(path, headers = {}, signal = undefined, sent = {}) {
  for (;;) {
    const used = key();
    const answer = await fetch(address(path), { ...sent, headers: { ...headers, ...keyHeaders() }, signal });
    if (answer.status === 401) {
      await askForKey(used);
      continue;
    }
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `HTTP ${answer.status}`);
    return answer;
  }
}

// Sends `body`, a Blob, with another method than GET; returns the JSON of the answer.
export async function send(method, path, body = undefined) {
  const headers = { Accept: "application/json", ...(body && { "Content-Type": body.type }) };
  return (await ask(path, headers, undefined, { method, body })).json();
}

export async function getJson(path) {
  return (await ask(path, { Accept: "application/json" })).json();
}
