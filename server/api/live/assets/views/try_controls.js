// The settings of a stream, each with a line that says what it does.
import { element } from "../parts/dom.js";
import { HeadChoice } from "./head_choice.js";

const FPS = { value: 3, min: 0.5, max: 30, step: 0.5 };
const STRIDE = { value: 4, min: 1, max: 64, step: 1 };

export class Controls {
  // `changed()` is called when a setting was changed, because the stream must then begin anew.
  constructor(changed) {
    this.heads = new HeadChoice("try-head", changed);
    this.fps = this.input("fps", FPS, changed);
    this.stride = this.input("stride", STRIDE, changed);
    this.still = element("input", { type: "checkbox", id: "still", "aria-describedby": "still-about", onchange: changed });
    this.stillRow = element("div", { class: "setting", hidden: true },
      element("label", { for: "still" }, this.still, " Leave out still pictures"),
      element("p", { id: "still-about", text: "Where nothing moves, nothing is classified. This saves the engine most of the work of quiet cameras." }));
    this.root = element("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
      element("h2", { text: "Settings" }),
      this.heads.root,
      setting(this.fps, "Frames a second", "How often the service looks. The Something-Something models learned at 3; use more for fast motions."),
      setting(this.stride, "Stride", "Frames from one answer to the next. A smaller number gives more answers, and more work."),
      this.stillRow);
  }

  input(id, { value, min, max, step }, changed) {
    return element("input", {
      id, type: "number", value, min, max, step, required: true, "aria-describedby": `${id}-about`,
      onchange: (event) => event.target.reportValidity() && changed(),
    });
  }

  hello() {
    return {
      fps: valueOf(this.fps, FPS),
      stride: valueOf(this.stride, STRIDE),
      ...(this.heads.head && { head: this.heads.head }),
      ...(this.still.checked && !this.stillRow.hidden && { still: "skip" }),
    };
  }

  // Shows the still gate only where the service says that it has one.
  offered(ready) {
    this.stillRow.hidden = !("still" in ready || "still_check" in ready);
  }
}

function valueOf(input, { value }) {
  return input.checkValidity() ? Number(input.value) : value;
}

function setting(input, text, about) {
  return element("div", { class: "setting" },
    element("label", { for: input.id, text }), input, element("p", { id: `${input.id}-about`, text: about }));
}
