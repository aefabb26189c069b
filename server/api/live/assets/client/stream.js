// A stream to the service: frames go out, answers come in. docs/streams.md describes the messages.
import { askForKey, key } from "./key.js";
import { address } from "./service.js";

const HEADER_BYTES = 20;
const VERSION = 1;
// With more than this still to be sent, the connection is slower than the frames.
const MOST_WAITING_BYTES = 2 * 2 ** 20;

// `hello`: the first message. `handlers`: a function for each type of answer, and `lost(text)`.
export class Stream {
  constructor(hello, handlers) {
    this.hello = hello;
    this.handlers = handlers;
    this.ready = null;
    this.dropped = 0;
    this.isClosed = false;
    this.connect();
  }

  connect() {
    const used = key();
    const url = address("api/v1/stream");
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.refusal = null;
    this.socket.onopen = () => this.socket.send(JSON.stringify({ ...this.hello, ...(used && { key: used }) }));
    this.socket.onmessage = (message) => this.answered(JSON.parse(message.data));
    this.socket.onclose = (closed) => this.lost(closed, used);
  }

  answered(answer) {
    if (answer.type === "error" && answer.status === 401) {
      this.refusal = answer;
      return;
    }
    if (answer.type === "ready") this.ready = answer;
    if (answer.type === "ended") this.isClosed = true;
    this.handlers[answer.type]?.(answer);
  }

  async lost(closed, used) {
    if (this.isClosed) return;
    if (this.refusal) {
      await askForKey(used);
      if (!this.isClosed) this.connect();
      return;
    }
    this.isClosed = true;
    this.handlers.lost(closed.reason || "The service did not take the stream, or the connection was lost.");
  }

  // Whether there is room for another frame; without it a live frame is left out.
  get hasRoom() {
    return this.socket.bufferedAmount < MOST_WAITING_BYTES;
  }

  send(timeS, jpeg) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(HEADER_BYTES + jpeg.byteLength);
    const header = new DataView(message.buffer);
    header.setUint32(0, VERSION, true);
    header.setFloat64(4, timeS, true); // 0 x 0 pixels after it: an image follows
    message.set(new Uint8Array(jpeg), HEADER_BYTES);
    this.socket.send(message);
  }

  end() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send('{"type": "end"}');
  }

  close() {
    this.isClosed = true;
    this.socket.close();
  }
}
