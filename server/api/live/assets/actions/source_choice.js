// Where an example is recorded from: the camera of this device, or what the camera of an open stream has just shown.
import { element } from "../parts/dom.js";

const DEVICE = "";

export class SourceChoice {
  constructor() {
    this.select = element("select", { id: "example-source" });
    this.root = element("div", { class: "row" },
      element("label", { for: "example-source", text: "Record from" }), this.select);
    this.show([]);
  }

  // The session of the stream; "" for the camera of this device.
  get session() {
    return this.select.value;
  }

  // What was chosen stays, unless its stream has ended.
  show(streams) {
    const options = [[DEVICE, "the camera of this device"],
      ...streams.map(({ session, name }) => [session, `the last seconds of ${name}`])];
    const known = [...this.select.options].map(({ value }) => value);
    if (known.length === options.length && options.every(([value]) => known.includes(value))) return;
    const chosen = this.session;
    this.select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
    this.select.value = options.some(([value]) => value === chosen) ? chosen : DEVICE;
  }
}
