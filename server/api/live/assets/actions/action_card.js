// One action that is taught: its examples, and how to add and remove them.
import { element, setText } from "../parts/dom.js";
import { bytes } from "../parts/words.js";

const GOOD = 8;

export class ActionCard {
  // `calls`: record(), add(files) and remove(example).
  constructor(name, calls) {
    this.calls = calls;
    this.input = element("input", {
      type: "file", accept: "video/*", multiple: true, hidden: true, "aria-label": `Videos of ${name}`,
      onchange: () => this.give(this.input.files),
    });
    this.count = element("p", { class: "small", role: "status" });
    this.list = element("ul", {});
    this.recordButton = element("button", { type: "button", class: "main", text: "Record", onclick: () => this.record() });
    this.root = element("article", { class: "card action", "aria-label": name },
      element("h3", { text: name }), this.count,
      element("div", { class: "row" }, this.recordButton,
        element("button", { type: "button", text: "Add videos", onclick: () => this.input.click() }), this.input),
      element("details", {}, element("summary", { text: "Examples" }), this.list));
    for (const kind of ["dragover", "drop", "dragleave"]) this.root.addEventListener(kind, (event) => this.dropped(event, kind));
  }

  draw(examples) {
    const few = examples.length < GOOD ? `, ${GOOD} are a good beginning` : "";
    setText(this.count, `${examples.length} ${examples.length === 1 ? "example" : "examples"}${few}`);
    const shown = examples.map(({ name }) => name).join();
    if (this.list.dataset.shown === shown) return;
    this.list.dataset.shown = shown;
    this.list.replaceChildren(...examples.map(({ name, size_bytes: size }) => element("li", {},
      `${name} (${bytes(size)}) `,
      element("button", { type: "button", class: "quiet", text: "Remove", "aria-label": `Remove ${name}`, onclick: () => this.calls.remove(name) }))));
  }

  async record() {
    this.recordButton.disabled = true;
    await this.calls.record();
    this.recordButton.disabled = false;
  }

  give(files) {
    const given = [...files];
    this.input.value = "";
    this.calls.add(given);
  }

  dropped(event, kind) {
    event.preventDefault();
    this.root.classList.toggle("over", kind === "dragover");
    if (kind === "drop") this.calls.add([...event.dataTransfer.files]);
  }
}
