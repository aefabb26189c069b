// What heads are taught from, and what came of it: /api/v1/teaching.
import { getJson, send } from "./service.js";

const ROOT = "api/v1/teaching";
const place = (...names) => [ROOT, ...names.map(encodeURIComponent)].join("/");
const examples = (head, action) => `${place(head)}/actions/${encodeURIComponent(action)}/examples`;

export const overview = () => getJson(ROOT);
export const addVideo = (head, action, blob) => send("POST", examples(head, action), blob);
export const addFromStream = (head, action, session) => (
  send("POST", `${examples(head, action)}?session=${encodeURIComponent(session)}`));
export const removeExample = (head, action, name) => send("DELETE", `${examples(head, action)}/${encodeURIComponent(name)}`);
export const teach = (head) => send("POST", place(head, "teach"));
export const keep = (head) => send("POST", place(head, "keep"));
export const discard = (head) => send("POST", place(head, "discard"));
