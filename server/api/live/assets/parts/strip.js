// The actions of the last minutes as a strip on a canvas, which costs no elements however many actions there are.
import { colourOf } from "./colours.js";

export const SHOWN_S = 300;
// An answer counts for at least so long, so that a single one can be seen.
const LEAST_S = 2;

export class Strip {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "minutes";
    this.canvas.setAttribute("role", "img");
  }

  // `segments`: label, start_s and end_s in Unix time, the oldest first.
  draw(segments, nowS) {
    const width = Math.round(this.canvas.clientWidth * devicePixelRatio);
    const height = Math.round(this.canvas.clientHeight * devicePixelRatio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const place = (timeS) => width * (1 - (nowS - timeS) / SHOWN_S);
    for (const [index, { label, start_s: startS, end_s: endS }] of segments.entries()) {
      const untilS = Math.max(endS, startS + LEAST_S, segments[index + 1]?.start_s ?? 0);
      context.fillStyle = colourOf(label);
      const left = Math.max(0, place(startS));
      context.fillRect(left, 0, Math.max(1, place(untilS) - left), height);
    }
    const labels = new Set(segments.map(({ label }) => label));
    this.canvas.setAttribute("aria-label", `Actions of the last five minutes: ${[...labels].join(", ") || "none"}`);
  }
}
