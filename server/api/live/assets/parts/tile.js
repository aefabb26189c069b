// One camera among many: its picture, what it shows now, and a strip of the last minutes.
import { colourOf } from "./colours.js";
import { element, setText } from "./dom.js";
import { Strip } from "./strip.js";
import { ago, milliseconds, percent } from "./words.js";

export class Tile {
  constructor(camera, opened) {
    this.camera = camera;
    this.image = element("img", { alt: "", hidden: true });
    this.none = element("span", { class: "none", text: "no picture" });
    this.name = element("span", { class: "name" });
    this.swatch = element("span", { class: "swatch" });
    this.label = element("span", { class: "label" });
    this.since = element("span", { class: "since" });
    this.strip = new Strip();
    this.facts = element("span", { class: "small" });
    this.root = element("button", { type: "button", class: "tile", onclick: () => opened(camera) },
      element("span", { class: "view" }, this.image, this.none, this.name),
      element("span", { class: "now" }, this.swatch, this.label, this.since),
      this.strip.canvas, this.facts);
  }

  draw(nowS) {
    const { camera } = this;
    showPicture(camera, this.image, this.none);
    setText(this.name, camera.state.name);
    setText(this.label, camera.top ? camera.top.label : "waits for enough frames");
    setText(this.since, sinceText(camera, nowS));
    this.swatch.style.backgroundColor = camera.top ? colourOf(camera.top.label) : "transparent";
    this.root.classList.toggle("is-still", camera.isStill);
    setText(this.facts, factsText(camera, nowS));
    this.strip.draw(camera.segments, nowS);
  }
}

export function showPicture(camera, image, none) {
  if (camera.pictureUrl && image.src !== camera.pictureUrl) image.src = camera.pictureUrl;
  image.hidden = !camera.pictureUrl;
  none.hidden = Boolean(camera.pictureUrl);
}

function sinceText({ said, top }, nowS) {
  return top ? `${percent(top.confidence)}, since ${ago(nowS - said.action_since_s)}` : "";
}

export function factsText({ state, isStill }, nowS) {
  const parts = [];
  if (state.answered_s !== null) parts.push(`answered ${ago(nowS - state.answered_s)} ago`, `age ${milliseconds(state.age_ms)}`);
  if (isStill) parts.push("still");
  const skipped = Object.entries(state.skipped).map(([reason, count]) => `${count} ${reason}`);
  if (skipped.length) parts.push(`skipped: ${skipped.join(", ")}`);
  return parts.join(" · ");
}
