// Reads GET /api/v1/events. The browser's own EventSource can send no key.
import { ask } from "./service.js";

const AGAIN_MS = [500, 1000, 2000, 5000];

// Calls `happened(name, data)` for each event and `connected(isConnected, why)`; returns a function that stops it. With
// `head`, the events also have what that head says.
export function watchEvents(head, happened, connected) {
  const stop = new AbortController();
  run(`api/v1/events${head && `?head=${encodeURIComponent(head)}`}`, happened, connected, stop.signal);
  return () => stop.abort();
}

async function run(path, happened, connected, signal) {
  let lastId = "";
  for (let failures = 0; !signal.aborted; failures += 1) {
    let why = "";
    try {
      const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
      const answer = await ask(path, headers, signal);
      connected(true);
      failures = 0;
      await read(answer.body, (name, data, id) => {
        lastId = id ?? lastId;
        happened(name, data);
      });
    } catch (error) {
      if (signal.aborted) return;
      why = error.message;
    }
    connected(false, why);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)]));
  }
}

async function read(body, event) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const { name, data, id } = parse(block);
      if (data) event(name, JSON.parse(data), id);
    }
  }
}

function parse(block) {
  const found = { name: "message", data: "", id: undefined };
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) found.name = line.slice(7);
    else if (line.startsWith("data: ")) found.data += line.slice(6);
    else if (line.startsWith("id: ")) found.id = line.slice(4);
  }
  return found;
}
