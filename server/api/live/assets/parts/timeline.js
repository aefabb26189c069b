// The answers of a stream in time: a strip of actions that can be clicked, and files to keep.
import { colourOf } from "./colours.js";
import { element } from "./dom.js";
import { clock, percent } from "./words.js";

const MOST_ANSWERS = 5000;
const MOST_SEGMENTS = 200;
const MOST_IN_LEGEND = 12;
const LIVE_S = 120;

// `picked(segment)` is called when a segment is clicked. A segment is a time in which one action came first.
export class Timeline {
  constructor(picked) {
    this.picked = picked;
    this.strip = element("div", { class: "strip", role: "group", "aria-label": "Timeline of actions" });
    this.head = element("div", { class: "head", hidden: true });
    this.legend = element("ul", { class: "legend", "aria-label": "Colours of the actions" });
    this.range = element("p", { class: "range" });
    this.root = element("div", { class: "timeline" }, this.strip, this.range, this.legend);
    this.clear();
  }

  clear() {
    this.answers = [];
    this.segments = [];
    this.strip.replaceChildren(this.head);
    this.legend.replaceChildren();
    this.labels = new Set();
    this.fromS = 0;
    this.toS = 1;
  }

  // `advanceS`: the time by which this answer goes beyond the one before. `picture`: a JPEG of the window, or null.
  add(answer, advanceS, picture) {
    this.answers.push(answer);
    if (this.answers.length > MOST_ANSWERS) this.answers.shift();
    const [first] = answer.predictions;
    const last = this.segments.at(-1);
    const continues = last && Math.abs(last.endS - (answer.end_s - advanceS)) < advanceS;
    const startS = continues ? last.endS : answer.start_s;
    if (continues && last.label === first.label) {
      last.endS = answer.end_s;
      if (first.confidence > last.confidence) Object.assign(last, { confidence: first.confidence, answer, picture });
    } else {
      this.addSegment({ label: first.label, startS, endS: answer.end_s, confidence: first.confidence, answer, picture });
    }
    this.draw();
  }

  addSegment(segment) {
    segment.button = element("button", { type: "button", class: "segment", onclick: () => this.picked(segment) });
    segment.button.style.backgroundColor = colourOf(segment.label);
    this.segments.push(segment);
    this.strip.append(segment.button);
    if (this.segments.length > MOST_SEGMENTS) this.segments.shift().button.remove();
    if (!this.labels.has(segment.label) && this.labels.size < MOST_IN_LEGEND) {
      this.labels.add(segment.label);
      const swatch = element("span", { class: "swatch" });
      swatch.style.backgroundColor = colourOf(segment.label);
      this.legend.append(element("li", {}, swatch, element("span", { text: segment.label })));
    }
  }

  // The strip is as long as the video, or shows the last two minutes.
  setRange(fromS, toS) {
    this.fromS = fromS;
    this.toS = Math.max(toS, fromS + 0.1);
    this.draw();
  }

  follow(originS) {
    const endS = this.segments.at(-1)?.endS ?? originS;
    this.originS = originS;
    this.setRange(Math.max(originS, endS - LIVE_S), Math.max(endS, originS + 20));
  }

  moveHead(timeS) {
    this.head.hidden = timeS < this.fromS || timeS > this.toS;
    this.head.style.left = `${this.place(timeS)}%`;
  }

  place(timeS) {
    return (100 * (timeS - this.fromS)) / (this.toS - this.fromS);
  }

  draw() {
    const originS = this.originS ?? 0;
    for (const { button, label, startS, endS, confidence } of this.segments) {
      const left = Math.max(0, this.place(startS));
      const right = Math.min(100, this.place(endS));
      button.hidden = right <= left;
      button.style.left = `${left}%`;
      button.style.width = `${Math.max(0, right - left)}%`;
      const text = `${label}, ${clock(startS - originS)} to ${clock(endS - originS)}, ${percent(confidence)}`;
      if (button.title !== text) {
        button.title = text;
        button.setAttribute("aria-label", text);
      }
    }
    this.range.textContent = `${clock(this.fromS - originS)} to ${clock(this.toS - originS)}`;
  }
}
